from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hms_nomad.dev.errors import StackError, StackLockedError
from hms_nomad.dev.processes import ProcessId
from hms_nomad.dev.state import ServerRecord, StackRecord, load, locked, save

_SERVER = ServerRecord("consul", "/bin/consul", "1.20.1", "http://127.0.0.1:8500", "/log", ProcessId(1, 2, "b"), "d")


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    record = StackRecord("dev", 1000, slot=3, image="i", context="dev", sidecar="exec", docker=True).with_server(
        _SERVER
    )

    save(tmp_path / "state", record)

    assert load(tmp_path / "state") == record
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "stack.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["stack.json"]


def test_no_state_is_no_stack(tmp_path: Path) -> None:
    assert load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "servers": {"x": {}}}', "null"])
def test_a_file_that_is_no_state_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "stack.json"
    file.write_text(text)

    with pytest.raises(StackError, match=r"stack\.json cannot be read as the state of a stack; move the file away"):
        load(tmp_path)

    assert file.read_text() == text


def test_a_field_of_a_later_version_is_not_dropped_unseen(tmp_path: Path) -> None:
    save(tmp_path, StackRecord("dev", 0))
    body = json.loads((tmp_path / "stack.json").read_text())
    (tmp_path / "stack.json").write_text(json.dumps({**body, "colour": "red"}))

    with pytest.raises(StackError):
        load(tmp_path)


def test_one_command_at_a_time_and_the_other_is_told_who(tmp_path: Path) -> None:
    state = tmp_path / "stacks" / "dev"
    with (
        locked(state, "dev"),
        pytest.raises(StackLockedError, match=f"another command works on the stack dev .pid {os.getpid()}") as refused,
        locked(state, "dev"),
    ):
        pytest.fail("the lock was given twice")

    assert refused.value.pid == os.getpid()


def test_the_lock_goes_with_its_holder_and_leaves_no_file(tmp_path: Path) -> None:
    state = tmp_path / "stacks" / "dev"
    with pytest.raises(ZeroDivisionError), locked(state, "dev"):
        _ = 1 / 0

    assert list(state.parent.iterdir()) == []
    with locked(state, "dev"), locked(tmp_path / "stacks" / "other", "other"):
        pass
