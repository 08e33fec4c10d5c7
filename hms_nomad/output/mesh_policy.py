"""How the mesh treats requests to a service, and what its callers' sidecars have of that -> lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table

_COLORS = {
    "same": ("green",),
    "missing": ("red",),
    "not in the spec": ("yellow",),
    "in sync": ("green",),
    "stale": ("red",),
}


class Setting(Protocol):
    """The fields of ``hms_nomad.workflows.mesh.policy.Explained``."""

    @property
    def setting(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> str: ...  # noqa: D102
    @property
    def given_by(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def stored(self) -> str | None: ...  # noqa: D102


class Caller(Protocol):
    """The fields of ``hms_nomad.workflows.mesh.policy.CallerState``."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def allocation(self) -> str: ...  # noqa: D102
    @property
    def sync(self) -> str: ...  # noqa: D102
    @property
    def refused(self) -> int: ...  # noqa: D102
    @property
    def ejection(self) -> str: ...  # noqa: D102
    @property
    def connections(self) -> str: ...  # noqa: D102
    @property
    def releases(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def problem(self) -> str: ...  # noqa: D102


def policy_lines(printer: Printer, settings: Sequence[Setting], callers: Sequence[Caller]) -> Iterator[str]:
    """A row a setting, then a row a caller's instance; what is wrong with one stands below."""
    rows = [(one.setting, one.value, ", ".join(one.given_by), one.stored or "") for one in settings]
    if any(one.stored for one in settings):
        yield from table(printer, ("SETTING", "VALUE", "FROM", "IN CONSUL"), rows, _COLORS)
    else:
        yield from table(printer, ("SETTING", "VALUE", "FROM"), [row[:3] for row in rows], _COLORS)
    if not callers:
        return
    yield ""
    columns = ("CALLER", "INSTANCE", "CONFIG", "REFUSED", "KNOWS", "EJECTS AFTER", "LIMITS")
    yield from table(printer, columns, [_row(one) for one in callers], _COLORS)
    for one in callers:
        if one.problem:
            yield f"{one.service} {one.allocation[:8]}: {inert(one.problem)}"


def _row(one: Caller) -> tuple[str, ...]:
    known = ", ".join(one.releases)
    return one.service, one.allocation[:8], one.sync, str(one.refused), known, one.ejection, one.connections
