"""A stack -> everything that its Nomad made on the machine beside files, taken away: what a killed agent leaves too."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from hms_nomad.dev.engine import allocation_containers, find_engine, remove_container
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.system import attempt
from hms_nomad.patterns import lazy_pattern

_ALLOCATION = lazy_pattern(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORKS = Path("/var/run/netns")
_LEASES = Path("/var/run/cni/nomad")
_RESULTS = Path("/var/lib/cni/results")
_CGROUPS = Path("/sys/fs/cgroup")
# What the address plugin keeps beside its leases.
_LEASE_FILES = lazy_pattern(r"lock|last_reserved_ip\.\d+")


def allocations_of(alloc_dir: Path) -> frozenset[str]:
    """The ids of the allocations whose directories are there."""
    with contextlib.suppress(FileNotFoundError):
        return frozenset(entry.name for entry in alloc_dir.iterdir() if _ALLOCATION.fullmatch(entry.name))
    return frozenset()


def remove_containers(allocations: frozenset[str]) -> tuple[str, ...]:
    """Remove the containers of these allocations, pause containers too; answers their names."""
    engine = find_engine() if allocations else None
    if engine is None:
        return ()
    ours = [found for found in allocation_containers(engine) if found.allocation in allocations]
    for container in ours:
        remove_container(engine, container)
    return tuple(container.name for container in ours)


def remove_networks(allocations: Iterable[str], *, alone: bool) -> tuple[str, ...]:
    """Remove the network namespaces of allocations and what the CNI plugins remember of them.

    ``alone`` says that no other Nomad lives here, which might be about to use what seems unused.
    """
    removed = []
    for allocation in sorted(allocations):
        if (_NETWORKS / allocation).exists() and attempt(["ip", "netns", "delete", allocation]) is not None:
            removed.append(allocation)
        for file in _RESULTS.glob(f"*{allocation}*"):
            file.unlink(missing_ok=True)
        for file in _leases():
            if allocation in _text(file):
                file.unlink(missing_ok=True)
    if alone and _LEASES.is_dir() and not list(_leases()):
        shutil.rmtree(_LEASES)
    return tuple(removed)


def has_networks_of_others(allocations: frozenset[str]) -> bool:
    """True when a network namespace or an address belongs to an allocation beside these.

    They outlive the Nomad that had them made, and wait for it when it is started again.
    """
    spaces = {entry.name for entry in _NETWORKS.iterdir()} if _NETWORKS.is_dir() else set()
    holders = {match for file in _leases() for match in _ALLOCATION.findall(_text(file))}
    return not {name for name in spaces | holders if _ALLOCATION.fullmatch(name)} <= allocations


def unmount_below(directories: Iterable[Path]) -> tuple[str, ...]:
    """Unmount whatever is mounted below the directories, innermost first; answers what could not be unmounted."""
    roots = [str(directory) for directory in directories]
    for point in reversed(_mounted_below(roots)):
        if attempt(["umount", point]) is None:
            attempt(["umount", "--lazy", point])
    return tuple(_mounted_below(roots))


def remove_cgroups(allocations: frozenset[str], *, alone: bool) -> tuple[str, ...]:
    """Remove the control groups of allocations, and Nomad's own when ``alone``; answers ours still in use.

    They lie below /nomad of each hierarchy (version 1) or nomad.slice (version 2); the client's setting for another
    parent has no effect in Nomad 2.0.
    """
    used = []
    for parent in (_CGROUPS / "nomad.slice", *_CGROUPS.glob("*/nomad")):
        for name, _, _ in os.walk(parent, topdown=False):
            directory = Path(name)
            ours = directory.name.partition(".")[0] in allocations
            if ours or alone:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            used += [name] if ours and directory.exists() else []
    return tuple(used)


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it, never across a mount. Raises StackError when something is mounted."""
    if below := _mounted_below([str(directory)]):
        raise StackError(f"{below[0]} is still mounted", f"unmount it, then remove {directory}")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def _mounted_below(roots: list[str]) -> list[str]:
    """Mount points below the roots in the order in which they were mounted (man 5 proc, mountinfo)."""
    points = []
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if any(point == root or point.startswith(f"{root}/") for root in roots):
            points.append(point)
    return points


def _leases() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from [file for file in _LEASES.iterdir() if not _LEASE_FILES.fullmatch(file.name)]


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""
