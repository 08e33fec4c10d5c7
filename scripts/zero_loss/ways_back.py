"""A bad release -> how long until the old one has everything again, and what users saw of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hms_nomad.spec.model import Spec
from hms_nomad.workflows.deploying.deploy import Status
from zero_loss.world import World

_DEADLINE = 10.0
_QUICK = {"every": "5s", "drain": "7s", "keep": "0s", "min_healthy": "1s"}


@dataclass(frozen=True)
class WayBack:
    """``seconds`` from ``since`` to the end, ``most`` of which are allowed; ``failed`` of ``sent`` user requests."""

    name: str
    since: str
    most: float
    seconds: float
    reason: str
    sent: int
    failed: int


def ways_back(world: World) -> list[WayBack]:
    """Each kind of bad release once, under load."""
    if world.registry is None:
        print("way back: its image is missing: not run, there is no Docker or no registry of images", file=sys.stderr)
    kinds = [*_KINDS, *([_MISSING_IMAGE] if world.registry else [])]
    return [_gone_wrong(world, *kind) for kind in kinds]


def _gone_wrong(
    world: World, name: str, since: str, most: float, mark: str, spec: Callable[[World], Spec], minus: float = 0.0
) -> WayBack:
    with world.load() as loaded:
        outcome = world.deploy(spec(world))
        ended = world.now()
    if outcome.status is not Status.FAILED or outcome.failure is None:
        raise SystemExit(f"{name}: the release was not taken back")
    begun = next(at for at, message in world.moments if mark in message)
    return WayBack(name, since, most, ended - begun - minus, outcome.failure.reason, loaded.sent, loaded.failed)


def _crashing(world: World) -> Spec:
    return world.next(command=[sys.executable, "-c", "raise SystemExit('no database')"], rollout=_QUICK)


def _never_healthy(world: World) -> Spec:
    return world.next(health={"path": "/health?sleep=9"}, rollout={**_QUICK, "deadline": f"{_DEADLINE:g}s"})


def _too_large(world: World) -> Spec:
    return world.next(resources={"cpu": 1_000_000, "memory": 64}, rollout=_QUICK)


def _without_image(world: World) -> Spec:
    return world.next(command=None, image=f"{world.registry}/zero-loss:9.9.9", rollout=_QUICK)


def _failing_probe(world: World) -> Spec:
    world.version += 1
    env = {"APP_VERSION": str(world.version), "APP_ERRORS": "1"}
    return world.spec(env=env, probes={"gve": {"path": "/gve"}}, rollout=_QUICK)


def _with_errors(world: World) -> Spec:
    world.version += 1
    env = {"APP_VERSION": str(world.version), "APP_ERRORS": "0.2"}
    return world.spec(env=env, rollout={**_QUICK, "steps": [10, 100]})


_REGISTERED = "job zero-loss updated"
_MISSING_IMAGE = ("its image is missing", "since the job was registered", 30.0, _REGISTERED, _without_image)
_KINDS: tuple[tuple[Any, ...], ...] = (
    ("crashes at start", "since the job was registered", 10.0, _REGISTERED, _crashing),
    ("cannot be placed", "since the job was registered", 10.0, _REGISTERED, _too_large),
    (f"never healthy, deadline {_DEADLINE:g} s", "beyond its deadline", 3.0, _REGISTERED, _never_healthy, _DEADLINE),
    ("fails a probe", "since its instances were healthy", 10.0, "(probe)", _failing_probe),
    ("20 % errors at 10 %, 5 s a step", "since it had traffic", 15.0, "10 % of the traffic", _with_errors),
)
