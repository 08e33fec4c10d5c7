"""The soak: many deploys to and fro by one process, what they leave, and whether memory stays what it was."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import statistics
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
from zero_loss.world import CALLER, SERVICE, World, running_world

from hms_nomad.clients.envoy import EnvoyStats
from hms_nomad.clients.errors import ServerError
from hms_nomad.compile.names import METRICS_META
from hms_nomad.rollout.closing import KEPT_RELEASES
from hms_nomad.workflows.deploying.deploy import DeployOptions, Status

from .deploying import OFTEN, asked
from .figures import Figure, Goal

FLAT = 1.1
_HOPELESS = 3
_TOLD_FAULTS = 5
_ROLLOUT = {"strategy": "rolling", "drain": "1s", "min_healthy": "1s"}
_ACTIVE_CLUSTERS = re.compile(r"^envoy_cluster_manager_active_clusters(?:{.*})? (\d+)", re.MULTILINE)


def soak(rounds: int) -> list[Figure]:
    """So many deploys that go to and fro between two releases, and what is left of them.

    One that fails is told, and tried once more as the next; the soak ends before its time where several in a row do,
    and at SIGINT or SIGTERM. Its figures are then those of the deploys that there were.
    """
    with running_world(None, 0) as world, _until_told_to_end():
        soaked = Soaked(rounds)
        try:
            world.start()
            processes = {"this process": psutil.Process(), "the caller's Envoy": _envoy(world)}
            while not soaked.ended:
                _round(world, soaked, processes)
        except (KeyboardInterrupt, psutil.NoSuchProcess) as end:
            told = "told to end" if isinstance(end, KeyboardInterrupt) else f"what was measured has ended: {end}"
            soaked.faults.append(told)
            # What a deploy in its midst has is no leavings: what was seen before it counts.
            print(soaked.summary(), file=sys.stderr, flush=True)
        return soaked.figures()


@dataclass
class Soaked:
    """What a soak has seen by now: how many of its ``rounds`` were tried and ``done``, what went wrong in words, the
    memory of processes in MiB after each deploy, and what there was to be left after both releases and when it was
    ``looked`` at last, after so many deploys.
    """

    rounds: int
    tried: int = 0
    done: int = 0
    in_a_row: int = 0
    faults: list[str] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    looked: int = 0

    @property
    def ended(self) -> bool:
        """Whether all rounds were tried, or it makes no sense to go on."""
        return self.tried == self.rounds or self.in_a_row == _HOPELESS

    @property
    def is_told(self) -> bool:
        """Whether it is time to say how it stands: twenty times in a long soak, and in its beginning."""
        return self.done in (2, 5) or self.ended or self.tried % max(1, self.rounds // 20) == 0

    def deployed(self) -> None:
        """A deploy was done."""
        self.tried, self.done, self.in_a_row = self.tried + 1, self.done + 1, 0

    def failed(self, reason: str) -> None:
        """A deploy was not done."""
        self.tried, self.in_a_row = self.tried + 1, self.in_a_row + 1
        self.faults.append(f"deploy {self.tried}: {reason}")

    def summary(self) -> str:
        """How it stands, in one line."""
        memory = [f"{name} {samples[-1]:.1f} MiB (at first {samples[0]:.1f})" for name, samples in self.memory.items()]
        left = [f"{self.after[name] - count:+d} {name}" for name, count in self.before.items()]
        counts = f"{self.done} of {self.rounds} deploys done, {self.tried - self.done} failed"
        return "soak: " + "; ".join([counts, *memory, *left, *self.faults[-1:]])

    def figures(self) -> list[Figure]:
        """The lines of the report; what too few deploys tell nothing about is left out."""
        done = Figure(
            "soak",
            f"deploys done, of {self.rounds}",
            "",
            {"ours": [self.done]},
            goals=[Goal("ours", at_least=self.rounds)],
            notes=self.faults[-_TOLD_FAULTS:],
        )
        left = [
            _nothing_more(f"left by {self.looked} deploys: {name}", count, self.after[name])
            for name, count in self.before.items()
        ]
        return [done, *left, *(grown(name, samples) for name, samples in self.memory.items() if len(samples) > 1)]


def _round(world: World, soaked: Soaked, processes: Mapping[str, psutil.Process]) -> None:
    """One deploy, and what is seen after it."""
    world.version = 2 + soaked.done % 2
    try:
        # One that was taken back is refused without it, and the soak would end with the first.
        outcome = world.deploy(world.spec(allow=[CALLER], health=OFTEN, rollout=_ROLLOUT), DeployOptions(force=True))
    except Exception as error:  # noqa: BLE001 - whatever ends a deploy is what a soak is there to find
        soaked.failed(f"{type(error).__name__}: {error}")
    else:
        if outcome.status is Status.FAILED:
            soaked.failed(outcome.failure.reason if outcome.failure else "without a reason")
        else:
            soaked.deployed()
    # What the world notes for those who look for lost requests would be taken for memory of deploys.
    world.moments.clear()
    for name, process in processes.items():
        soaked.memory.setdefault(name, []).append(process.memory_info().rss / 2**20)
    if soaked.is_told:
        _tell(world, soaked)


def _tell(world: World, soaked: Soaked) -> None:
    """See what is left by now, and say how it stands."""
    # Before that only one of the two releases has been there.
    if soaked.done >= 2:
        try:
            soaked.after, soaked.looked = _left(world), soaked.done
        except (OSError, ServerError, http.client.HTTPException, LookupError, ValueError) as error:
            soaked.faults.append(f"after deploy {soaked.tried}: {error}")
        soaked.before = soaked.before or soaked.after
    print(soaked.summary(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _until_told_to_end() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the work in good order, in a background job of a shell as well."""
    kept = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


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
        raise LookupError("the caller's Envoy does not say how many clusters it has")
    return int(found[1])


def _sidecar(world: World) -> tuple[str, int]:
    """Where the caller's sidecar shows its figures."""
    sidecars = world.session.consul.instances(CALLER, connect=True).value
    if not sidecars:
        raise LookupError("the caller has no sidecar")
    sidecar = sidecars[0]
    return sidecar.address, int(sidecar.meta[METRICS_META])
