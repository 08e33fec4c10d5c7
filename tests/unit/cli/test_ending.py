"""The process ends at once, and not before everything is done and written."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = """
import atexit, sys, threading, time
from hms_nomad.__main__ import main
sys.argv = ["hms-nomad", {words}]
late = threading.Thread(target=lambda: (threading.main_thread().join(), print("a thread")))
late.start()
try:
    main()
finally:
    atexit.register(print, "a library")
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    script = BEFORE.format(words=", ".join(map(repr, words)))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


def test_threads_and_libraries_end_first_and_the_code_stays():
    result = run("explain", "port")
    assert result.returncode == 0
    assert "Port on which the instance listens" in result.stdout
    assert result.stdout.endswith("a thread\na library\n")


def test_a_refusal_keeps_its_code():
    result = run("explain", "prt")
    assert result.returncode == 2
    assert "did you mean port" in result.stderr


@pytest.mark.parametrize("words", [["explain"], ["--help"]])
def test_a_reader_that_went_away_is_no_hang_and_no_traceback(words):
    command = [sys.executable, "-m", "hms_nomad", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) in {0, 1}
