"""One of three instances is killed, frozen, slow or broken while 200 requests a second go through the mesh.

    scripts/mesh_under_faults.py [--context NAME] [--rate 200] [--for 8] [--output json]

Requests leave a caller's sidecar in an open loop, half of them on connections of their own; none is sent again by the
caller itself, so what is not lost was saved by the mesh. Each row is one fault: some seconds of load, the fault, and
some seconds after it. Without a context a stack of its own is brought up. Needs root, `nomad`, `consul` and `envoy`.
Ends with 1 when an idempotent request was lost, or a POST that the spec lets be repeated; a POST that must not be
repeated may be lost, and what was lost of these is only shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from zero_loss.instances import answering, frozen, killed
from zero_loss.world import CALLER, SERVICE, World, running_world

INSTANCES = 3
REPEATED = "repeated-svc"
AROUND_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """What became of the requests during one fault; latencies are in milliseconds."""

    fault: str
    method: str
    repeated: bool
    sent: int
    failed: int
    reasons: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None

    @property
    def kept(self) -> bool:
        """Whether none was lost that the mesh may send again."""
        return not self.failed or not self.repeated


def main() -> int:
    """Run all faults and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--context", help="a running stack; without it, one of its own")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--for", type=float, default=8.0, dest="seconds", help="how long each fault lasts")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    given = parser.parse_args()
    rows = []
    with running_world(given.context, given.rate) as world:
        _start(world)
        for fault, method, name in TABLE:
            if given.only not in fault:
                continue
            world.settled(name, INSTANCES)
            rows.append(_row(world, fault, method, name, given.seconds))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    load = os.getloadavg()[0]
    if given.output == "json":
        print(json.dumps({"rate": given.rate, "load": load, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print("| fault | requests | sent | lost | p50 | p99 |\n|---|---|---|---|---|---|")
        print("\n".join(_line(row) for row in rows))
        print(f"\n{given.rate:g} requests a second, load of the machine {load:.1f} at the end")
    return 0 if all(row.kept for row in rows) else 1


def _start(world: World) -> None:
    """The service as specs have it by default, the same with POSTs that may be repeated, and their caller."""
    fields: dict[str, Any] = {
        "version": "1.0.0",
        "scaling": {"min": INSTANCES, "max": INSTANCES},
        "mesh": {},
        "rollout": {"strategy": "rolling", "min_healthy": "1s", "drain": "0s"},
        "health": {"path": "/health"},
        "routes": [{"path": "/work", "methods": ["GET", "POST"]}],
    }
    world.must_deploy(world.spec(SERVICE, **fields))
    world.must_deploy(world.spec(REPEATED, **fields | {"mesh": {"retry_methods": ["GET", "POST"]}}))
    caller = {"uses": [SERVICE, REPEATED], "scaling": {"min": 1, "max": 1}, "routes": []}
    world.must_deploy(world.spec(CALLER, **fields | caller))
    world.addresses |= {REPEATED: "127.0.1.1", SERVICE: "127.0.1.2"}


def _killed(allocation: str) -> AbstractContextManager[None]:
    killed(allocation)
    return contextlib.nullcontext()


def _killed_whole(allocation: str) -> AbstractContextManager[None]:
    killed(allocation, whole=True)
    return contextlib.nullcontext()


FAULTS: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "killed": _killed,
    "killed with its sidecar": _killed_whole,
    "frozen": frozen,
    "frozen with its sidecar": lambda allocation: frozen(allocation, whole=True),
    "3 s slow": lambda allocation: answering(allocation, "sleep 3"),
    "answers 503": lambda allocation: answering(allocation, "status 503"),
}
TABLE = [
    *((fault, "GET", SERVICE) for fault in FAULTS),
    ("killed", "POST", SERVICE),
    ("answers 503", "POST", SERVICE),
    ("killed", "POST", REPEATED),
    ("answers 503", "POST", REPEATED),
]


def _row(world: World, fault: str, method: str, name: str, seconds: float) -> Row:
    allocation = next(one.id for one in world.session.nomad.job_allocations(name).value if not one.done)
    with world.load(name, method=method, slow=0) as loaded:
        time.sleep(AROUND_SECONDS)
        with FAULTS[fault](allocation):
            time.sleep(seconds)
        time.sleep(AROUND_SECONDS)
    repeated = method == "GET" or name == REPEATED
    return Row(fault, method, repeated, loaded.sent, loaded.failed, loaded.reasons, loaded.p50_ms, loaded.p99_ms)


def _line(row: Row) -> str:
    what = f"{row.method}, {'may' if row.repeated else 'must not'} be repeated"
    why = "; ".join(f"{count} x {reason}" for reason, count in row.reasons.items())
    lost = f"{row.failed}{f' ({why})' if why else ''}"
    return f"| {row.fault} | {what} | {row.sent} | {lost} | {row.p50_ms} ms | {row.p99_ms} ms |"


if __name__ == "__main__":
    sys.exit(main())
