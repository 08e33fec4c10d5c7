from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hms_nomad.dev.processes import (
    STACK_VARIABLE,
    ProcessId,
    alive,
    identify,
    of_stack,
    send,
    spawn,
    stop,
    wait_for_exit,
)

_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessId]:
    process = spawn(["sleep", "600"], {"PATH": os.environ["PATH"]}, tmp_path, tmp_path / "log")
    yield process
    send(process, signal.SIGKILL)
    wait_for_exit(process, 5)


def test_a_program_runs_in_its_directory_in_a_session_of_its_own_with_its_output_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    folder = tmp_path / "it's here"
    folder.mkdir()

    process = spawn(
        ["sh", "-c", 'pwd; echo "$GREETING" >&2'], {"PATH": os.environ["PATH"], "GREETING": "hi"}, folder, log
    )

    assert wait_for_exit(process, 10)
    assert log.read_text().splitlines() == [str(folder), "hi"]
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_program_that_is_not_there_ends_with_the_shells_word_in_the_log(tmp_path: Path) -> None:
    process = spawn(["/no/such/program"], {}, tmp_path, tmp_path / "log")

    assert wait_for_exit(process, 10)
    assert "no/such/program" in (tmp_path / "log").read_text()


def test_a_process_is_alive_until_it_is_stopped(sleeper: ProcessId) -> None:
    assert alive(sleeper)
    assert os.getsid(sleeper.pid) == sleeper.pid

    assert stop([sleeper], 10) == ()

    assert not alive(sleeper)
    assert not send(sleeper, signal.SIGTERM)


def test_one_that_does_not_listen_is_killed_and_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["python3", "-c", _DEAF], {"PATH": os.environ["PATH"]}, tmp_path, log)
    while not log.read_text() and not wait_for_exit(process, 0.02):
        pass

    assert stop([process], 0.1) == (process,)

    assert not alive(process)


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_a_process_that_got_the_same_pid_later_is_never_touched(sleeper: ProcessId, change: dict[str, object]) -> None:
    earlier = replace(sleeper, **change)

    assert not alive(earlier)
    assert not send(earlier, signal.SIGKILL)
    assert stop([earlier], 1) == ()
    assert alive(sleeper)


def test_a_pid_is_identified_by_its_start(sleeper: ProcessId) -> None:
    assert identify(sleeper.pid) == sleeper
    assert identify(2**22 + 1) is None


def test_the_processes_of_a_stack_are_those_with_its_mark_and_no_other(tmp_path: Path, sleeper: ProcessId) -> None:
    marked = spawn(
        ["sleep", "600"], {"PATH": os.environ["PATH"], STACK_VARIABLE: str(tmp_path)}, tmp_path, tmp_path / "marked"
    )
    try:
        assert of_stack(tmp_path, frozenset()) == (marked,)
        assert of_stack(tmp_path / "other", frozenset()) == ()
    finally:
        stop([marked], 5)
