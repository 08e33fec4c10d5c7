from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.dev import leftovers
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.leftovers import (
    allocations_of,
    has_networks_of_others,
    remove_cgroups,
    remove_networks,
    remove_tree,
    unmount_below,
)

_OURS = "24ea474b-f0fd-4482-2cbd-86610de1db1c"
_OTHERS = "11111111-f0fd-4482-2cbd-86610de1db1c"


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Mount points in the order of mounting; ``umount`` takes one away unless its name says that it is stuck."""
    points: list[str] = []
    table = tmp_path / "mountinfo"

    def write() -> None:
        lines = [f"36 35 98:0 / {point.replace(' ', chr(92) + '040')} rw - tmpfs tmpfs rw" for point in points]
        table.write_text("".join(f"{line}\n" for line in lines))

    def umount(arguments: list[str]) -> str | None:
        point = arguments[-1]
        if "stuck" in point or any(other.startswith(f"{point}/") for other in points):
            return None
        points.remove(point)
        write()
        return ""

    monkeypatch.setattr(leftovers, "_MOUNTS", table)
    monkeypatch.setattr(leftovers, "attempt", umount)
    points += ["/", "/var/lib/hms-nomad/0/a b", "/var/lib/hms-nomad/0/a b/secrets", "/var/lib/hms-nomad/01"]
    write()
    return points


def test_mounts_below_a_directory_go_the_innermost_first_and_no_others(mounts: list[str]) -> None:
    assert unmount_below([Path("/var/lib/hms-nomad/0")]) == ()
    assert mounts == ["/", "/var/lib/hms-nomad/01"]


def test_a_mount_that_stays_is_answered_and_its_tree_never_removed(mounts: list[str]) -> None:
    mounts.append("/var/lib/hms-nomad/0/stuck")

    assert unmount_below([Path("/var/lib/hms-nomad/0")]) == ("/var/lib/hms-nomad/0/stuck",)
    with pytest.raises(StackError, match="/var/lib/hms-nomad/0/stuck is still mounted; unmount it, then remove"):
        remove_tree(Path("/var/lib/hms-nomad/0"))


def test_a_tree_goes_with_all_that_is_in_it_and_one_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)

    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")

    assert list(tmp_path.iterdir()) == []


def test_allocations_are_known_by_their_directories(tmp_path: Path) -> None:
    (tmp_path / _OURS).mkdir()
    (tmp_path / "lost+found").mkdir()

    assert allocations_of(tmp_path) == {_OURS}
    assert allocations_of(tmp_path / "none") == frozenset()


@pytest.mark.parametrize("alone", [False, True])
def test_leases_and_results_of_other_allocations_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    leases, results = tmp_path / "cni" / "nomad", tmp_path / "results"
    leases.mkdir(parents=True)
    results.mkdir()
    for address, allocation in (("10.254.0.2", _OURS), ("172.26.64.2", _OTHERS)):
        (leases / address).write_text(f"{allocation}\r\neth0")
        (results / f"nomad-{allocation}-eth0").touch()
    (leases / "lock").touch()
    (leases / "last_reserved_ip.0").touch()
    monkeypatch.setattr(leftovers, "_LEASES", leases)
    monkeypatch.setattr(leftovers, "_RESULTS", results)
    monkeypatch.setattr(leftovers, "_NETWORKS", tmp_path / "netns")

    remove_networks({_OURS}, alone=alone)

    assert sorted(file.name for file in leases.iterdir()) == ["172.26.64.2", "last_reserved_ip.0", "lock"]
    assert [file.name for file in results.iterdir()] == [f"nomad-{_OTHERS}-eth0"]
    remove_networks({_OTHERS}, alone=alone)
    assert leases.exists() == (not alone)


def test_a_network_or_an_address_of_another_allocation_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, spaces = tmp_path / "leases", tmp_path / "netns"
    monkeypatch.setattr(leftovers, "_LEASES", leases)
    monkeypatch.setattr(leftovers, "_NETWORKS", spaces)
    assert not has_networks_of_others(frozenset())
    leases.mkdir()
    spaces.mkdir()
    (leases / "lock").touch()
    (leases / "10.254.0.2").write_text(f"{_OURS}\r\neth0")
    (spaces / _OURS).touch()
    (spaces / "somebody").touch()

    assert not has_networks_of_others(frozenset({_OURS}))
    assert has_networks_of_others(frozenset())
    (spaces / _OTHERS).touch()
    assert has_networks_of_others(frozenset({_OURS}))


@pytest.mark.parametrize(("alone", "left"), [(False, {"nomad", "share", f"{_OTHERS}.app"}), (True, set())])
def test_control_groups_of_other_allocations_stay_while_another_nomad_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool, left: set[str]
) -> None:
    for name in (f"memory/nomad/{_OURS}.app", f"memory/nomad/{_OTHERS}.app", "memory/nomad/share", "memory/docker"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(leftovers, "_CGROUPS", tmp_path)

    assert remove_cgroups(frozenset({_OURS}), alone=alone) == ()

    assert {path.name for path in (tmp_path / "memory").rglob("*")} == left | {"docker"}


def test_a_control_group_in_use_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = tmp_path / "nomad.slice" / "share.slice" / f"{_OURS}.app.scope"
    busy.mkdir(parents=True)
    (busy / "cgroup.procs").write_text("1")
    monkeypatch.setattr(leftovers, "_CGROUPS", tmp_path)

    assert remove_cgroups(frozenset({_OURS}), alone=False) == (str(busy),)
