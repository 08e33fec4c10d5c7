"""B8 and B11: how long a release takes to replace another, and how soon requests follow what a rollout wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from zero_loss.ways import run_job
from zero_loss.world import CALLER, PLAIN, SERVICE, World, running_world

from hms_nomad.compile import compile_spec
from hms_nomad.workflows.deploying.deploy import DeployOptions
from hms_nomad.workflows.rollouts.rollback import rollback

from .figures import Figure, Goal

_RATE = 300.0
_COUNT = 4
_SWITCHES = 3
_AFTER_SECONDS = 3.0
_SHAPE: Mapping[str, Any] = {
    "scaling": {"min": _COUNT, "max": 2 * _COUNT},
    "health": {"path": "/health", "interval": "2s", "timeout": "1s"},
    "rollout": {"strategy": "rolling", "drain": "2s", "min_healthy": "3s", "every": "1s"},
}


def rollouts(blocks: int) -> list[Figure]:
    """Both, on a stack of its own."""
    with running_world(None, _RATE) as world:
        world.start()
        switches = _switches(world)
        return [*_updates(world, blocks), *switches]


def _updates(world: World, blocks: int) -> list[Figure]:
    """B8: a new release of four instances. Nomad's own update replaces them one or two at a time; ours stands up the
    new ones beside the old ones, so that it never runs on less.
    """
    seconds: dict[str, list[float]] = {"ours": [], "one": [], "two": []}
    for block in range(blocks + 1):
        world.version += 1
        for column, found in seconds.items():
            started = time.perf_counter()
            if column == "ours":
                world.must_deploy(world.spec(**_SHAPE, allow=[CALLER]))
            else:
                run_job(world, _by_hand(world, f"{PLAIN}-{column}", 1 if column == "one" else 2))
            # The first time there is nothing to replace.
            if block:
                found.append(time.perf_counter() - started)
    what = f"a new release of {_COUNT} instances, deploy to healthy"
    return [
        Figure(
            "B8",
            what,
            "s",
            {"ours": seconds["ours"], "peer": seconds[column]},
            f"nomad job run of the same job, max_parallel {most}",
            goals=[Goal("ours/peer", at_most=1.05)],
        )
        for column, most in (("one", 1), ("two", 2))
    ]


def _by_hand(world: World, name: str, most: int) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(json.dumps(compile_spec(world.spec(name, **_SHAPE), world.platform).job))
    job["TaskGroups"][0]["Update"] |= {"Canary": 0, "MaxParallel": most}
    return job


def _switches(world: World) -> list[Figure]:
    """B11: from the moment at which Consul had taken the write until 99 of 100 requests came to the other release."""
    forth: list[float] = []
    back: list[float] = []
    for _ in range(_SWITCHES):
        with world.load() as loaded:
            world.must_deploy(world.next(), DeployOptions(strategy="blue-green"))
            written = _written(world)
            time.sleep(_AFTER_SECONDS)
        forth.append(max(0.0, loaded.switched[1] - written))
        with world.load() as loaded:
            rollback(world.session, SERVICE, None, DeployOptions(strategy="blue-green"), world.note)
            written = _written(world)
            time.sleep(_AFTER_SECONDS)
        back.append(max(0.0, loaded.switched[1] - written))
    return [
        Figure("B11", what, "s", {"ours": values}, goals=[Goal("ours", at_most=1.0)])
        for what, values in (
            ("from the splitter's write until 99 % of requests come to the new release", forth),
            ("the same on the way back", back),
        )
    ]


def _written(world: World) -> float:
    """When Consul had taken the write that moved all requests, in seconds since the load began."""
    moved = next(at for at, message in world.moments if message.startswith("100 % of the traffic"))
    return max(at for at, message in world.moments if message.endswith(f"splitter {SERVICE} updated") and at <= moved)
