"""A stack -> nothing: what it started ends, what it made goes, in the order in which nothing starts again."""

from __future__ import annotations

import contextlib

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.dev.bring_up import owner_of
from hms_nomad.dev.contexts import admin_context
from hms_nomad.dev.embedded import EMBEDDED, take_down_embedded
from hms_nomad.dev.engine import find_engine, remove_image
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.firewall import clean_firewall
from hms_nomad.dev.leftovers import (
    allocations_of,
    has_networks_of_others,
    remove_cgroups,
    remove_containers,
    remove_networks,
    remove_tree,
    unmount_below,
)
from hms_nomad.dev.machine import check_rights
from hms_nomad.dev.network import Slot, is_lost, machine_locked, neighbours, release
from hms_nomad.dev.nomad_agent import program_environment
from hms_nomad.dev.processes import alive, another_runs, of_stack, stop
from hms_nomad.dev.security import security_of
from hms_nomad.dev.settings import StackSettings
from hms_nomad.dev.state import StackRecord, load
from hms_nomad.dev.system import CommandError, run
from hms_nomad.platform.context import remove_context

_DRAIN_SECONDS = 60.0
_STOP_SECONDS = 15.0
# Without its agent, a task's supervisor does not end when it is asked to.
_ORPHAN_SECONDS = 3.0


class DownResult(Struct, frozen=True):
    """What ``down`` did. ``changed`` is False when there was no stack; ``leftovers`` says what could not be removed."""

    name: str
    changed: bool
    stopped: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()


def take_down(settings: StackSettings, report: Report) -> DownResult:
    """Take a stack down, whatever state it is in. The caller holds the stack's lock.

    What could not be removed is named in the answer, and the state then stays, so that the same command finishes.
    Raises StackError for a state that cannot be read.
    """
    record = load(settings.state_dir)
    if record is None:
        return DownResult(settings.name, changed=False)
    if record.nomad == EMBEDDED:
        return _forget(settings, record, *take_down_embedded(settings, record, report), report)
    check_rights()
    slot = Slot(record.slot) if record.slot is not None else None
    if slot is not None and is_lost(slot, owner_of(settings)):
        # Only a reboot frees a place without ``down``, and nothing that could be taken down outlives one.
        slot = None
    allocations = allocations_of(slot.directory / "alloc") if slot else frozenset()
    _drain(settings, record, report)
    stopped = _stop_servers(settings, record, allocations, report)
    removed: list[str] = []
    leftovers: list[str] = []
    if slot is not None:
        allocations |= allocations_of(slot.directory / "alloc")
        removed += _clean(settings, record, slot, allocations, leftovers)
    return _forget(settings, record, stopped, removed, leftovers, report)


def _forget(
    settings: StackSettings,
    record: StackRecord,
    stopped: tuple[str, ...],
    removed: list[str],
    leftovers: list[str],
    report: Report,
) -> DownResult:
    """Remove the contexts and, where nothing was left, the state; says what was ``removed``."""
    if record.context:
        remove_context(record.context)
        remove_context(admin_context(record.context))
        removed.append(f"context {record.context}")
    if not leftovers:
        remove_tree(settings.state_dir)
        removed.append(str(settings.state_dir))
    report(Event("removed", f"{len(removed)} things removed", {"removed": removed, "leftovers": leftovers}))
    return DownResult(settings.name, True, stopped, tuple(removed), tuple(leftovers))


def _drain(settings: StackSettings, record: StackRecord, report: Report) -> None:
    """Let Nomad stop everything in good order; one that cannot leaves more to clean up, and nothing else."""
    nomad = record.servers.get("nomad")
    if nomad is None or not alive(nomad.process):
        return
    report(Event("drain", "stopping what Nomad runs", {"address": nomad.address}))
    token = security_of(settings.state_dir).token("nomad-management") if record.secure else ""
    arguments = ["node", "drain", "-self", "-enable", "-force", "-yes"]
    try:
        run([nomad.binary, *arguments], _DRAIN_SECONDS, program_environment(nomad, token))
    except CommandError as error:
        report(Event("warning", f"Nomad did not stop everything itself: {error.answer}", {}))


def _stop_servers(
    settings: StackSettings, record: StackRecord, allocations: frozenset[str], report: Report
) -> tuple[str, ...]:
    """Nomad first, then what it left running, then the servers that those needed."""
    stopped = []
    for name in ("nomad", "consul", "vault", "registry"):
        server = record.servers.get(name)
        if server is not None and alive(server.process):
            stop([server.process], _STOP_SECONDS)
            stopped.append(name)
            report(Event("server", f"{name} stopped", {"name": name, "pid": server.process.pid}))
        if name == "nomad":
            keep = {other.process for other in record.servers.values()}
            stop([found for found in of_stack(settings.state_dir, allocations) if found not in keep], _ORPHAN_SECONDS)
    stop(of_stack(settings.state_dir, allocations), _STOP_SECONDS)
    return tuple(stopped)


def _clean(
    settings: StackSettings, record: StackRecord, slot: Slot, allocations: frozenset[str], leftovers: list[str]
) -> list[str]:
    """Give the stack's place back; whoever takes it next finds nothing there, for the interface goes last."""
    removed = []
    if record.docker:
        try:
            removed += [f"container {name}" for name in remove_containers(allocations)]
            removed += _remove_image(record)
        except (StackError, OSError) as error:
            leftovers.append(f"containers: {error}")
    leftovers += [f"mount {point}" for point in unmount_below([slot.directory, settings.state_dir])]
    with machine_locked():
        alone = is_alone(slot, allocations)
        removed += [f"network namespace {name}" for name in remove_networks(allocations, alone=alone)]
        rules = clean_firewall(slot, allocations, alone=alone)
        removed += [f"{rules} firewall rules and chains"] if rules else []
        leftovers += [f"control group {name}" for name in remove_cgroups(allocations, alone=alone)]
        if not leftovers:
            # By what is in it a second attempt knows the allocations.
            remove_tree(slot.directory)
            removed += [f"interface {name}" for name in release(slot, owner_of(settings))]
        if alone:
            with contextlib.suppress(OSError):
                slot.directory.parent.rmdir()
    return removed


def is_alone(slot: Slot, allocations: frozenset[str]) -> bool:
    """Whether nobody but this stack, with these allocations, uses what all Nomads of a machine share.

    A stack is there from the moment it takes its place until it gives it back, and a Nomad that is no stack's as long
    as it has allocations: that one of them has ended, and is started again in a moment, says nothing. The caller holds
    the machine's lock, so that no stack comes in between.
    """
    return not (neighbours(slot) or has_networks_of_others(allocations) or another_runs("nomad"))


def _remove_image(record: StackRecord) -> list[str]:
    engine = find_engine()
    if engine is None:
        raise StackError("no container engine answers", "start it and run the command again")
    return [f"image {record.image}"] if record.image and remove_image(engine, record.image) else []
