"""Who may call whom and who does, and how the sidecars are -> lines for people; a graph also as Mermaid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from hms_nomad.compile.access_log import Request
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table

_COLORS = {
    "passing": ("green",),
    "warning": ("yellow",),
    "critical": ("red",),
    "in sync": ("green",),
    "stale": ("red",),
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Edge(Protocol):
    """The fields of ``hms_nomad.workflows.mesh.overview.Edge``."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def destination(self) -> str: ...  # noqa: D102
    @property
    def may(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def declared_by(self) -> str: ...  # noqa: D102


class Sidecar(Protocol):
    """The fields of ``hms_nomad.workflows.mesh.overview.SidecarState`` that a table shows."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def allocation(self) -> str: ...  # noqa: D102
    @property
    def node(self) -> str: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def release(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102
    @property
    def issued(self) -> datetime | None: ...  # noqa: D102
    @property
    def expires(self) -> datetime | None: ...  # noqa: D102
    @property
    def sync(self) -> str: ...  # noqa: D102
    @property
    def requests(self) -> int | None: ...  # noqa: D102
    @property
    def success(self) -> float | None: ...  # noqa: D102
    @property
    def p50_ms(self) -> float | None: ...  # noqa: D102
    @property
    def p99_ms(self) -> float | None: ...  # noqa: D102
    @property
    def problems(self) -> tuple[str, ...]: ...  # noqa: D102


def request_line(printer: Printer, one: Request, allocation: str) -> str:
    """A request of a tap: time of day in UTC, instance, caller and callee, what was asked, and how it ended."""
    status = str(one.status or "-")
    color = "red" if one.denied or status >= "5" else "yellow" if status >= "4" else "green"
    asked = f"{one.method} {one.path}" if one.method else "connection"
    ended = ["denied"] if one.denied else []
    ended += [one.flags] if one.flags else []
    ended += [f"{one.tries} tries"] if one.tries and one.tries > 1 else []
    parts = (
        one.time[11:23],
        allocation[:8],
        f"{one.caller or one.source or 'unknown'} -> {one.callee or 'nowhere'}",
        asked,
        status,
        f"{one.ms or 0}ms",
        f"{one.received or 0}B/{one.sent or 0}B",
        one.request_id or "-",
        *ended,
    )
    return "  ".join(printer.style(status, color) if part is status else inert(part) for part in parts)


def graph_lines(
    printer: Printer, services: Sequence[str], edges: Sequence[Edge], *, default_allow: bool
) -> Iterator[str]:
    """Callers with what they may call below each, then those that nobody may call and that call nobody."""
    if default_allow:
        yield "the mesh allows everything of which no rule speaks; set default_intention_policy to deny in Consul"
    for caller in sorted({edge.source for edge in edges}):
        yield printer.style("everybody" if caller == "*" else inert(caller), "bold")
        for edge in (one for one in edges if one.source == caller):
            words = f" ({edge.declared_by})" if edge.declared_by else ""
            yield f"  -> {inert(edge.destination)}: {inert('; '.join(edge.may))}{words}"
    linked = {name for edge in edges for name in (edge.source, edge.destination)}
    if alone := [name for name in services if name not in linked]:
        yield f"without any right between them: {', '.join(map(inert, alone))}"
    if not services:
        yield "the mesh is empty; deploy a service with: hms-nomad deploy SPEC"


def graph_mermaid(services: Sequence[str], edges: Sequence[Edge]) -> Iterator[str]:
    """The same as a Mermaid flowchart, which wikis and code hosts draw."""
    names = [*services, *sorted({edge.source for edge in edges if edge.source == "*"})]
    ids = {name: f"s{number}" for number, name in enumerate(names)}
    yield "flowchart LR"
    for name, node in ids.items():
        yield f'  {node}["{_quoted("everybody" if name == "*" else name)}"]'
    for edge in edges:
        yield f'  {ids[edge.source]} -->|"{_quoted("; ".join(edge.may))}"| {ids[edge.destination]}'


def sidecar_lines(printer: Printer, sidecars: Sequence[Sidecar], now: datetime) -> Iterator[str]:
    """One row an instance; what is wrong stands below the table."""
    if not sidecars:
        yield "no service is in the mesh; deploy one with: hms-nomad deploy SPEC"
        return
    columns = (
        "SERVICE",
        "INSTANCE",
        "ADDRESS",
        "RELEASE",
        "HEALTH",
        "CONFIG",
        "CERT AGE",
        "EXPIRES IN",
        "REQUESTS",
        "SUCCESS",
        "P50",
        "P99",
    )
    yield from table(printer, columns, [_row(one, now) for one in sidecars], _COLORS)
    for one in sidecars:
        for problem in one.problems:
            yield f"{one.service} {one.allocation[:8] or one.address}: {inert(problem)}"


def sidecar_document(one: Sidecar) -> dict[str, Any]:
    """A sidecar for machines; times are ISO 8601 in UTC."""
    return {
        "service": one.service,
        "allocation": one.allocation,
        "node": one.node,
        "address": one.address,
        "release": one.release,
        "status": one.status,
        "identity": one.identity,
        "issued": one.issued.isoformat() if one.issued else None,
        "expires": one.expires.isoformat() if one.expires else None,
        "sync": one.sync,
        "requests": one.requests,
        "success": one.success,
        "p50_ms": one.p50_ms,
        "p99_ms": one.p99_ms,
        "problems": one.problems,
    }


def _row(one: Sidecar, now: datetime) -> tuple[str, ...]:
    return (
        one.service,
        one.allocation[:8],
        one.address,
        one.release,
        one.status,
        one.sync,
        span(now - one.issued) if one.issued else "",
        span(one.expires - now) if one.expires else "",
        "" if one.requests is None else str(one.requests),
        "" if one.success is None else f"{one.success:.2f}%",
        "" if one.p50_ms is None else f"{one.p50_ms:.1f}ms",
        "" if one.p99_ms is None else f"{one.p99_ms:.1f}ms",
    )


def span(time: timedelta) -> str:
    """A span of time in one unit; "over" for one that has passed."""
    seconds = int(time.total_seconds())
    if seconds < 0:
        return "over"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m"
    return f"{seconds // _HOUR}h" if seconds < 2 * _DAY else f"{seconds // _DAY}d"


def _quoted(text: str) -> str:
    return inert(text).replace('"', "#quot;")
