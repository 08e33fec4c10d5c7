"""The soak: many deploys to and fro by one process, what they leave, and whether memory stays what it was."""

from __future__ import annotations

import re
import statistics
import urllib.request
from collections.abc import Mapping, Sequence

import psutil
from zero_loss.world import CALLER, SERVICE, World, running_world

from hms_nomad.clients.envoy import EnvoyStats
from hms_nomad.compile.names import METRICS_META
from hms_nomad.rollout.perform import KEPT_RELEASES

from .deploying import asked
from .figures import Figure, Goal

FLAT = 1.1
_ACTIVE_CLUSTERS = re.compile(r"^envoy_cluster_manager_active_clusters(?:{.*})? (\d+)", re.MULTILINE)


def soak(rounds: int) -> list[Figure]:
    """So many deploys that go to and fro between two releases, and what is left of them."""
    often = {"path": "/health", "interval": "2s", "timeout": "1s"}
    rollout = {"strategy": "rolling", "drain": "1s", "min_healthy": "1s"}
    with running_world(None, 0) as world:
        world.start()
        processes = {"this process": psutil.Process(), "the caller's Envoy": _envoy(world)}
        memory: dict[str, list[float]] = {name: [] for name in processes}
        before: Mapping[str, int] = {}
        for number in range(rounds):
            world.version = 2 + number % 2
            world.must_deploy(world.spec(allow=[CALLER], health=often, rollout=rollout))
            # What the world notes for those who look for lost requests would be taken for memory of deploys.
            world.moments.clear()
            if number == 1:
                # Both releases have been there once.
                before = _left(world)
            for name, process in processes.items():
                memory[name].append(process.memory_info().rss / 2**20)
        after = _left(world)
    return [
        *(_nothing_more(f"left by {rounds} deploys: {name}", before[name], after[name]) for name in before),
        *(grown(name, samples) for name, samples in memory.items()),
    ]


def grown(name: str, samples: Sequence[float]) -> Figure:
    """Whether memory is flat: the mean of the last fifth of the ``samples`` against that of the second.

    ``samples`` are MiB, one after each deploy. In the second fifth everything has been loaded and done once; what grows
    by each deploy grows on to the end.
    """
    fifth = max(1, len(samples) // 5)
    early, late = statistics.mean(samples[fifth : 2 * fifth]), statistics.mean(samples[-fifth:])
    spots = range(0, len(samples), max(1, len(samples) // 10))
    course = ", ".join(f"{samples[spot]:.1f}" for spot in [*spots, len(samples) - 1])
    return Figure(
        "soak",
        f"memory of {name}, last fifth of {len(samples)} deploys against the second",
        "x",
        {"ours": [late / early]},
        goals=[Goal("ours", at_most=FLAT)],
        notes=[f"{early:.1f} MiB, then {late:.1f}; in its course {course}"],
    )


def _nothing_more(what: str, before: int, after: int) -> Figure:
    return Figure("soak", what, "", {"ours": [after - before]}, goals=[Goal("ours", at_most=0)])


def _envoy(world: World) -> psutil.Process:
    """The process of the caller's sidecar."""
    caller = world.caller()
    return next(
        process
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "envoy" and process.environ().get("NOMAD_ALLOC_ID") == caller
    )


def _left(world: World) -> Mapping[str, int]:
    """What deploys could leave behind."""
    consul = world.platform.consul.address
    resolver = asked(consul, f"/v1/config/service-resolver/{SERVICE}")
    keys = asked(consul, "/v1/kv/hms-nomad/?keys")
    releases = [key for key in keys if key.startswith("hms-nomad/releases/") and f"/{SERVICE}/" in key]
    return {
        "sessions": len(asked(consul, "/v1/session/list")),
        "subsets": len(resolver.get("Subsets") or {}),
        "keys but those of the audit trail and of releases": sum(
            not key.startswith(("hms-nomad/audit/", "hms-nomad/releases/")) for key in keys
        ),
        f"releases beyond the {KEPT_RELEASES} that are kept": max(0, len(releases) - KEPT_RELEASES),
        "subsets that the caller's Envoy knows": len(_known_to_envoy(world)),
        "clusters of the caller's Envoy": _clusters(world),
    }


def _known_to_envoy(world: World) -> frozenset[str]:
    """The subsets of the service that its caller's sidecar knows."""
    return EnvoyStats().scrape(*_sidecar(world)).subsets.get(SERVICE, frozenset())


def _clusters(world: World) -> int:
    address, port = _sidecar(world)
    with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=10) as answer:
        found = _ACTIVE_CLUSTERS.search(answer.read().decode())
    if found is None:
        raise SystemExit("the caller's Envoy does not say how many clusters it has")
    return int(found[1])


def _sidecar(world: World) -> tuple[str, int]:
    """Where the caller's sidecar shows its figures."""
    sidecar = next(iter(world.session.consul.instances(CALLER, connect=True).value))
    return sidecar.address, int(sidecar.meta[METRICS_META])
