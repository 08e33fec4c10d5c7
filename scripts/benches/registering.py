"""B5: many new services, detached, beside a loop of the servers' own programs; each on new servers of its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import bench_plan
import psutil

from hms_nomad.compile import compile_spec
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import Observed
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.specs import read_specs

from .figures import Figure, Goal, command, peak_mib
from .fleets import Servers, idle_servers

_MOST_MIB = 200
_LOOPS_FOR = 3
"""The loop takes minutes, so it is run once where others take three turns."""

_NOTHING = Observed(job=None, entries={}, intentions={})


def registered(blocks: int, services: int) -> list[Figure]:
    """New services on servers that hold none, so that no command pays for what another one wrote."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    mebibytes: list[float] = []
    turns = max(1, blocks // _LOOPS_FOR)
    often = f"{turns} turn{'s' * (turns > 1)}, as the loop takes minutes"
    notes = [f"{often}; each on new servers of its own, which hold the same afterwards"]
    for _ in range(turns):
        with idle_servers() as mine, idle_servers() as theirs:
            specs = _specs(mine.folder / "new", services)
            loop = _loop(theirs.folder, specs)
            words = [sys.executable, "-m", "hms_nomad", "deploy", str(specs), "--detach", "--quiet"]
            took, cost, memory = _timed(mine, partial(peak_mib, words, mine.environment))
            seconds["ours"].append(took)
            mebibytes.append(memory)
            notes.append(f"processor seconds of ours: {cost}")
            took, cost, _ = _timed(theirs, partial(_run, loop, theirs.environment))
            seconds["peer"].append(took)
            notes.append(f"of the loop: {cost}")
            if _stored(mine) != _stored(theirs):
                raise SystemExit("the loop wrote something else than ours")
    return [
        Figure(
            "B5",
            f"{services} new services, detached",
            "s",
            seconds,
            "a shell loop of nomad job run and consul config write",
            goals=[Goal("peer/ours", at_least=10)],
            notes=notes,
        ),
        Figure(
            "B5",
            f"memory of that deploy, {services} services",
            "MiB",
            {"ours": mebibytes},
            goals=[Goal("ours", at_most=_MOST_MIB)],
        ),
    ]


def _specs(folder: Path, services: int) -> Path:
    folder.mkdir()
    for number in range(services):
        name = f"new-{number:04d}"
        bench_plan.write_spec(folder, 0, name=name)
        (folder / "svc-0000.hms.json").rename(folder / f"{name}.hms.json")
    return folder


def _loop(folder: Path, specs: Path) -> list[Sequence[str]]:
    """The commands that one would run by hand for the same services: the entries of each, then its job."""
    words: list[Sequence[str]] = []
    for file in read_specs([str(specs)]):
        for change in make_plan(compile_spec(file.spec, Platform()), _NOTHING).changes:
            written = folder / f"{file.spec.name}-{change.kind}.json"
            job = change.kind == "job"
            written.write_text(json.dumps({"Job": change.body} if job else change.body), encoding="utf-8")
            by_hand = ["nomad", "job", "run", "-detach", "-json"] if job else ["consul", "config", "write"]
            words.append([*by_hand, str(written)])
    return words


def _run(loop: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
    for words in loop:
        command(words, environment)


def _timed(servers: Servers, work: Callable[[], Any]) -> tuple[float, str, Any]:
    """Seconds of some work, what it cost the processor, and what it answered."""
    processes = {
        "Consul": psutil.Process(servers.consul.server.process.pid) if servers.consul.server else None,
        "Nomad": psutil.Process(servers.nomad.server.process.pid),
    }
    before, own = {name: _spent(process) for name, process in processes.items()}, _children()
    began = time.perf_counter()
    answer = work()
    seconds = time.perf_counter() - began
    costs = {"the commands": _children() - own}
    costs |= {name: _spent(process) - before[name] for name, process in processes.items()}
    return seconds, ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items()), answer


def _spent(process: psutil.Process | None) -> float:
    times = process.cpu_times() if process is not None else None
    return times.user + times.system if times is not None else 0.0


def _children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _stored(servers: Servers) -> tuple[list[Any], list[str]]:
    """All entries without what the server adds to each, and the names of the jobs."""
    moved = ("CreateIndex", "ModifyIndex", "Hash")
    entries = [
        {name: value for name, value in entry.items() if name not in moved}
        for kind in bench_plan.KINDS
        for entry in servers.consul.http("GET", f"/v1/config/service-{kind}")
    ]
    return entries, [job["ID"] for job in servers.nomad.http("GET", "/v1/jobs")]
