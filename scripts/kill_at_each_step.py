"""Deploys are killed at each of their writes, over and over; each time the same command has to mend everything.

    scripts/kill_at_each_step.py [--kills 200] [--change first|release|in-place]

Four lanes go side by side, each with a service of its own. The first is deployed as something new each time; the second
goes from one release to the next and back; the other two change their routes and bounds, which replaces no instance.
Meanwhile a caller in the mesh sends requests to all but the first. Needs what `hms-nomad dev up` needs. Ends with 1
when anything was wrong after a kill, or any request failed, and says what.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.workflows.session import open_session
from tests.live.conftest import LiveStack, own_contexts, run_cli, running_stack
from tests.live.faults.killing import Killed, count_writes, kill_at
from tests.live.faults.traffic import APP, deploy_caller, requests_from
from tests.live.faults.world import held, spec_of

CALLER = "kill-caller"
_RATE = 20.0
_SMALLEST_STEPS = 10
_PATIENCE_SECONDS = 600.0
_LANES = (("first", 0.18), ("release", 0.32), ("in-place", 0.25), ("in-place", 0.25))
"""What is deployed in each lane, and its share of the kills: enough that 200 meet each write before and after it."""


class Places:
    """The places at which to kill a lane's deploys, (write, "before" or "after"), one after the other."""

    def __init__(self, kills: int, begin: float) -> None:
        """``kills`` in all; the first is ``begin`` of the way through the deploy, so that lanes share the writes."""
        self.left = kills
        self.begin = begin
        self.done: list[Killed] = []
        self.steps = 0
        self._places = self._count()

    def take(self) -> tuple[int, str] | None:
        """The next place; None when there were enough kills."""
        if self.left <= 0:
            return None
        self.left -= 1
        return next(self._places)

    def note(self, lane: str, killed: Killed) -> None:
        """Keep what came of one; a deploy that ended before it could be killed does not count."""
        if not killed.killed and not killed.wrong:
            self.left += 1
            return
        self.done.append(killed)
        print(f"{len(self.done):4} {lane} {killed.at}: {killed.wrong or 'mended'}", flush=True)

    def _count(self) -> Iterator[tuple[int, str]]:
        places = [(step, where) for where in ("before", "after") for step in range(1, self.steps + 1)]
        first = int(self.begin * len(places))
        yield from itertools.cycle(places[first:] + places[:first])


@dataclass(frozen=True)
class Lane:
    """One service and the two specs between which it goes."""

    name: str
    change: str
    files: tuple[Path, ...]
    places: Places

    @property
    def fresh(self) -> bool:
        """Whether the service is forgotten before each kill, and so has no users."""
        return self.change == "first"


def main() -> int:
    """Run the lanes side by side and print a line a kill, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many deploys are killed")
    parser.add_argument("--change", choices=("first", "release", "in-place"), help="what all lanes deploy")
    chosen = parser.parse_args()
    kinds = ((chosen.change, 1 / len(_LANES)),) * len(_LANES) if chosen.change else _LANES
    begun = time.monotonic()
    with running_stack("killed") as stack, tempfile.TemporaryDirectory() as folder:
        lanes = [
            _lane(Path(folder), number, change, Places(round(chosen.kills * share), number / len(kinds)))
            for number, (change, share) in enumerate(kinds)
        ]
        called = [lane.name for lane in lanes if not lane.fresh]
        with (
            own_contexts(stack.config_dir),
            open_session(stack.platform) as session,
            ThreadPoolExecutor(len(lanes)) as pool,
        ):
            list(pool.map(lambda lane: _prepare(stack, lane), lanes))
            if called:
                deploy_caller(stack, Path(folder), CALLER, called)
            with requests_from(session, CALLER, called, _RATE) if called else nullcontext({}) as asked:
                list(pool.map(lambda lane: _run(stack, lane), lanes))
            prefixes = ("hms-nomad/locks/", "hms-nomad/runs/")
            left = sorted(pair.key for prefix in prefixes for pair in session.consul.kv_list(prefix))
    for lane in lanes:
        wrong = sum(bool(killed.wrong) for killed in lane.places.done)
        print(
            f"{lane.name}, {lane.change}: {len(lane.places.done)} kills over {lane.places.steps} writes, {wrong} wrong"
        )
    wrong = sum(bool(killed.wrong) for lane in lanes for killed in lane.places.done)
    sent, failed = (sum(getattr(one, field) for one in asked.values()) for field in ("sent", "failed"))
    print(f"{sum(len(lane.places.done) for lane in lanes)} kills, {wrong} with something wrong afterwards")
    print(f"{failed} of {sent} requests failed {[dict(one.reasons) for one in asked.values() if one.failed] or ''}")
    print(f"locks and journals that are left at the end: {left or 'none'}")
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes with the stack's start and end")
    return 1 if wrong or failed or left else 0


def _lane(folder: Path, number: int, change: str, places: Places) -> Lane:
    name = f"killed-{number}"
    rollout = {"strategy": "rolling", "min_healthy": "1s", "deadline": "120s", "drain": "2s"}
    files = tuple(
        spec_of(
            folder,
            name,
            version=f"{version}.0.0" if change == "release" else "1.0.0",
            env={"APP_VERSION": str(version) if change == "release" else "1"},
            routes=[{"path": "/hello"}, {"path": f"/more-{version}"}],
            scaling={"min": 1, "max": 2 + version},
            command=APP,
            rollout={**rollout, "on_no_traffic": "promote"},
        )
        for version in (1, 2)
    )
    return Lane(name, change, files, places)


def _prepare(stack: LiveStack, lane: Lane) -> None:
    """The first release, and how many writes the change makes that is going to be killed."""
    if not lane.fresh:
        _must(stack, "deploy", lane.files[1])
    lane.places.steps = max(_SMALLEST_STEPS, count_writes(stack, lane.files[0]))


def _run(stack: LiveStack, lane: Lane) -> None:
    with open_session(stack.platform) as session:
        wholes = {}
        for file in reversed(lane.files):
            _must(stack, "deploy", file)
            whole = held(session, lane.name)
            if whole is None:
                raise SystemExit(f"an undisturbed deploy of {lane.name} left no job")
            wholes[file] = whole
        # The last one is there now.
        for file in itertools.cycle(reversed(lane.files) if not lane.fresh else lane.files[:1]):
            place = lane.places.take()
            if place is None:
                return
            if lane.fresh:
                _must(stack, "stop", lane.name, "--purge", "--yes")
            lane.places.note(lane.name, kill_at(stack, session, file, lane.name, *place, wholes[file]))


def _must(stack: LiveStack, *command: str | Path) -> None:
    done = run_cli(stack, *command, seconds=_PATIENCE_SECONDS)
    if done.exit_code != 0:
        raise SystemExit(f"{command[0]} ended with {done.exit_code}: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
