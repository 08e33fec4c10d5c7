"""Figures -> a table for people, a document for machines, and a plot of the ratios."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .figures import Figure

_HEAD = ("bench", "what", "ours", "peer", "limit", "goal", "measured (least to greatest)", "")


def machine() -> str:
    """What this ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"load {load:.1f} when the report was written"
    )


def as_document(figures: Sequence[Figure], versions: Sequence[str], not_run: Sequence[str]) -> dict[str, Any]:
    """What is kept of a run."""
    return {
        "schema": "hms-nomad/bench/v1",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": list(versions),
        "not_run": list(not_run),
        "figures": [_row_document(figure) for figure in figures],
    }


def as_markdown(document: dict[str, Any]) -> Iterator[str]:
    """The table of a document, line by line."""
    yield f"{document['at']}: {document['machine']}; {', '.join(document['versions'])}"
    yield ""
    yield f"| {' | '.join(_HEAD)} |"
    yield f"|{'|'.join(['---'] * len(_HEAD))}|"
    for row in document["figures"]:
        yield from _row_lines(row)
    if document["not_run"]:
        yield ""
        yield f"Not run: {'; '.join(document['not_run'])}."


def write(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write the newest table and plot, and add the document to the history; answers the files."""
    folder.mkdir(parents=True, exist_ok=True)
    history, table = folder / f"{document['at'][:10]}.json", folder / "latest.md"
    history.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table.write_text("\n".join(as_markdown(document)) + "\n", encoding="utf-8")
    return [history, table, *_plotted(document, folder / "latest.svg")]


def _row_document(figure: Figure) -> dict[str, Any]:
    verdicts = [
        {
            "goal": goal.words(),
            "median": round(found[0], 3),
            "least": round(found[1], 3),
            "greatest": round(found[2], 3),
        }
        | {"kept": kept}
        for goal, found, kept in figure.verdicts()
    ]
    values = {name: [round(value, 4) for value in column] for name, column in figure.values.items()}
    return asdict(figure) | {"values": values, "goals": verdicts, "notes": list(figure.notes)}


def _row_lines(row: dict[str, Any]) -> Iterator[str]:
    cells = [_middle(row["values"].get(column), row["unit"]) for column in ("ours", "peer", "limit")]
    peer = f"{cells[1]} ({row['peer']})" if row["peer"] and cells[1] else cells[1]
    limit = f"{cells[2]} ({row['limit']})" if row["limit"] and cells[2] else cells[2]
    what = "; ".join([row["what"], *row["notes"]])
    verdicts = row["goals"] or [None]
    for number, verdict in enumerate(verdicts):
        first = [row["bench"], what, cells[0], peer, limit] if number == 0 else [""] * 5
        yield f"| {' | '.join([*first, *_verdict_cells(verdict)])} |"


def _verdict_cells(verdict: dict[str, Any] | None) -> list[str]:
    if verdict is None:
        return ["", "", ""]
    spread = f"{verdict['median']:g} ({verdict['least']:g} to {verdict['greatest']:g})"
    return [verdict["goal"], spread, "kept" if verdict["kept"] else "**missed**"]


def _middle(values: Sequence[float] | None, unit: str) -> str:
    if not values:
        return ""
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.3g} {unit}".strip()


def _plotted(document: dict[str, Any], file: Path) -> list[Path]:
    """A bar for each ratio, with its spread and its goal; nothing where the plotting library is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    mpl.use("svg")
    from matplotlib import pyplot

    rows = [(row, goal) for row in document["figures"] for goal in row["goals"] if "/" in goal["goal"]]
    if not rows:
        return []
    mpl.rcParams["svg.hashsalt"] = "hms-nomad"
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.5 * len(rows)), layout="constrained")
    for place, (_, goal) in enumerate(reversed(rows)):
        spread = [[goal["median"] - goal["least"]], [goal["greatest"] - goal["median"]]]
        color = "tab:green" if goal["kept"] else "tab:red"
        axes.barh(place, goal["median"], xerr=spread, color=color, ecolor="black", height=0.6)
        axes.plot([float(goal["goal"].split()[-1])] * 2, [place - 0.4, place + 0.4], color="black", linestyle="--")
    axes.set_yticks(range(len(rows)), [f"{row['bench']} {row['what']}\n{goal['goal']}" for row, goal in reversed(rows)])
    axes.set_xscale("log")
    axes.set_xlabel("ratio; the dashed line is the goal, the whisker the spread over the blocks")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return [file]
