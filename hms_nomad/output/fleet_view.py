"""What happens to the services of a fleet -> a live table on a terminal, one plain line each elsewhere."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from hms_nomad.apply.progress import Event
from hms_nomad.output.fleets import NOT_TRIED, FleetRow
from hms_nomad.output.printer import Printer, inert, is_terminal
from hms_nomad.output.progress import event_line, plain_lines

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_COLUMNS = ("NAME", "STATE", "HEALTHY", "NOW")
_NOT_BEGUN = "not begun"
_UNDER_WAY = "under way"
_UNCHANGED = "unchanged"
_BAD = frozenset({"failed", "error", NOT_TRIED})
_COLORS = {"deployed": "green", _UNCHANGED: "dim", NOT_TRIED: "yellow", "failed": "red", "error": "red"}
_REDRAWS_PER_SECOND = 4
_OTHER_LINES = 6
_FEWEST_ROWS = 5


class FleetProgress(Protocol):
    """Hears what happens to a fleet, from several threads."""

    def report(self, event: Event) -> None:
        """An event; that of one service names it as its ``allocation``."""

    def ended(self, row: FleetRow) -> None:
        """The result of one service."""

    def say(self, line: str) -> None:
        """A line that has to be seen."""


@contextmanager
def fleet_shown(printer: Printer, title: str, subjects: Sequence[str]) -> Iterator[FleetProgress]:
    """Show a fleet while the block runs. ``subjects`` are its services, as CONTEXT/NAME where there are several
    clusters.

    The live table vanishes at the end of the block, in favour of that of the results.
    """
    if printer.quiet or not is_terminal(printer.progress_stream):
        yield _Lines(printer, len(subjects))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(
        file=printer.progress_stream, no_color=not printer.colors_notes(), highlight=False, markup=False, emoji=False
    )
    table = FleetTable(title, subjects)
    with Live(
        get_renderable=lambda: table.drawn(max(_FEWEST_ROWS, console.size.height - _OTHER_LINES)),
        console=console,
        transient=True,
        refresh_per_second=_REDRAWS_PER_SECOND,
    ) as live:
        yield _Screen(printer, table, live)


class _Lines:
    """Off a terminal: every event, and every end that is news."""

    def __init__(self, printer: Printer, count: int) -> None:
        self._printer = printer
        self._count = count
        self._ended = 0
        self._report = plain_lines(printer, [])

    def report(self, event: Event) -> None:
        self._report(event)

    def ended(self, row: FleetRow) -> None:
        self._ended += 1
        if row.result != _UNCHANGED:
            self._printer.note(inert(f"{_subject(row)}: {row.result} ({self._ended} of {self._count})"))

    def say(self, line: str) -> None:
        self._printer.warn(line)


class _Screen:
    """On a terminal: the table, and above it what has to be seen."""

    def __init__(self, printer: Printer, table: FleetTable, live: Live) -> None:
        self._printer = printer
        self._table = table
        self._live = live

    def report(self, event: Event) -> None:
        if event.kind == "warning":
            self.say(event_line(self._printer, event))
        else:
            self._table.take(event)

    def ended(self, row: FleetRow) -> None:
        self._table.end(row)

    def say(self, line: str) -> None:
        from rich.text import Text

        self._live.console.print(Text.from_ansi(line))


class _Row(Struct, frozen=True):
    """``moment`` counts what was heard of the fleet; 0 is never."""

    state: str = _NOT_BEGUN
    healthy: str = ""
    now: str = ""
    moment: int = 0
    over: bool = False


class FleetTable:
    """Each service with its state, its healthy instances, and the latest word on it. Threads may share it."""

    def __init__(self, title: str, subjects: Sequence[str]) -> None:
        from rich.spinner import Spinner

        self._title = inert(title)
        self._rows = {subject: _Row() for subject in subjects}
        self._moments = itertools.count(1)
        self._spinner = Spinner("dots")

    def take(self, event: Event) -> None:
        """The newest event of a service; one of none of them is the command's own."""
        subject = str(event.data.get("allocation") or "")
        row = self._rows.get(subject)
        if row is None:
            self._title = inert(event.message)
            return
        context, _, name = subject.rpartition("/")
        now = inert(event.message.removeprefix(f"{context}: ").removeprefix(f"{name}: "))
        state = str(event.data.get("state") or _UNDER_WAY)
        self._rows[subject] = _Row(state, _healthy(event.data) or row.healthy, now, next(self._moments))

    def end(self, row: FleetRow) -> None:
        """The result of a service."""
        ended = _Row(row.result, row.instances, inert(row.why), next(self._moments), over=True)
        self._rows[_subject(row)] = ended

    def lines(self, most: int) -> list[tuple[str, str, str, str]]:
        """The ``most`` rows that tell most: what failed, what is under way, and what ended last."""
        heard = [(name, row) for name, row in tuple(self._rows.items()) if row.moment]
        latest = sorted(heard, key=lambda one: -one[1].moment)
        failed = [one for one in latest if one[1].state in _BAD][: most // 2]
        running = sorted((one for one in latest if not one[1].over), key=lambda one: one[0])
        ended = [one for one in latest if one[1].over and one not in failed]
        chosen = [*failed, *running, *ended][:most]
        return [(inert(name), row.state, row.healthy, row.now) for name, row in chosen]

    def counted(self) -> str:
        """How many services are in which state."""
        rows = tuple(self._rows.values())
        found = Counter(row.state if row.over or not row.moment else _UNDER_WAY for row in rows)
        return ", ".join(f"{count} {state}" for state, count in sorted(found.items()))

    def drawn(self, most: int) -> RenderableType:
        """The table as a terminal shows it."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        self._spinner.update(text=f"{self._title}: {self.counted()}")
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", expand=True)
        for column in _COLUMNS:
            last = column == _COLUMNS[-1]
            table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=1 if last else None)
        for name, state, healthy, now in self.lines(most):
            table.add_row(Text(name), Text(state, style=_COLORS.get(state, "cyan")), Text(healthy), Text(now))
        return Group(self._spinner, table)


def _healthy(data: Mapping[str, Any]) -> str:
    """How many new instances are healthy, of how many, as far as an event says it."""
    if groups := data.get("groups"):
        return f"{sum(one['healthy'] for one in groups.values())}/{sum(one['desired'] for one in groups.values())}"
    candidate = data.get("candidate")
    return str(candidate["healthy"]) if isinstance(candidate, dict) and "healthy" in candidate else ""


def _subject(row: FleetRow) -> str:
    return f"{row.context}/{row.service}" if row.context else row.service
