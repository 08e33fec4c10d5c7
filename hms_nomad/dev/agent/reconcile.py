"""A job, its allocations and its deployment -> what is to be placed, stopped and updated. Pure: no clock, no writes.

The rules are Nomad's for one node:
https://developer.hashicorp.com/nomad/docs/concepts/scheduling/how-scheduling-works
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from hms_nomad.dev.agent.changes import group_of, needs_replacement
from hms_nomad.dev.agent.instances import (
    asked_to_move,
    canary,
    ended,
    free_names,
    healthy,
    number_of,
    of_version,
    reschedule_due,
    wanted,
)
from hms_nomad.dev.agent.values import Json

NOT_NEEDED = "alloc not needed due to job update"
UPDATING = "alloc is being updated due to job update"
RESCHEDULED = "alloc was rescheduled because it failed"
MIGRATING = "alloc is being migrated"
STOPPED_JOB = "alloc not needed as job is stopped"
_COUNTED = ("Place", "Stop", "Migrate", "InPlaceUpdate", "DestructiveUpdate", "Canary", "Ignore", "Preemptions")


class Placement(Struct, frozen=True):
    """An instance to be made of ``job``, in the place of ``previous`` where it has one."""

    name: str
    group: str
    job: Json
    canary: bool = False
    previous: Json | None = None
    rescheduled: bool = False


class Stop(Struct, frozen=True):
    """An instance that shall stop, and why."""

    alloc: Json
    reason: str


class Outcome(Struct):
    """All that follows from one look. ``states`` are the groups of the deployment that is to be made.

    ``complete`` says that the deployment which there is has done all it should; ``wake`` is when to look again, in
    seconds since 1970.
    """

    place: list[Placement] = msgspec.field(default_factory=list)
    stop: list[Stop] = msgspec.field(default_factory=list)
    in_place: list[Json] = msgspec.field(default_factory=list)
    states: dict[str, Json] = msgspec.field(default_factory=dict)
    canaries_wanted: dict[str, int] = msgspec.field(default_factory=dict)
    counts: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    complete: bool = True
    wake: float | None = None

    def count(self, group: str, what: str, number: int = 1) -> None:
        """Add to what a plan tells of a group."""
        self.counts.setdefault(group, dict.fromkeys(_COUNTED, 0))[what] += number


def reconcile(
    job: Json, allocs: Sequence[Json], deployment: Json | None, now: float, stable: Json | None = None
) -> Outcome:
    """What is to be done for ``job``, the newest version.

    ``deployment`` is the one of this very version that still runs, is paused or failed (None: there is none).
    ``stable`` is the version that replaces instances of older ones while canaries are watched.
    """
    outcome = Outcome()
    names = {group["Name"] for group in job["TaskGroups"]}
    stopped = job["Stop"]
    for group in sorted(names | {alloc["TaskGroup"] for alloc in allocs}):
        own = [alloc for alloc in allocs if alloc["TaskGroup"] == group]
        if stopped or group not in names:
            reason = STOPPED_JOB if stopped else NOT_NEEDED
            _stop_all(outcome, group, [alloc for alloc in own if wanted(alloc)], reason)
        else:
            _Group(job, group, own, deployment, now, stable, outcome).look()
    return outcome


def _stop_all(outcome: Outcome, group: str, allocs: Iterable[Json], reason: str) -> None:
    for alloc in allocs:
        outcome.stop.append(Stop(alloc, reason))
        outcome.count(group, "Stop", 0 if ended(alloc) else 1)


class _Group:
    """One look at one group."""

    def __init__(
        self,
        job: Json,
        name: str,
        allocs: Sequence[Json],
        deployment: Json | None,
        now: float,
        stable: Json | None,
        outcome: Outcome,
    ) -> None:
        self.job, self.name, self.allocs, self.now, self.stable = job, name, allocs, now, stable
        self.outcome, self.deployment = outcome, deployment
        group = group_of(job, name) or {}
        self.count = int(group["Count"]) if job["Type"] in ("service", "batch") else min(1, int(group["Count"]))
        self.batch = job["Type"] in ("batch", "sysbatch")
        strategy = group.get("Update") if job["Type"] == "service" else None
        self.strategy = strategy if strategy and strategy["MaxParallel"] else None
        self.state: Json | None = ((deployment or {}).get("TaskGroups") or {}).get(name)
        self.fresh = self.state is None
        status = deployment["Status"] if deployment else ""
        self.halted = status in ("paused", "failed")
        self.failed = status == "failed"

    def look(self) -> None:
        """Decide, and write the decisions into the outcome."""
        self.outcome.count(self.name, "Place", 0)
        held, moved, due = self._sorted()
        held = self._without_old_canaries(held)
        canaries = [alloc for alloc in held if canary(alloc)]
        canarying = self._canarying()
        others = [alloc for alloc in held if not canary(alloc)] if canarying else held
        others, moved = self._without_surplus(others, moved)
        destructive, in_place = self._updates(others)
        wanted_total = len(destructive) + len(in_place)
        wanted_canaries = self._wanted_canaries(destructive, canaries)
        if wanted_canaries:
            self._place_canaries(wanted_canaries, canaries, destructive)
        canarying = canarying or bool(wanted_canaries)
        limit = self._limit(others, destructive, moved, canarying=canarying)
        placements = self._placements(others, moved, due, canarying=canarying)
        wanted_total += len(placements)
        ready = not self.halted and not canarying
        if ready:
            self._place(placements)
            limit -= min(len(placements), limit)
            self._replace(destructive[:limit])
            self.outcome.count(self.name, "Ignore", len(destructive[limit:]))
        else:
            self._place([one for one in placements if self._replaces_a_failed_one(one)])
            self.outcome.count(self.name, "Ignore", len(destructive))
        for alloc in moved:
            self.outcome.stop.append(Stop(alloc, MIGRATING))
            self.outcome.place.append(
                Placement(alloc["Name"], self.name, self._version(alloc, canarying), canary(alloc), alloc)
            )
            self.outcome.count(self.name, "Migrate")
        self._deploy(wanted_total, wanted_canaries, destructive, in_place)
        open_work = bool(destructive or in_place or placements or moved or wanted_canaries)
        self.outcome.complete &= not open_work and self._all_healthy()

    def _sorted(self) -> tuple[list[Json], list[Json], list[Json]]:
        """Those that hold their place, those that somebody stopped, and failed ones whose replacement is due."""
        held: list[Json] = []
        moved: list[Json] = []
        due: list[Json] = []
        for alloc in self.allocs:
            if not wanted(alloc):
                continue
            if not ended(alloc):
                (moved if asked_to_move(alloc) else held).append(alloc)
            elif alloc["ClientStatus"] == "failed" and not alloc.get("NextAllocation"):
                self._failed(alloc, held, due)
            elif self.batch and alloc["ClientStatus"] == "complete" and of_version(alloc, self.job):
                held.append(alloc)
        return held, moved, due

    def _failed(self, alloc: Json, held: list[Json], due: list[Json]) -> None:
        if self.batch and not of_version(alloc, self.job):
            return
        deployment = self.deployment
        if deployment and alloc["DeploymentID"] == deployment["ID"]:
            told = (alloc.get("DesiredTransition") or {}).get("Reschedule")
            if self.failed or not told:
                held.append(alloc)
                return
        when = reschedule_due(alloc)
        if when is not None and when <= self.now:
            due.append(alloc)
            return
        held.append(alloc)
        if when is not None:
            self.outcome.wake = min(when, self.outcome.wake or when)

    def _without_old_canaries(self, held: list[Json]) -> list[Json]:
        """Canaries of a deployment that is over or failed go; nothing else ever does."""
        current = None if self.deployment is None or self.failed else self.deployment["ID"]
        old = [alloc for alloc in held if canary(alloc) and alloc["DeploymentID"] != current]
        _stop_all(self.outcome, self.name, old, NOT_NEEDED)
        return [alloc for alloc in held if alloc not in old]

    def _canarying(self) -> bool:
        return bool(self.state and self.state["DesiredCanaries"] and not self.state["Promoted"])

    def _without_surplus(self, held: list[Json], moved: list[Json]) -> tuple[list[Json], list[Json]]:
        surplus = len(held) + len(moved) - self.count
        if surplus <= 0:
            return held, moved
        promoted = set((self.state or {}).get("PlacedCanaries") or ())
        names = {alloc["Name"] for alloc in held if alloc["ID"] in promoted}
        twins = [alloc for alloc in held if alloc["Name"] in names and alloc["ID"] not in promoted]
        rest = [alloc for alloc in held if alloc not in twins and alloc["ID"] not in promoted]
        # Old ones before new ones, those that ended before those that run, then the highest numbers.
        rest.sort(key=lambda alloc: (of_version(alloc, self.job), not ended(alloc), -number_of(alloc)))
        if not names:
            rest.sort(key=lambda alloc: (not ended(alloc), -number_of(alloc)))
        last = [alloc for alloc in held if alloc["ID"] in promoted]
        gone = [*moved, *twins, *rest, *last][:surplus]
        _stop_all(self.outcome, self.name, gone, NOT_NEEDED)
        return [one for one in held if one not in gone], [one for one in moved if one not in gone]

    def _updates(self, held: Iterable[Json]) -> tuple[list[Json], list[Json]]:
        destructive, in_place = [], []
        for alloc in held:
            if of_version(alloc, self.job) or (self.batch and ended(alloc)):
                self.outcome.count(self.name, "Ignore")
            elif ended(alloc) or needs_replacement(alloc["Job"], self.job, self.name):
                destructive.append(alloc)
            else:
                in_place.append(alloc)
        self.outcome.in_place += in_place
        self.outcome.count(self.name, "InPlaceUpdate", len(in_place))
        return destructive, in_place

    def _wanted_canaries(self, destructive: list[Json], canaries: list[Json]) -> int:
        """How many canaries the group shall have; 0 when it has them, or none is called for."""
        if not destructive or self.strategy is None or (self.state and self.state["Promoted"]):
            return 0
        wish = int(self.strategy["Canary"])
        return wish if len(canaries) < wish else 0

    def _place_canaries(self, wish: int, canaries: list[Json], destructive: list[Json]) -> None:
        self.outcome.canaries_wanted[self.name] = wish
        if self.halted:
            return
        names = [alloc["Name"] for alloc in destructive if alloc["Name"] not in {one["Name"] for one in canaries}]
        missing = wish - len(canaries)
        taken = [alloc["Name"] for alloc in self.allocs if wanted(alloc) and not ended(alloc)]
        names += free_names(self.job["ID"], self.name, missing, [*taken, *names])
        for name in names[:missing]:
            self.outcome.place.append(Placement(name, self.name, self.job, canary=True))
            self.outcome.count(self.name, "Canary")

    def _limit(self, held: list[Json], destructive: list[Json], moved: list[Json], *, canarying: bool) -> int:
        """How many instances may be away at once."""
        if self.strategy is None or (not destructive and not moved):
            return max(self.count, len(destructive))
        most = int(self.strategy["MaxParallel"])
        if self.deployment is None:
            return 0 if canarying else most
        if self.halted or canarying:
            return 0
        part = [alloc for alloc in held if alloc["DeploymentID"] == self.deployment["ID"]]
        if any(healthy(alloc) is False for alloc in part):
            return 0
        return max(0, most - sum(healthy(alloc) is None for alloc in part))

    def _placements(self, held: list[Json], moved: list[Json], due: list[Json], *, canarying: bool) -> list[Placement]:
        found = [
            Placement(alloc["Name"], self.name, self._version(alloc, canarying), canary(alloc), alloc, rescheduled=True)
            for alloc in due
        ]
        missing = self.count - len(held) - len(moved) - sum(not one.canary or not canarying for one in found)
        if missing > 0:
            taken = [alloc["Name"] for alloc in (*held, *moved, *due)]
            version = self.stable if canarying and self.stable is not None else self.job
            found += [
                Placement(name, self.name, version) for name in free_names(self.job["ID"], self.name, missing, taken)
            ]
        return found

    def _version(self, alloc: Json, canarying: bool) -> Json:
        """While canaries are watched, what is not one is replaced by its own version."""
        return alloc["Job"] if canarying and not canary(alloc) and alloc.get("Job") else self.job

    def _replaces_a_failed_one(self, placement: Placement) -> bool:
        previous = placement.previous
        own = self.failed and previous is not None and previous["DeploymentID"] == (self.deployment or {}).get("ID")
        return placement.rescheduled and not own

    def _place(self, placements: Iterable[Placement]) -> None:
        for one in placements:
            self.outcome.place.append(one)
            self.outcome.count(self.name, "Place")
            if one.previous is not None:
                self.outcome.stop.append(Stop(one.previous, RESCHEDULED))

    def _replace(self, allocs: Iterable[Json]) -> None:
        for alloc in allocs:
            self.outcome.stop.append(Stop(alloc, UPDATING))
            self.outcome.place.append(Placement(alloc["Name"], self.name, self.job, previous=alloc))
            self.outcome.count(self.name, "DestructiveUpdate")

    def _deploy(self, total: int, canaries: int, destructive: list[Json], in_place: list[Json]) -> None:
        """Ask for a deployment where this version has none yet and something is to be rolled out."""
        if not self.fresh or self.strategy is None or total == 0 or self.failed:
            return
        had_some = any(of_version(alloc, self.job) for alloc in self.allocs)
        if had_some and not destructive and not in_place:
            return
        self.outcome.states[self.name] = {
            "AutoRevert": bool(self.strategy["AutoRevert"]),
            "AutoPromote": bool(self.strategy["AutoPromote"]),
            "ProgressDeadline": self.strategy["ProgressDeadline"],
            "Promoted": False,
            "PlacedCanaries": None,
            "DesiredCanaries": canaries,
            "DesiredTotal": total,
            "PlacedAllocs": 0,
            "HealthyAllocs": 0,
            "UnhealthyAllocs": 0,
        }

    def _all_healthy(self) -> bool:
        state = self.state
        if state is None:
            return True
        if state["DesiredCanaries"] and not state["Promoted"]:
            return False
        return int(state["HealthyAllocs"]) >= max(int(state["DesiredTotal"]), int(state["DesiredCanaries"]))
