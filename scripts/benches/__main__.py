"""Names of benches -> the report, also kept in ``docs/benchmarks``; ends with 1 when a goal is missed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import report
from .figures import ROOT, Figure

SOURCES = {
    "start": ("B1",),
    "size": ("B20",),
    "read": ("B2",),
    "fleets": ("B3", "B4", "B5", "B6", "B18"),
    "deploys": ("B7", "B15"),
    "losses": ("B9", "B10"),
    "hops": ("B12", "B13"),
    "recovery": ("B16", "B17"),
    "soak": ("soak",),
}
_ALL = ("nomad", "consul", "envoy")
NEEDS = {"fleets": ("nomad", "consul")} | dict.fromkeys(("deploys", "losses", "hops", "recovery", "soak"), _ALL)
ELSEWHERE = {
    "B8, B11": "no script of its own yet",
    "B14": "docs/scaling.md",
    "B19": "docs/reliability.md",
    "B21": "the registry's own calls",
}


def main() -> int:
    """Run what was asked for, print the table, keep the result."""
    known = [bench for benches in SOURCES.values() for bench in benches]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"of {', '.join(known)}; without: all but the soak")
    parser.add_argument("--services", type=int, default=500, help="how many services a fleet has")
    parser.add_argument("--rounds", type=int, default=200, help="how many deploys the soak has")
    parser.add_argument("--kills", type=int, default=40, help="how many deploys B16 kills")
    parser.add_argument("--meetings", type=int, default=10, help="how often operators meet in B17")
    parser.add_argument("--blocks", type=int, default=3, help="how often ours and the peer take turns")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write table, plot and history there")
    given = parser.parse_args()
    if unknown := [name for name in given.benches if name not in known]:
        parser.error(f"there is no bench {unknown[0]}; there are {', '.join(known)}")
    wanted = set(given.benches) or set(known) - {"soak"}
    figures: list[Figure] = []
    not_run = [f"{benches} ({why})" for benches, why in ELSEWHERE.items()]
    for name, benches in SOURCES.items():
        if not wanted & set(benches):
            continue
        if missing := [program for program in NEEDS.get(name, ()) if not shutil.which(program)]:
            not_run.append(f"{', '.join(benches)} (no {missing[0]} on PATH)")
            continue
        print(f"running {', '.join(benches)}", file=sys.stderr)
        figures += [figure for figure in _source(name, given)() if figure.bench in wanted]
    from .starting import versions

    document = report.as_document(figures, versions(), not_run)
    print(json.dumps(document, indent=1) if given.output == "json" else "\n".join(report.as_markdown(document)))
    if given.keep:
        for file in report.write(document, given.keep):
            print(f"wrote {os.path.relpath(file, ROOT)}", file=sys.stderr)
    return 0 if all(verdict["kept"] for row in document["figures"] for verdict in row["goals"]) else 1


def _source(name: str, given: argparse.Namespace) -> Callable[[], list[Figure]]:
    """A function of one of the modules, which are loaded when they are run."""
    if name in ("start", "size"):
        from . import starting

        return partial(starting.start, given.blocks) if name == "start" else starting.size
    if name == "read":
        from . import reading

        return partial(reading.read, given.blocks)
    if name == "fleets":
        from . import fleets

        return partial(fleets.fleets, given.blocks, given.services)
    if name == "hops":
        from . import hops

        return partial(hops.hops, given.blocks)
    if name in ("losses", "recovery"):
        from . import losing, recovering

        return losing.losses if name == "losses" else partial(recovering.recovery, given.kills, given.meetings)
    from . import deploying

    return partial(deploying.deploys, given.blocks) if name == "deploys" else partial(deploying.soak, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
