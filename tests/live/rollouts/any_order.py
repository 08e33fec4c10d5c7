"""Dice -> commands on one service in any order, killed or not; after each: one release with all traffic, or a journal.

What is killed is killed by SIGKILL, in the terminal and in the cluster. Nothing may be left behind at the end.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zero_loss.world import SERVICE, World

from hms_nomad.compile.canary import canary_name
from hms_nomad.plan.observed import release_of
from hms_nomad.rollout.journal import Journal
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.operating.lock import work_on
from hms_nomad.workflows.rollouts.rollout_job import drivers
from tests.live.conftest import LiveStack
from tests.live.faults.world import started
from tests.live.rollouts.program import JOB
from tests.waiting import eventually

_QUICK = {"every": "1s", "steps": [1, 50, 100], "drain": "7s", "keep": "0s", "min_healthy": "1s", "deadline": "60s"}
_SLOW = {**_QUICK, "every": "20s"}
_LONGEST_COMMAND_SECONDS = 240.0
# Exit codes with which a command may end here: done, refused as bad input (no earlier release), conflict (another
# rollout runs), locked, taken back, refused because it was taken back before, and out of its time.
_ALLOWED = frozenset({0, 2, 3, 4, 5, 8, 124})


@dataclass
class AnyOrder:
    """One run of the dice: ``done`` tells what was done, to be repeated by its seed."""

    world: World
    stack: LiveStack
    folder: Path
    dice: random.Random
    tell: Callable[[str], None]
    done: list[str] = field(default_factory=list)
    last: Path | None = None

    def move(self) -> None:
        """One command, and the look at what it left."""
        idle = self.journal().rollout is None and self.dice.random() < 0.8
        name = self.dice.choice(_BEGINNING if idle else sorted(_MOVES))
        self.done.append(name)
        _MOVES[name](self)
        self.done[-1] = f"{self.world.now():5.0f} s  {self.done[-1]}"
        self.tell(self.done[-1])
        self.check()

    def end(self) -> None:
        """Whatever is under way is taken back, and then nothing of it is left."""
        self.run("abort", SERVICE)
        self.check()
        one_release(self.world)
        eventually(lambda: drivers(self.world.session, JOB), lambda left: left == (), 60)
        eventually(self._locks_and_runs, lambda left: left == (), 60)

    def check(self) -> None:
        """One release has everything, or the journal knows both and the mesh no third one."""
        eventually(self._trouble, lambda found: not found, 90)

    def _trouble(self) -> str:
        if (rollout := self.journal().rollout) is None:
            return trouble_of_one_release(self.world)
        resolver = self.world.session.consul.read_entry("service-resolver", SERVICE)
        known = set(resolver.body["Subsets"]) if resolver else set()
        splitter = self.world.session.consul.read_entry("service-splitter", SERVICE)
        shares = {part["ServiceSubset"] for part in splitter.body["Splits"]} if splitter else set()
        both = {rollout.stable, rollout.candidate}
        return "" if known <= both and shares <= both else f"subsets {known}, shares {shares} beside {both}"

    def _locks_and_runs(self) -> tuple[object, ...]:
        work = work_on(self.world.session, SERVICE)
        return (*((work.lock,) if work.lock else ()), *work.unfinished)

    def journal(self) -> Journal:
        """The journal now."""
        return RolloutStore(self.world.session.consul, self.world.platform.namespace, SERVICE).journal()

    def run(self, *words: str | Path, kill_after: float | None = None) -> None:
        """Run a command to its end, or kill it."""
        process = started(self.stack, *words)
        try:
            _, stderr = process.communicate(timeout=kill_after or _LONGEST_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            assert kill_after is not None, f"{words} did not end"
            self.done[-1:] = [f"{' '.join(map(str, words))} (killed after {kill_after:.1f} s)"]
            return
        last = stderr.strip().splitlines()[-1:]
        self.done[-1:] = [f"{' '.join(map(str, words))}: {process.returncode} {''.join(last)[:160]}"]
        assert process.returncode in _ALLOWED, (self.done, stderr)

    def perhaps_killed(self, longest: float) -> float | None:
        """When to kill a command: every other one, at any moment of ``longest`` seconds."""
        return self.dice.uniform(0.3, longest) if self.dice.random() < 0.5 else None

    def file(self, **fields: Any) -> Path:
        """The file of the next release."""
        spec = self.world.next(**fields)
        self.last = self.folder / f"{spec.version}.hms.yml"
        self.last.write_text(json.dumps(as_data(spec, defaults=False)), encoding="utf-8")
        return self.last


def _deploy(run: AnyOrder) -> None:
    options = run.dice.choice(((), ("--until", "canary-healthy"), ("--detach",), ("--bg",), ("--in-cluster",)))
    run.run("deploy", run.file(rollout=_QUICK), *options)


def _deploy_and_die(run: AnyOrder) -> None:
    run.run("deploy", run.file(rollout=_SLOW), kill_after=run.dice.uniform(0.5, 40))


def _deploy_again(run: AnyOrder) -> None:
    run.run("deploy", run.last or run.file(rollout=_QUICK), kill_after=run.perhaps_killed(20))


def _deploy_broken(run: AnyOrder) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no database')"]
    run.run("deploy", run.file(command=command, rollout=_QUICK), kill_after=run.perhaps_killed(20))


def _in_cluster_and_die(run: AnyOrder) -> None:
    run.run("deploy", run.file(rollout=_SLOW), "--in-cluster")
    for driver in drivers(run.world.session, JOB):
        for one in run.world.session.nomad.job_allocations(driver.job_id).value:
            if one.client_status == "running":
                run.world.session.nomad.signal_allocation(one.id, "SIGKILL", "app")
                run.done[-1] += ", and its driver was killed"


def _steer(*words: str) -> Callable[[AnyOrder], None]:
    def move(run: AnyOrder) -> None:
        run.run(words[0], SERVICE, *words[1:], "--timeout", "90s", kill_after=run.perhaps_killed(15))

    return move


def _scale(run: AnyOrder) -> None:
    run.run("scale", SERVICE, str(run.dice.choice((2, 3))))


_MOVES: dict[str, Callable[[AnyOrder], None]] = {
    "deploy": _deploy,
    "deploy and die": _deploy_and_die,
    "deploy again": _deploy_again,
    "deploy what is broken": _deploy_broken,
    "deploy in the cluster, and the driver dies": _in_cluster_and_die,
    "pause": _steer("pause"),
    "resume": _steer("resume"),
    "resume in the cluster": _steer("resume", "--in-cluster"),
    "promote": _steer("promote"),
    "promote --full": _steer("promote", "--full"),
    "abort": _steer("abort"),
    "rollback": _steer("rollback", "--yes"),
    "scale": _scale,
}


_BEGINNING = sorted(name for name in _MOVES if name.startswith(("deploy", "rollback")))
"""What begins a rollout; most other commands find nothing to do where none is under way."""


def one_release(world: World) -> None:
    """Wait until exactly one release is left everywhere: in the mesh, in Nomad, in the journal."""
    eventually(lambda: trouble_of_one_release(world), lambda found: not found, 60)


def trouble_of_one_release(world: World) -> str:
    """What is there beside one release; "" when nothing is."""
    consul, nomad = world.session.consul, world.session.nomad
    stored = consul.read_entry("service-resolver", SERVICE)
    resolver = stored.body if stored else {}
    subsets = set(resolver.get("Subsets") or {})
    if len(subsets) != 1 or resolver.get("DefaultSubset") not in subsets:
        return f"the resolver knows {subsets}, and its default is {resolver.get('DefaultSubset')}"
    (release,) = subsets
    for kind, name in (("service-splitter", SERVICE), ("service-resolver", canary_name(SERVICE))):
        if consul.read_entry(kind, name) is not None:
            return f"{kind} {name} is left"
    router = consul.read_entry("service-router", SERVICE)
    routes = (router.body.get("Routes") or ()) if router else ()
    if any("ServiceSubset" in (route.get("Destination") or {}) for route in routes):
        return "a route leads to a subset"
    if RolloutStore(consul, world.platform.namespace, SERVICE).journal().rollout is not None:
        return "the journal has a rollout"
    job = nomad.read_job(SERVICE)
    if job is None or release_of(job.body) != release:
        return f"the job is of {release_of(job.body) if job else None}, the mesh knows {release}"
    # What was stopped may still finish its requests; nothing else runs beside this release.
    bodies = {version.version: release_of(version.body) for version in nomad.job_versions(SERVICE)}
    wanted = [one for one in nomad.job_allocations(SERVICE).value if one.desired_status == "run" and not one.done]
    running = {bodies.get(one.job_version) for one in wanted}
    return "" if running == {release} else f"instances of {running} are wanted, the mesh knows {release}"
