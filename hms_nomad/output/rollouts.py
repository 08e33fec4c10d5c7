"""How the commands on rollouts ended -> lines and JSON: what was steered, and the history."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from hms_nomad.apply.failure import Failure
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table
from hms_nomad.rollout.journal import Journal, Rollout
from hms_nomad.rollout.release import Release

_COLUMNS = ("NUMBER", "VERSION", "RELEASE", "OUTCOME", "STRATEGY", "STARTED", "TOOK", "BY", "WHY")
_STYLES: Mapping[str, tuple[str, ...]] = {
    "succeeded": ("green",),
    "running": ("cyan",),
    "taken back": ("yellow",),
    "failed": ("red",),
}
_SHORT_COMMIT = 10


class Steering(Protocol):
    """What is printed of a steering command: fields of ``hms_nomad.workflows.rollouts.steering.SteerOutcome``."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def rollout(self) -> Rollout | None: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def failure(self) -> Failure | None: ...  # noqa: D102
    @property
    def hint(self) -> str: ...  # noqa: D102
    @property
    def release(self) -> Release | None: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102


class Remembered(Protocol):
    """What is printed of a history: fields of ``hms_nomad.workflows.rollouts.history.History``."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def releases(self) -> Sequence[Release]: ...  # noqa: D102
    @property
    def current(self) -> int | None: ...  # noqa: D102
    @property
    def journal(self) -> Journal: ...  # noqa: D102


def steered_lines(printer: Printer, ended: Steering, noted: str) -> Iterator[str]:
    """What stdout says; ``noted`` is what was left word of, where the command did not wait."""
    tick, cross = printer.style("✓", "green"), printer.style("✗", "red")
    rollout, release = ended.rollout, ended.release
    if rollout is None and release is None:
        yield f"{tick} {inert(ended.reason)}: nothing to do"
        return
    versions = f"{rollout.stable_version} -> {rollout.version}" if rollout else release.version if release else ""
    path = f"{ended.service} {inert(versions)}"
    step = f"step {rollout.go + 1} of {len(rollout.policy.steps)}" if rollout else ""
    reason = f": {inert(ended.reason)}" if ended.reason else ""
    lines = {
        "noted": f"{tick} {path}: {noted}",
        "reached": f"{tick} {path}: {step} has its traffic{reason}",
        "succeeded": f"{tick} {path}: the new release has replaced the old one{reason}",
        "taken-back": f"{cross} {path}: taken back{reason}",
        "stuck": f"{cross} {path}: cannot go on{reason}",
    }
    yield lines[str(ended.status)]
    if ended.hint:
        yield f"Next: {ended.hint}"


def steered_document(ended: Steering) -> dict[str, Any]:
    """The same for machines."""
    return {
        "service": ended.service,
        "status": ended.status,
        "reason": ended.reason,
        "hint": ended.hint,
        "rollout": ended.rollout,
        "number": ended.rollout.number if ended.rollout else ended.release.number if ended.release else None,
        "failure": ended.failure,
        "warnings": ended.warnings,
    }


def present_lines(service: str, rollout: Rollout, weight: float | None, driven: bool) -> Iterator[str]:
    """What ``status`` says of a rollout under way: ``weight`` is the new release's share now, in percent, and
    ``driven`` says that a living command works on it.
    """
    traffic = "no traffic" if not weight else f"{weight:g} % of the traffic"
    step = f"step {rollout.step + 1} of {len(rollout.policy.steps)}"
    versions = f"{rollout.stable_version} -> {rollout.version}"
    begun = f"begun {_time(rollout.started)} by {rollout.author.who}"
    paused = ", paused" if rollout.paused else ""
    yield inert(f"Rollout     {versions} ({rollout.policy.strategy}): {step}, {traffic}{paused}; {begun}")
    if rollout.taken_back:
        yield inert(f"            is taken back: {rollout.taken_back}")
        return
    goes_on = f"go on with: hms-nomad resume {service}"
    if driven and not rollout.paused:
        goes_on = f"follow it with: hms-nomad watch {service}"
    yield f"            {goes_on}, take it back with: hms-nomad abort {service}"


def history_lines(printer: Printer, history: Remembered) -> Iterator[str]:
    """One line a deploy, newest first; the one that serves is marked."""
    if not history.releases:
        yield f"No deploy of {history.service} is remembered."
        return
    yield from table(printer, _COLUMNS, [_row(release, history.current) for release in history.releases], _STYLES)


def history_document(history: Remembered) -> dict[str, Any]:
    """The same for machines; what a release stood for in the mesh is left out."""
    return {
        "service": history.service,
        "current": history.current,
        "rollout": history.journal.rollout,
        "rejected": history.journal.rejected,
        "releases": [
            {
                "number": release.number,
                "version": release.version,
                "release": release.release,
                "digest": release.digest,
                "job_version": release.job_version,
                "outcome": release.outcome,
                "reason": release.reason,
                "strategy": release.strategy,
                "replaced": release.replaced,
                "who": release.author.who,
                "message": release.author.message,
                "commit": release.author.commit,
                "images": dict(release.images),
                "evidence": dict(release.evidence),
                "started": _time(release.started),
                "ended": None if release.ended is None else _time(release.ended),
            }
            for release in history.releases
        ],
    }


def _row(release: Release, current: int | None) -> list[str]:
    why = " ".join(
        part for part in (release.author.message, release.author.commit[:_SHORT_COMMIT], release.reason) if part
    )
    return [
        f"{release.number}{' *' if release.number == current else ''}",
        release.version,
        release.release,
        str(release.outcome),
        release.strategy,
        _time(release.started),
        "" if release.ended is None else f"{max(0.0, release.ended - release.started):.0f} s",
        release.author.who,
        why,
    ]


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
