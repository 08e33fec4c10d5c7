"""A load like a square wave: how fast instances come and go, whether the count flaps, and what is lost.

    scripts/square_wave.py [--minutes 10] [--half 150] [--every 15s] [--cooldown 60s] [--restart autoscaler|nomad]

A stack of its own with the real autoscaler; the service stays between 2 and 10. A light load runs all the time, and a
heavy one beside it in each first half. With --restart the autoscalers or Nomad are killed in the first heavy half.
Needs what `hms-nomad dev up` needs, and nomad-autoscaler. Ends with 1 when a request was lost or the count flapped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.clients.errors import ServerError
from hms_nomad.dev import stack as dev
from hms_nomad.spec.duration import seconds
from hms_nomad.workflows.mesh.caller import operator_name
from hms_nomad.workflows.session import Session, open_session
from tests.live.conftest import LiveStack, own_contexts, run_cli, running_stack
from tests.live.scaling.conftest import APP

NAME = "receipt-svc"
LOW, HIGH = 2, 10
LIGHT = (20, 0)
HEAVY = (20, 16)
"""Requests a second, and milliseconds of CPU that each burns; both together fill about five instances."""


@dataclass
class Watch:
    """What is seen of the service, sampled each second: changes of the count, and healthy instances."""

    session: Session
    changes: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    healthy: list[tuple[float, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.wait(1.0):
            try:
                scale = (self.session.nomad.scale_status(NAME) or {}).get("app")
                passing = len(self.session.consul.instances(NAME, passing=True).value)
            except ServerError:
                continue
            for event in scale.events if scale else ():
                if event.count is not None and event.count != event.previous_count:
                    self.changes.setdefault(event.time_ns, (event.previous_count, event.count, event.message))
            self.healthy.append((time.time(), passing))


def main() -> int:
    """Run the wave and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--half", type=float, default=150.0, help="seconds of a half of the wave")
    parser.add_argument("--every", default="15s")
    parser.add_argument("--cooldown", default="60s")
    parser.add_argument("--restart", choices=("autoscaler", "nomad"))
    chosen = parser.parse_args()
    with (
        running_stack("wave") as stack,
        tempfile.TemporaryDirectory() as folder,
        own_contexts(stack.config_dir),
        open_session(stack.platform) as session,
    ):
        _prepare(stack, Path(folder), chosen)
        return _wave(stack, session, chosen)


def _prepare(stack: LiveStack, folder: Path, chosen: argparse.Namespace) -> None:
    ran = run_cli(stack, "platform", "install", "autoscaler")
    assert ran.exit_code == 0, ran.stderr
    spec = {
        "name": NAME,
        "version": "1.0.0",
        "command": ["python3", "-c", APP],
        "port": 3000,
        "routes": [{"path": "/", "public": True}],
        "allow": [operator_name()],
        "health": {"path": "/", "interval": "2s"},
        "resources": {"cpu": 200, "memory": 64},
        "scaling": {"min": LOW, "max": HIGH, "every": chosen.every, "cooldown": chosen.cooldown},
    }
    file = folder / "receipt.hms.yml"
    file.write_text(json.dumps(spec), encoding="utf-8")
    ran = run_cli(stack, "deploy", file)
    assert ran.exit_code == 0, ran.stderr


def _load(stack: LiveStack, rate: int, burn: int, length: float) -> dict[str, object]:
    words = ["load", f"{NAME}/?ms={burn}", "--rate", str(rate), "--for", f"{length:.0f}s", "--output", "json"]
    figures: dict[str, object] = json.loads(run_cli(stack, *words, seconds=length + 60).stdout)["load"]
    return figures


def _wave(stack: LiveStack, session: Session, chosen: argparse.Namespace) -> int:
    watch = Watch(session)
    done: list[dict[str, object]] = []

    def light() -> None:
        while not watch.over.is_set():
            done.append(_load(stack, *LIGHT, 30))

    threads = [threading.Thread(target=watch.run), threading.Thread(target=light)]
    for thread in threads:
        thread.start()
    begin, halves = time.time(), []
    try:
        while time.time() - begin < chosen.minutes * 60:
            halves.append(("heavy", time.time()))
            killer = threading.Timer(chosen.half / 3, _kill, (stack, session, chosen.restart))
            if chosen.restart and len(halves) == 1:
                killer.start()
            done.append(_load(stack, *HEAVY, chosen.half))
            halves.append(("light", time.time()))
            print(f"{time.time() - begin:5.0f} s  heavy half over, {watch.healthy[-1][1]} healthy", flush=True)
            time.sleep(min(chosen.half, max(0.0, begin + chosen.minutes * 60 - time.time())))
        # The way back from the highest count, one by one, with some to spare.
        patience = time.time() + (HIGH - LOW) * (seconds(chosen.cooldown) + 2 * seconds(chosen.every))
        while _count(session) > LOW and time.time() < patience:
            time.sleep(1)
        back = time.time() - halves[-1][1]
    finally:
        watch.over.set()
        for thread in threads:
            thread.join()
    return _report(watch, begin, halves, done, back, chosen)


def _kill(stack: LiveStack, session: Session, what: str) -> None:
    if what == "autoscaler":
        for one in session.nomad.job_allocations("hms-autoscaler").value:
            if one.client_status == "running":
                session.nomad.signal_allocation(one.id, "SIGKILL", "app")
        print("the autoscalers were killed", flush=True)
        return
    server = next(one for one in stack.status.servers if one.name == "nomad")
    psutil.Process(server.pid).kill()
    dev.up(stack.settings, lambda _: None)
    print("Nomad was killed and started again", flush=True)


def _count(session: Session) -> int:
    try:
        scale = (session.nomad.scale_status(NAME) or {}).get("app")
    except ServerError:
        return HIGH
    return scale.desired if scale else HIGH


def _report(
    watch: Watch,
    begin: float,
    halves: list[tuple[str, float]],
    loads: list[dict[str, object]],
    back: float,
    chosen: argparse.Namespace,
) -> int:
    changes = sorted((stamp / 1e9, before, after) for stamp, (before, after, _) in watch.changes.items())
    for stamp, before, after in changes:
        print(f"{stamp - begin:6.1f} s  {before} -> {after}")
    lag = seconds(chosen.every) * 2
    flaps = []
    for number, (half, start) in enumerate(halves):
        end = halves[number + 1][1] if number + 1 < len(halves) else float("inf")
        wrong = [one for one in changes if start + lag <= one[0] < end and (one[2] > one[1]) != (half == "heavy")]
        flaps += wrong
        if half == "heavy":
            first = next((one[0] - start for one in changes if start <= one[0] and one[2] > one[1]), None)
            size = max((count for stamp, count in watch.healthy if start <= stamp < end), default=0)
            print(f"heavy half: first one more after {first and round(first, 1)} s, up to {size} healthy")
    counts = [count for _, _, count in changes]
    failed = sum(int(str(load["failed"])) for load in loads)
    sent = sum(int(str(load["requests"])) for load in loads)
    print(f"counts between {min(counts)} and {max(counts)}; {len(changes)} changes, {len(flaps)} against the load")
    print(f"back at {LOW} {back:.0f} s after the last heavy half")
    print(f"{sent} requests, {failed} failed: {[load['failures'] for load in loads if load['failed']]}")
    return 1 if flaps or failed or not all(LOW <= count <= HIGH for count in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
