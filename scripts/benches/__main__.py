"""Names of benches -> the report, also kept in ``docs/benchmarks``; ends with 1 when a goal is missed.

With ``--gate``, what CI asks: only benches with a wide margin, and of their goals only ratios and counts, never time.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from . import report
from .figures import ROOT, Figure
from .gate import passed

_ALL = ("nomad", "consul", "envoy")


@dataclass(frozen=True)
class Source:
    """A function of one of the modules, which are loaded when they are run; ``arguments`` are options of the command,
    and ``needs`` the programs without which it cannot run.
    """

    benches: tuple[str, ...]
    module: str
    function: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = _ALL

    def run(self, options: argparse.Namespace) -> list[Figure]:
        """Its figures."""
        function: Callable[..., list[Figure]] = getattr(import_module(f".{self.module}", __package__), self.function)
        return function(*(getattr(options, argument) for argument in self.arguments))


SOURCES = (
    Source(("B1",), "starting", "start", ("blocks",), needs=()),
    Source(("B20",), "starting", "size", needs=()),
    Source(("B2",), "reading", "read", ("blocks",), needs=()),
    Source(("B3", "B4", "B6", "B18"), "fleets", "fleets", ("blocks", "services"), needs=("nomad", "consul")),
    Source(("B5",), "registering", "registered", ("blocks", "services"), needs=("nomad", "consul")),
    Source(("B7", "B15"), "deploying", "deploys", ("blocks",)),
    Source(("B8", "B11"), "rolling", "rollouts", ("blocks",)),
    Source(("B9", "B10"), "losing", "losses"),
    Source(("B12", "B13"), "hops", "hops", ("blocks",)),
    Source(("B21",), "images", "images", needs=("docker-registry",)),
    Source(("B16", "B17", "B19"), "recovering", "recovery", ("kills", "meetings")),
    Source(("B14",), "recovering", "wave", ("minutes",), needs=(*_ALL, "nomad-autoscaler")),
    Source(("soak",), "soaking", "soak", ("rounds",)),
)
LONG = frozenset({"B14", "soak"})
"""What is only run when it is named."""
GATE = (
    Source(("B1",), "starting", "start", ("blocks",), needs=("nomad",)),
    Source(("B2",), "reading", "growth", ("blocks",), needs=()),
    Source(("B4", "B6"), "fleets", "unchanged", ("blocks",), needs=("nomad", "consul")),
)
"""What ``--gate`` runs, each once; where a goal is missed once more with so many ``--blocks``."""


def main() -> int:
    """Run what was asked for, print the table, keep the result."""
    known = [bench for source in SOURCES for bench in source.benches]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "benches",
        nargs="*",
        metavar="BENCH",
        help=f"of {', '.join(known)}; without: all but {' and '.join(sorted(LONG))}",
    )
    parser.add_argument("--services", type=int, default=500, help="how many services a fleet has")
    parser.add_argument("--rounds", type=int, default=200, help="how many deploys the soak has")
    parser.add_argument("--kills", type=int, default=40, help="how many deploys B16 kills")
    parser.add_argument("--meetings", type=int, default=10, help="how often operators meet in B17")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the wave of B14 lasts")
    parser.add_argument("--blocks", type=int, default=3, help="how often ours and the peer take turns")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write table, plot and history there")
    parser.add_argument("--gate", action="store_true", help="what CI asks: ratios and counts with a wide margin")
    given = parser.parse_args()
    if unknown := [name for name in given.benches if name not in known]:
        parser.error(f"there is no bench {unknown[0]}; there are {', '.join(known)}")
    if given.rounds < 2:
        parser.error("--rounds: two at least, since the deploys go to and fro")
    if given.gate and (given.benches or given.keep):
        parser.error("--gate chooses its benches itself, and nothing of it is kept")
    # As pip does when it installs; else each start compiles all sources where Python is told to keep no bytecode.
    compileall.compile_dir(ROOT / "hms_nomad", quiet=1)
    figures, not_run = _gate(given) if given.gate else _benches(set(given.benches) or set(known) - LONG, given)
    from .starting import versions

    document = report.as_document(figures, versions(), not_run)
    print(json.dumps(document, indent=1) if given.output == "json" else "\n".join(report.as_markdown(document)))
    if given.keep:
        for file in report.write(document, given.keep):
            print(f"wrote {os.path.relpath(file, ROOT)}", file=sys.stderr)
    return 0 if all(verdict["kept"] for row in document["figures"] for verdict in row["goals"]) else 1


def _benches(wanted: set[str], given: argparse.Namespace) -> tuple[list[Figure], list[str]]:
    figures: list[Figure] = []
    sources, not_run = _runnable([source for source in SOURCES if wanted & set(source.benches)])
    for source in sources:
        print(f"running {', '.join(source.benches)}", file=sys.stderr)
        figures += [figure for figure in source.run(given) if figure.bench in wanted]
    return figures, not_run


def _gate(given: argparse.Namespace) -> tuple[list[Figure], list[str]]:
    figures: list[Figure] = []
    sources, not_run = _runnable(GATE)
    for source in sources:

        def measured(blocks: int, source: Source = source) -> list[Figure]:
            print(f"running {', '.join(source.benches)} of the gate, blocks: {blocks}", file=sys.stderr)
            return source.run(argparse.Namespace(**(vars(given) | {"blocks": blocks})))

        figures += passed(measured, given.blocks)
    return figures, not_run


def _runnable(sources: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Those whose programs are there, and words on the others."""
    missing = {source: [one for one in source.needs if not shutil.which(one)] for source in sources}
    not_run = [f"{', '.join(source.benches)} (no {lack[0]} on PATH)" for source, lack in missing.items() if lack]
    return [source for source, lack in missing.items() if not lack], not_run


if __name__ == "__main__":
    sys.exit(main())
