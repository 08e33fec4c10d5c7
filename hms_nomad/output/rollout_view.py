"""A rollout at one moment -> one screen: both releases, weights set and measured, health, step, judged numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hms_nomad.output.printer import inert

_COLUMNS = ("", "RELEASE", "VERSION", "HEALTHY", "SET", "MEASURED", "REQUESTS", "SUCCESS", "P50", "P99")


def rollout_lines(data: Mapping[str, Any]) -> Iterator[str]:
    """The screen's lines, from the data of an event of the kind ``rollout``; no line is coloured or cut."""
    where = f"step {data['step']} of {len(data['steps'])}: {_steps(data)}"
    yield f"{data['strategy']}: {data['state']}{_paused(data)}, {where}"
    rows = [_COLUMNS, _row("old", data, "stable"), _row("new", data, "candidate")]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if data.get("progress"):
        yield inert(str(data["progress"]))
    if data.get("reason") and data["reason"] != data.get("progress"):
        yield inert(str(data["reason"]))


def _paused(data: Mapping[str, Any]) -> str:
    return ", paused" if data.get("paused") else ""


def _steps(data: Mapping[str, Any]) -> str:
    """All steps, the present one in brackets with the time that it is held."""
    shown = []
    for number, weight in enumerate(data["steps"], start=1):
        held = f" {data['elapsed']:.0f}/{data['hold']:.0f} s" if data["hold"] and data["state"] == "hold" else ""
        shown.append(f"[{weight:g} %{held}]" if number == data["step"] else f"{weight:g} %")
    return " ".join(shown)


def _row(title: str, data: Mapping[str, Any], which: str) -> tuple[str, ...]:
    release = data[which]
    weight = data.get("weight")
    share = None if weight is None else weight if which == "candidate" else 100 - weight
    return (
        title,
        inert(release["release"]),
        inert(release["version"]),
        f"{release['healthy']}",
        "-" if share is None else f"{share:g} %",
        "-" if release["share"] is None else f"{release['share']:.1f} %",
        f"{release['requests']}",
        f"{release['success']:g} %" if release["requests"] else "-",
        _milliseconds(release["p50_ms"]),
        _milliseconds(release["p99_ms"]),
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
