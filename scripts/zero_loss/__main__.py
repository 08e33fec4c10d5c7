"""Every way of changing what runs, under load -> a table of lost requests; exit code 1 when ours lost any."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
from dataclasses import asdict

from hms_nomad.workflows.rollouts.abort import abort
from hms_nomad.workflows.rollouts.steering import SteerOptions
from zero_loss.ways import OURS, SHORT, gone, names, nothing, plain_run, start_plain, tagged
from zero_loss.ways_back import ways_back
from zero_loss.world import PLAIN, SERVICE, TAGGED, Loaded, World, quiet, running_world

_CONTROL = "nothing changes"
_LONG = "rolling, every 20th request of 30 s"
_TARGET = 1.0
_TOLERANCE = 0.3


def main() -> int:
    """Read the command line, run the ways, and print the table."""
    parser = argparse.ArgumentParser(prog="scripts/zero-loss", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second, half of them with keep-alive")
    parser.add_argument("--cycles", type=int, default=5, help="how often each way is gone")
    parser.add_argument("--short", action="store_true", help="one cycle of the strategies and an abort, for CI")
    parser.add_argument("--only", action="append", default=[], help=f"only these: {names(OURS)}".replace("%", "%%"))
    parser.add_argument("--no-peers", action="store_true", help="leave out nomad job run and tagged canaries")
    parser.add_argument("--no-back", action="store_true", help="leave out bad releases and their way back")
    parser.add_argument("--context", help="a stack that runs already; else one is brought up and taken down")
    parser.add_argument("--share", type=int, default=None, help="requests for the share at weight 1; 0: not measured")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    chosen = arguments.only or (SHORT if arguments.short else tuple(OURS))
    cycles = 1 if arguments.short else arguments.cycles
    share = arguments.share if arguments.share is not None else 2_000 if arguments.short else 10_000
    rows: dict[str, Loaded] = {}
    with running_world(arguments.context, arguments.rate) as world:
        world.start()
        rows[_CONTROL] = gone(world, _CONTROL, nothing, SERVICE, cycles)
        for name in chosen:
            rows[name] = gone(world, name, OURS[name], SERVICE, cycles)
        if not arguments.short and not arguments.only:
            rows[_LONG] = gone(world, _LONG, OURS["rolling"], SERVICE, cycles, slow=20, slow_path="/work?sleep=30")
            chosen = (*chosen, _LONG)
        measured = _share(world, share) if share else None
        back = [] if arguments.no_back or arguments.short else ways_back(world)
        if not arguments.no_peers and not arguments.short:
            start_plain(world)
            for name, way, service in (
                ("nomad job run, no shutdown_delay", plain_run(0.0), PLAIN),
                ("nomad job run, shutdown_delay = 7s", plain_run(7.0), PLAIN),
                ("canaries by tag, splitter, promote", tagged, TAGGED),
            ):
                # The first change still stops instances that the way before has left.
                way(world)
                rows[name] = gone(world, name, way, service, cycles)
    _print(rows, chosen, measured, share)
    for bad in back:
        print(
            f"way back: {bad.name}: {bad.seconds:.1f} s {bad.since}; {bad.failed} of {bad.sent} failed ({bad.reason})"
        )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            figures = {name: asdict(row) for name, row in rows.items()}
            json.dump({"rows": figures, "share": measured, "back": [asdict(bad) for bad in back]}, file, indent=2)
    lost = sum(rows[name].failed for name in chosen)
    missed = measured is not None and not arguments.short and abs(measured - _TARGET) > _TOLERANCE
    late = any(bad.seconds > bad.most for bad in back)
    return 1 if lost or missed or late else 0


def _share(world: World, requests: int) -> float:
    """The measured share of a new release at weight 1, in percent."""
    reached = threading.Event()

    def report(event: object) -> None:
        data = getattr(event, "data", {})
        if data.get("weight") == 1 and data.get("state") == "hold":
            reached.set()

    rollout = {"every": "600s", "drain": "7s", "min_healthy": "1s", "steps": [1, 100]}
    spec = world.next(rollout=rollout)
    deploying = threading.Thread(target=world.deploy, args=(spec, None, report))
    deploying.start()
    if not reached.wait(120):
        raise SystemExit("the new release did not get to 1 %")
    with world.load(count=requests, slow=0) as loaded:
        pass
    abort(world.session, SERVICE, SteerOptions(), quiet)
    deploying.join()
    return 100.0 * loaded.versions.get(str(world.version), 0) / loaded.sent


def _print(rows: dict[str, Loaded], ours: tuple[str, ...] | list[str], measured: float | None, share: int) -> None:
    width = max(map(len, rows))
    print(f"{'way':{width}}  requests  failed  p50 ms   p99 ms  why")
    for name, row in rows.items():
        why = ", ".join(f"{count} x {reason}" for reason, count in row.reasons.items())
        times = f"{row.p50_ms or 0:6.1f}  {row.p99_ms or 0:7.1f}"
        print(f"{name:{width}}  {row.sent:8}  {row.failed:6}  {times}  {why}".rstrip())
    sent, failed = sum(rows[name].sent for name in ours), sum(rows[name].failed for name in ours)
    print(f"\nhms-nomad: {failed} of {sent} requests lost")
    if measured is not None:
        print(f"share at weight 1 over {share} requests: {measured:.2f} %")
    cores = os.cpu_count()
    print(f"machine: {platform.system()} {platform.release()}, {cores} cores; every hundredth request takes 5 s")


if __name__ == "__main__":
    sys.exit(main())
