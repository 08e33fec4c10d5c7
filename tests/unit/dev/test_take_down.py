from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.apply.progress import Event
from hms_nomad.dev import firewall, leftovers, network, take_down
from hms_nomad.dev.bring_up import owner_of
from hms_nomad.dev.network import Slot, claim
from hms_nomad.dev.settings import StackSettings
from hms_nomad.dev.state import StackRecord, save
from tests.unit.dev.test_network import Kernel

_ALLOCATION = "24ea474b-f0fd-4482-2cbd-86610de1db1c"
_SHARED = "-N CNI-FORWARD\n-A FORWARD -j CNI-FORWARD\n"


class Machine:
    """Two stacks without a single process: what is left on the machine is in memory and below a directory."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.kernel = Kernel("dummy")
        self.removed: list[str] = []
        self._folder = folder
        for name in ("_LEASES", "_RESULTS", "_NETWORKS", "_CGROUPS"):
            patch.setattr(leftovers, name, folder / name)
        patch.setattr(network, "_HERE", folder / "places")
        patch.setattr(network, "_LOCK", folder / "lock")
        patch.setattr(network, "run", self.kernel.run)
        patch.setattr(network, "attempt", self.kernel.run)
        patch.setattr(firewall, "attempt", self._iptables)
        patch.setattr(take_down, "check_rights", lambda: None)
        patch.setattr(take_down, "another_runs", lambda name: False)
        patch.setattr(take_down, "of_stack", lambda state_dir, allocations: ())

    def stack(self, name: str) -> StackSettings:
        settings = StackSettings(name=name, state_dir=self._folder / name)
        slot = claim(None, owner_of(settings))
        save(settings.state_dir, StackRecord(name, 0, slot=slot.number))
        (slot.directory / "alloc").mkdir(parents=True, exist_ok=True)
        return settings

    def down(self, settings: StackSettings) -> take_down.DownResult:
        return take_down.take_down(settings, _quiet)

    def _iptables(self, arguments: list[str]) -> str:
        if "-X" in arguments:
            self.removed.append(arguments[-1])
        return _SHARED if arguments[3] == "filter" else ""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def _quiet(event: Event) -> None:
    """Report nothing."""


def test_what_two_stacks_share_goes_with_the_last_of_them_though_nothing_of_the_other_runs(machine: Machine) -> None:
    one, two = machine.stack("one"), machine.stack("two")

    assert machine.down(one).removed[0] == "interface hms0"
    assert machine.removed == []
    assert Slot(1).directory.is_dir()

    assert machine.down(two).leftovers == ()
    assert machine.removed == ["CNI-FORWARD"]
    assert not Slot(1).directory.parent.exists()


def test_what_is_shared_stays_while_an_allocation_of_somebody_has_a_network(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "_NETWORKS" / _ALLOCATION).mkdir(parents=True)

    machine.down(machine.stack("one"))

    assert machine.removed == []


def test_a_place_that_another_stack_took_after_a_reboot_is_left_to_it(machine: Machine) -> None:
    one = machine.stack("one")
    machine.kernel.links.clear()
    machine.stack("two")

    result = machine.down(one)

    assert result.leftovers == ()
    assert not one.state_dir.exists()
    assert list(machine.kernel.links) == ["hms0"]
    assert Slot(0).directory.is_dir()


def test_a_stack_keeps_its_place_until_all_of_it_is_gone(machine: Machine, tmp_path: Path) -> None:
    one = machine.stack("one")
    (Slot(0).directory / "alloc" / _ALLOCATION).mkdir()
    group = tmp_path / "_CGROUPS" / "nomad.slice" / f"{_ALLOCATION}.app.scope"
    group.mkdir(parents=True)
    (group / "cgroup.procs").touch()

    assert machine.down(one).leftovers == (f"control group {group}",)
    assert list(machine.kernel.links) == ["hms0"]

    (group / "cgroup.procs").unlink()
    assert machine.down(one).leftovers == ()
    assert list(machine.kernel.links) == []
