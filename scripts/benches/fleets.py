"""B3, B4, B6 and B18: plans of one service and of many, on servers whose node takes no work."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bench_plan

from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.observe import at_once
from hms_nomad.workflows.planning.plan import plan
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.platform.gateway import all_route_warnings
from hms_nomad.workflows.session import open_session
from hms_nomad.workflows.specs import SpecFile, read_specs
from tests.contract.consul_server import Consul, consul_process
from tests.contract.nomad_server import Nomad, nomad_with_acls

from .distance import far_away
from .figures import Figure, Goal, command, in_turns, milliseconds, ours, peak_mib, plain_environment

AWAY_SECONDS = 0.1
GATE_SERVICES = 200
GATE_ASKED = 50
PLAN = "the bare calls that a plan needs"


@dataclass(frozen=True)
class Servers:
    """Real servers without work, and the environment of commands that talk to them."""

    consul: Consul
    nomad: Nomad
    folder: Path

    @property
    def platform(self) -> Platform:
        """The two as a platform."""
        return Platform(
            nomad=ServerAddress(address=self.nomad.address), consul=ServerAddress(address=self.consul.address)
        )

    @property
    def environment(self) -> dict[str, str]:
        """For ours and for the servers' own programs."""
        return plain_environment(
            NOMAD_ADDR=self.nomad.address,
            NOMAD_TOKEN=self.nomad.token,
            CONSUL_HTTP_ADDR=self.consul.address,
            HMS_NOMAD_CONFIG_DIR=str(self.folder / "config"),
        )


def fleets(blocks: int, services: int) -> list[Figure]:
    """All of them, on one pair of servers."""
    with idle_servers() as servers:
        return [*_many(servers, blocks, services), *_one(servers, blocks), *_distant(servers, services)]


def unchanged(blocks: int) -> list[Figure]:
    """B4 and B6 for the gate: fewer services, and the peer is asked about some of them, as its time is one job's times
    their number. The start of the program weighs more here than among 500, so the goal is less than theirs.
    """
    with idle_servers() as servers:
        found = _measured(servers, blocks, GATE_SERVICES, GATE_ASKED)
    return [_planned_all(found, [Goal("peer/ours", at_least=4)]), _registered(found)]


@contextmanager
def idle_servers() -> Iterator[Servers]:
    """New servers in a folder of their own, whose node takes no work."""
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        folder = Path(name)
        for part in ("consul", "nomad", "config"):
            (folder / part).mkdir()
        with consul_process(folder / "consul") as consul, nomad_with_acls(folder / "nomad") as nomad:
            os.environ["NOMAD_TOKEN"] = nomad.token
            yield Servers(consul, nomad, folder)


def _many(servers: Servers, blocks: int, services: int) -> list[Figure]:
    """B4 and B6: five hundred services, nothing to do, and five of them changed."""
    folder = servers.folder / "many"
    found = _measured(servers, blocks, services)
    words = ["-m", "hms_nomad", "plan", str(folder / "specs"), "--detailed", "summary"]
    memory = peak_mib([sys.executable, *words], servers.environment)
    return [
        _planned_all(found, [Goal("peer/ours", at_least=10), Goal("ours/limit", at_most=4)]),
        Figure(
            "B4",
            f"memory of that plan, {services} services",
            "MiB",
            {"ours": [memory]},
            goals=[Goal("ours", at_most=200)],
        ),
        _registered(found),
    ]


def _measured(servers: Servers, blocks: int, services: int, asked: int | None = None) -> Mapping[str, Any]:
    """What ``bench_plan`` tells of so many services, which stay in the folder ``many``."""
    folder = servers.folder / "many"
    for part in ("specs", "jobs"):
        (folder / part).mkdir(parents=True)
    found: Mapping[str, Any] = bench_plan.measure(
        folder, servers.consul.address, servers.nomad.address, servers.nomad.token, services, blocks, asked
    )
    return found


def _planned_all(found: Mapping[str, Any], goals: Sequence[Goal]) -> Figure:
    services = found["services"]
    calls = found["calls"][str(services)]
    notes = [f"{calls.get('consul', 0)} calls to Consul, {calls.get('nomad', 0)} to Nomad"]
    if found["asked"] < services:
        notes.append(f"the peer's time is that of {found['asked']} jobs, times {services / found['asked']:g}")
    peer = f"{services} x nomad job plan"
    what = f"plan of {services} services, nothing to do"
    return Figure("B4", what, "s", found["seconds"], peer, PLAN, goals, notes)


def _registered(found: Mapping[str, Any]) -> Figure:
    changed = bench_plan.CHANGED
    return Figure(
        "B6",
        f"registrations when {changed} of {found['services']} changed",
        "",
        {"ours": [found["registrations_when_5_changed"]]},
        goals=[Goal("ours", at_most=changed, at_least=changed)],
    )


def _one(servers: Servers, blocks: int) -> list[Figure]:
    """B3: one service, nothing to do."""
    spec = servers.folder / "many" / "specs" / "svc-0010.hms.json"
    job = servers.folder / "many" / "jobs" / "svc-0010.json"
    found = in_turns(
        blocks * 3,
        {
            "ours": lambda: ours(servers.environment, "plan", str(spec), "--detailed", "summary"),
            "peer": lambda: command(["nomad", "job", "plan", "-json", str(job)], servers.environment, codes=(0, 1)),
        },
    )
    calls = bench_plan.count_calls(servers.platform, servers.folder / "many" / "specs", 1)
    notes = [f"{sum(calls.values())} calls; nomad job plan knows nothing of Consul's entries"]
    return [
        Figure("B3", "plan of one service, nothing to do", "ms", milliseconds(found), "nomad job plan", notes=notes)
    ]


def _distant(servers: Servers, services: int) -> list[Figure]:
    """B18: how many round trips a plan takes one after the other, seen from far away."""
    files = read_specs([str(servers.folder / "many" / "specs")])
    figures = []
    with _far(servers) as distant:
        for count, goals in ((1, [Goal("ours", at_most=4)]), (services, [Goal("ours", at_most=4)])):
            here = _planned(servers.platform, files[:count])
            there = _planned(distant, files[:count])
            trips = [(there - here) / AWAY_SECONDS]
            what = f"round trips of a plan, {count} service{'s' * (count > 1)}, servers {AWAY_SECONDS * 1000:g} ms away"
            figures.append(Figure("B18", what, "", {"ours": trips}, goals=goals, notes=["opening a connection is one"]))
    return figures


@contextmanager
def _far(servers: Servers) -> Iterator[Platform]:
    with (
        far_away(_port(servers.nomad.address), AWAY_SECONDS) as nomad,
        far_away(_port(servers.consul.address), AWAY_SECONDS) as consul,
    ):
        yield Platform(
            nomad=ServerAddress(address=f"http://127.0.0.1:{nomad}"),
            consul=ServerAddress(address=f"http://127.0.0.1:{consul}"),
        )


def _planned(where: Platform, files: tuple[SpecFile, ...]) -> float:
    def once() -> None:
        """What the command asks of the servers, from its first call to its last."""
        with open_session(where) as session:
            specs = [file.spec for file in prepare(session, files, lambda _: None, build=False).files]
            at_once([partial(plan, session, specs), partial(all_route_warnings, session, specs)])

    return in_turns(1, {"ours": once})["ours"][0]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
