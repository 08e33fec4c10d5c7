from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from hms_nomad.apply.progress import Event
from hms_nomad.dev import bring_up, contexts, stack
from hms_nomad.dev.binaries import Binaries, Binary
from hms_nomad.dev.errors import StackError, StackLockedError, UnsuitableMachineError
from hms_nomad.dev.processes import ProcessId
from hms_nomad.dev.state import ServerRecord, StackRecord, load, locked, save
from hms_nomad.dev.status import ServerState, ServerStatus, StackState, overall
from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Platform


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stack.StackSettings:
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr(bring_up, "check_rights", lambda: None)
    monkeypatch.setattr(bring_up, "check_tools", lambda: None)
    monkeypatch.setattr(bring_up, "has_nomad", lambda: True)
    return stack.StackSettings(state_dir=tmp_path / "stacks" / "dev")


def _quiet(event: Event) -> None:
    """Report nothing."""


def _server(name: str, state: ServerState, pid: int | None = 1) -> ServerStatus:
    return ServerStatus(name, f"/bin/{name}", "1.0.0", "http://127.0.0.1:1", pid, state, "/log")


def test_without_a_stack_it_is_down_and_taking_it_down_changes_nothing(settings: stack.StackSettings) -> None:
    assert stack.status(settings).state is StackState.DOWN
    assert stack.status(settings).servers == ()

    result = stack.down(settings, _quiet)

    assert (result.changed, result.leftovers) == (False, ())
    assert list(settings.state_dir.parent.iterdir()) == []


@pytest.mark.parametrize("verb", [stack.up, stack.down])
def test_two_commands_at_once_are_refused(settings: stack.StackSettings, verb: object) -> None:
    with locked(settings.state_dir, "dev"), pytest.raises(StackLockedError, match="another command works on"):
        verb(settings, _quiet)  # type: ignore[operator]


def test_a_context_that_is_no_development_stacks_is_never_overwritten(settings: stack.StackSettings) -> None:
    save_context(Platform(name="dev", production=True))

    with pytest.raises(
        StackError, match="there is a context dev that is no development stack's; give the stack another"
    ):
        stack.up(settings, _quiet)


def test_a_state_directory_of_another_stack_is_refused(
    settings: stack.StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(settings.state_dir, StackRecord("dev", 1000))
    monkeypatch.setattr(bring_up, "find_binaries", lambda settings, report: None)
    monkeypatch.setattr(bring_up, "find_cni", Path)
    monkeypatch.setattr(bring_up, "find_engine", lambda: None)

    with pytest.raises(
        StackError, match="holds the stack dev with the port offset 1000; use these, or take it down first"
    ):
        stack.up(settings, _quiet)
    with pytest.raises(UnsuitableMachineError, match=r"no container engine answers .*; start one"):
        stack.up(replace(settings, docker=True), _quiet)


def test_a_stack_with_a_vault_is_not_brought_up_without_it(
    settings: stack.StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ServerRecord("vault", "/bin/vault", "1.21.4", "http://127.0.0.1:1", "/log", ProcessId(1, 0, "x"), "d")
    save(settings.state_dir, StackRecord("dev", 0).with_server(gone))
    here = Binary("any", Path("/bin/any"), "1.0.0")
    monkeypatch.setattr(bring_up, "find_binaries", lambda settings, report: Binaries(here, here, here, None))
    monkeypatch.setattr(bring_up, "find_cni", Path)

    with pytest.raises(StackError, match=r"the stack dev has a Vault, .*; bring it up with one, or take it down first"):
        stack.up(replace(settings, vault=False), _quiet)


def test_a_server_that_ended_is_dead_and_the_stack_down_when_all_did(settings: stack.StackSettings) -> None:
    gone = ServerRecord("consul", "/bin/consul", "1.20.1", "http://127.0.0.1:1", "/log", ProcessId(1, 0, "x"), "d")
    save(settings.state_dir, StackRecord("dev", 0, slot=3, context="dev").with_server(gone))

    found = stack.status(settings)

    assert found.state is StackState.DOWN
    assert [(one.name, one.state, one.pid) for one in found.servers] == [("consul", ServerState.DEAD, None)]
    assert (found.interface, found.address) == ("hms3", "10.255.3.1")
    assert load(settings.state_dir) is not None


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"consul": "running", "nomad": "running"}, "up"),
        ({"consul": "running", "nomad": "running", "vault": "running"}, "up"),
        ({"consul": "running", "nomad": "running", "vault": "sealed"}, "partial"),
        ({"consul": "running", "nomad": "silent"}, "partial"),
        ({"consul": "running", "nomad": "dead"}, "partial"),
        ({"consul": "running"}, "partial"),
        ({"consul": "dead", "nomad": "dead"}, "down"),
        ({}, "down"),
    ],
)
def test_a_stack_is_up_only_when_all_of_it_is(states: dict[str, str], expected: str) -> None:
    servers = tuple(_server(name, ServerState(state), None if state == "dead" else 1) for name, state in states.items())

    assert overall(StackRecord("dev", 0, context="dev"), servers) == expected


def test_before_its_context_is_written_a_stack_is_not_up_yet() -> None:
    servers = (_server("consul", ServerState.RUNNING), _server("nomad", ServerState.RUNNING))

    assert overall(StackRecord("dev", 0), servers) is StackState.PARTIAL


@pytest.mark.parametrize(
    ("drivers", "driver", "command"),
    [({"exec", "raw_exec"}, "exec", "/usr/local/bin/envoy"), ({"raw_exec"}, "raw_exec", "/opt/envoy")],
)
def test_envoy_runs_in_a_chroot_where_the_node_can_make_one(drivers: set[str], driver: str, command: str) -> None:
    from hms_nomad.clients.nomad_types import Node

    node = Node("1", "n", "dc1", "ready", True, frozenset(drivers), {}, "default", "")

    sidecar = contexts._sidecar(node, Binary("envoy", Path("/opt/envoy"), "1.36.2"))

    assert (sidecar.driver, sidecar.command) == (driver, command)
