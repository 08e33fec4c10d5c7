"""A stack's life: brought up twice, repaired, beside another one, and taken down without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import RegistryClient, digest_of
from hms_nomad.clients.vault import VaultClient
from hms_nomad.dev import stack as dev
from hms_nomad.dev import take_down
from hms_nomad.dev.engine import allocation_containers, find_engine, has_image
from hms_nomad.dev.network import Slot
from hms_nomad.dev.pause import image_name
from hms_nomad.dev.state import load
from hms_nomad.platform.context import list_contexts
from hms_nomad.workflows.session import open_session
from tests.live.conftest import LiveStack, own_contexts, run_cli, running_stack
from tests.live.stack.server import SERVER

_SHARED_CHAINS = ("CNI-FORWARD", "NOMAD-ADMIN", "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ")


@pytest.fixture
def second(stack: LiveStack) -> Iterator[LiveStack]:
    """A stack beside the one of all tests, to be broken; with a registry where the machine has one."""
    with running_stack("second", registry=shutil.which("docker-registry") is not None) as running:
        yield running


def test_up_again_changes_nothing(stack: LiveStack) -> None:
    with own_contexts(stack.config_dir):
        again = dev.up(stack.settings, lambda event: None)

    assert not again.changed
    assert again.servers == stack.status.servers


def test_the_mesh_trusts_vault_where_there_is_one(stack: LiveStack) -> None:
    with own_contexts(stack.config_dir), open_session(stack.platform) as session:
        assert session.consul.ca_configuration().provider == ("vault" if session.vault else "consul")


@pytest.mark.real_nomad("an interface and networks of its own")
def test_two_stacks_share_nothing_and_each_server_that_dies_is_repaired(
    stack: LiveStack, second: LiveStack, tmp_path: Path
) -> None:
    assert stack.status.state is second.status.state is dev.StackState.UP
    assert stack.status.interface != second.status.interface
    assert not {server.address for server in stack.status.servers} & {
        server.address for server in second.status.servers
    }
    kept = _published(second, tmp_path)
    for victim in second.status.servers:
        assert victim.pid is not None
        before = _pids(second)
        os.kill(victim.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(victim.pid)] if psutil.pid_exists(victim.pid) else [], timeout=10)

        broken = dev.status(second.settings)
        with own_contexts(second.config_dir):
            repaired = dev.up(second.settings, lambda event: None)

        assert broken.state is dev.StackState.PARTIAL
        assert [one.state for one in broken.servers if one.name == victim.name] == [dev.ServerState.DEAD]
        assert repaired.changed
        assert repaired.state is dev.StackState.UP
        after = {server.name: server.pid for server in repaired.servers}
        assert {name for name in after if after[name] != before[name]} == {victim.name}
    if second.platform.vault:
        with own_contexts(second.config_dir), open_session(second.platform) as session:
            assert isinstance(session.vault, VaultClient)
            assert not session.vault.health().sealed
            assert session.consul.ca_configuration().provider == "vault"
    assert _published(second, tmp_path) == (kept and (kept[0], False)), "what was pushed outlives the registry"


@pytest.mark.real_nomad("an interface and networks of its own")
@pytest.mark.parametrize("killed", [False, True], ids=["in good order", "after its Nomad was killed"])
def test_down_leaves_nothing_but_what_another_stack_shares(
    stack: LiveStack, tmp_path: Path, image: str | None, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other stack's Nomad may be between two of its processes.
    monkeypatch.setattr(take_down, "another_runs", lambda name: False)
    kinds = {"process": {"command": ["python3", "-c", SERVER]}, "container": {"image": image}}
    with running_stack("gone") as running:
        for name, kind in kinds.items():
            if name == "container" and not running.status.docker:
                continue
            spec = {"name": name, "version": "1.0.0", "port": 3000, "health": {"path": "/", "interval": "2s"}, **kind}
            file = tmp_path / f"{name}.hms.yml"
            file.write_text(json.dumps(spec), encoding="utf-8")
            ran = run_cli(running, "deploy", file)
            assert ran.exit_code == 0, ran.stderr
        record = load(running.settings.state_dir)
        assert record is not None
        assert record.slot is not None
        slot = Slot(record.slot)
        allocations = {path.name for path in (slot.directory / "alloc").iterdir()}
        assert len(allocations) == (2 if running.status.docker else 1)
        assert _traces(running, slot, allocations) != []
        shared = _shared_chains()
        assert {f":{name}" for name in _SHARED_CHAINS} < shared
        if killed:
            os.kill(record.servers["nomad"].process.pid, signal.SIGKILL)
        with own_contexts(running.config_dir):
            result = dev.down(running.settings, lambda event: None)

            assert result.changed
            assert result.leftovers == ()
            assert _traces(running, slot, allocations) == []
            assert _shared_chains() == shared
            assert list_contexts().names == ()
            assert not running.settings.state_dir.exists()
            assert dev.status(running.settings).state is dev.StackState.DOWN
            assert not dev.down(running.settings, lambda event: None).changed


def _pids(running: LiveStack) -> dict[str, int | None]:
    return {server.name: server.pid for server in dev.status(running.settings).servers}


def _traces(running: LiveStack, slot: Slot, allocations: set[str]) -> list[str]:
    """Everything on the machine that names the stack's directories, interface, subnet or allocations."""
    names = [str(running.settings.state_dir), f"{slot.directory}/", slot.bridge, slot.subnet.rpartition(".")[0] + "."]
    names += sorted(allocations)
    engine = find_engine()
    found = {
        "process": [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])],
        "mount": Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines(),
        "namespace": _output("ip", "netns", "list"),
        "interface": _output("ip", "-oneline", "address", "show"),
        "rule": _output("iptables-save"),
        "lease": [path.name for path in Path("/var/run/cni").rglob("*")],
        "result": [path.name for path in Path("/var/lib/cni/results").glob("*")],
        "group": [str(path) for path in Path("/sys/fs/cgroup").rglob("*-*")],
        "container": [one.name for one in allocation_containers(engine)] if engine else [],
    }
    traces = [
        f"{kind}: {line}" for kind, lines in found.items() for line in lines if any(name in line for name in names)
    ]
    if engine is not None and has_image(engine, image_name(running.settings.name)):
        traces.append("image")
    return traces


def _shared_chains() -> set[str]:
    """The chains that all allocations of a machine share, and the rules by which the kernel comes to them."""
    entries = tuple(f"-j {name}" for name in _SHARED_CHAINS)
    names = {f":{name}" for name in _SHARED_CHAINS}
    lines = _output("iptables-save")
    return {line.partition(" ")[0] for line in lines if line.partition(" ")[0] in names} | {
        line for line in lines if line.endswith(entries)
    }


def _output(*arguments: str) -> list[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()


def _published(stack: LiveStack, folder: Path) -> tuple[str, bool] | None:
    """Push something to the stack's registry: its digest, and whether it was new there; None without a registry."""
    host = stack.platform.images.registry
    if host is None:
        assert shutil.which("docker-registry") is None
        return None
    file = folder / "blob"
    file.write_bytes(b"kept")
    client = RegistryClient(Connection(f"http://{host}"))
    new = client.push_blob("gov/kept", digest_of(b"kept"), file)
    client.close()
    return digest_of(b"kept"), new
