"""A caller may close streams, or give a full disk: no traceback, and nothing written where it does not belong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WHERE = """
import os, sys
from hms_nomad.__main__ import main
sys.argv = ["hms-nomad", "context", "list"]
try:
    main()
finally:
    print([os.readlink(f"/proc/self/fd/{number}") for number in range(3)], file=open(sys.path[0] + "/found", "w"))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_caller_closed_leads_nowhere(tmp_path: Path, closed: str):
    script = tmp_path / "where.py"
    script.write_text(WHERE)
    environment = {**os.environ, "HMS_NOMAD_CONFIG_DIR": str(tmp_path)}
    command = f"exec {sys.executable} {script} {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr == b""
    found = (tmp_path / "found").read_text()
    assert found.count("/dev/null") >= closed.count("-")
    assert "socket:" not in found


def test_a_spec_that_shall_come_from_a_closed_stream_is_an_empty_one():
    command = f"exec {sys.executable} -m hms_nomad validate - <&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "HMS006" in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["context", "list"], ["context", "list", "--output", "json"], ["explain", "port"]])
def test_results_that_find_no_room_are_missed_by_name(tmp_path: Path, words: list[str]):
    environment = {**os.environ, "HMS_NOMAD_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "hms_nomad", *words]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 7
    assert done.stderr == (
        "error: stdout cannot be written: No space left on device; what was done stays, and was not all shown\n"
    )
