"""A fleet is deployed by way of servers that fail one call in a hundred: it ends right, and costs few calls more.

    scripts/fleet_under_faults.py [--services 100] [--every 100]

Twice a fleet of new services is registered (`deploy DIR --detach`): by way of servers without faults, and by way of
ones that answer each n-th call with 500 or 429 in turn. Needs `nomad` and `consul`, and no right: the servers have no
client, so nothing is started. Ends with 1 when a service is missing, or more than 1.2 times the calls were made.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.platform.context import DIRECTORY_VARIABLE
from tests.live.faults.clusters import Cluster, three_of_consul, three_of_nomad
from tests.live.faults.proxy import faulty_servers
from tests.live.faults.world import spec_of

_MOST = 1.2
_RULES = 500


@dataclass(frozen=True, slots=True)
class Deployed:
    """What one deploy of a fleet came to: its exit code, the calls it made, the faults among them, and its seconds."""

    exit_code: int
    calls: int
    faults: int
    kinds: dict[str, int]
    seconds: float
    planned: int
    told: str


def main() -> int:
    """Deploy both fleets and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=100, help="how many services a fleet has")
    parser.add_argument("--every", type=int, default=100, help="each how many-th call fails")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with three_of_consul(folder) as consul, three_of_nomad(folder) as nomad:
            clean = _deploy(folder, "clean", chosen.services, 0, nomad, consul)
            faulty = _deploy(folder, "faulty", chosen.services, chosen.every, nomad, consul)
    for word, one in (("without faults", clean), ("with faults", faulty)):
        print(
            f"{word}: {chosen.services} services, code {one.exit_code}, {one.calls} calls, {one.faults} of them failed "
            f"{one.kinds or ''}, {one.seconds:.1f} s; a plan afterwards ends with {one.planned}"
        )
    ratio = faulty.calls / clean.calls
    print(f"{ratio:.3f} times the calls of the deploy without faults")
    right = all(one.exit_code == 0 and one.planned == 0 for one in (clean, faulty))
    if not right:
        print(clean.told, faulty.told, sep="\n", file=sys.stderr)
    return 0 if right and ratio <= _MOST and faulty.faults > 0 else 1


def _deploy(folder: Path, fleet: str, services: int, every: int, nomad: Cluster, consul: Cluster) -> Deployed:
    specs = folder / fleet
    specs.mkdir()
    for number in range(services):
        # Some call others, so that entries are shared.
        uses = [f"{fleet}-{number - 1}"] if number % 5 == 0 and number else []
        spec_of(specs, f"{fleet}-{number}", uses=uses)
    with faulty_servers(nomad.follower().address, consul.follower().address) as proxies:
        answers = ((500, b"rpc error: No cluster leader"), (429, b"slow down"))
        if every:
            for number in range(1, _RULES):
                status, body = answers[number % 2]
                proxies.rule(first=number * every, status=status, body=body)
        environment = {"NOMAD_ADDR": proxies.nomad.address, "CONSUL_HTTP_ADDR": proxies.consul.address}
        begun = time.monotonic()
        done = _run(folder, environment, "deploy", str(specs), "--detach")
        seconds = time.monotonic() - begun
        calls = len(proxies.nomad.asked) + len(proxies.consul.asked)
        kinds = Counter(str(rule.status) for rule in proxies.rules if rule.hit)
        proxies.rules.clear()
        planned = _run(folder, environment, "plan", str(specs))
    return Deployed(
        done.returncode, calls, kinds.total(), dict(kinds), seconds, planned.returncode, done.stderr + planned.stdout
    )


def _run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hms_nomad", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, DIRECTORY_VARIABLE: str(folder), **environment},
    )


if __name__ == "__main__":
    sys.exit(main())
