"""Events -> stderr: a live view on a terminal, one plain line each elsewhere, and a record for what comes after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hms_nomad.apply.progress import Event, Report
from hms_nomad.output.printer import Printer, inert, is_terminal
from hms_nomad.output.rollout_view import rollout_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

_LASTING = frozenset({"apply", "warning"})
_ON_STDOUT = frozenset({"image", "registered", "scaling"})
"""What the result says anyway, in the chapter's own words."""

_BAR_WIDTH = 30
_ROWS = 15
_REDRAWS_PER_SECOND = 8


@contextmanager
def shown(printer: Printer, title: str, record: list[Event] | None = None) -> Iterator[Report]:
    """A Report that shows each event while the block runs, and appends it to ``record``.

    The live view vanishes at the end of the block, but for what was changed and what was warned of.
    """
    kept = record if record is not None else []
    if printer.quiet or not is_terminal(printer.progress_stream):
        yield plain_lines(printer, kept)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(
        file=printer.progress_stream, no_color=not printer.colors_notes(), highlight=False, markup=False, emoji=False
    )
    view = _View(title)
    with Live(
        get_renderable=view.render, console=console, transient=True, refresh_per_second=_REDRAWS_PER_SECOND
    ) as live:

        def report(event: Event) -> None:
            kept.append(event)
            if event.kind in _LASTING:
                live.console.print(event_line(printer, event))
            else:
                view.take(event)

        yield report


def plain_lines(printer: Printer, kept: list[Event]) -> Report:
    """A Report that prints a line each and appends the event to ``kept``."""

    def report(event: Event) -> None:
        kept.append(event)
        if event.kind == "warning":
            printer.warn(event_line(printer, event))
        elif event.kind not in _ON_STDOUT and not _half_way(event):
            printer.note(event_line(printer, event))

    return report


def event_line(printer: Printer, event: Event) -> str:
    """An event on one line."""
    message = inert(event.message)
    return f"{printer.style_note('warning:', 'yellow')} {message}" if event.kind == "warning" else message


def _half_way(event: Event) -> bool:
    """A download that goes on: worth a moving bar, but no line."""
    done, total = event.data.get("done"), event.data.get("total")
    return event.kind == "download" and bool(done) and done != total


def _bar(event: Event) -> str:
    total = int(event.data.get("total") or 0)
    if event.kind != "download" or not total:
        return ""
    filled = int(event.data.get("done") or 0) * _BAR_WIDTH // total
    return f"{'━' * filled}{'╌' * (_BAR_WIDTH - filled)} "


class _View:
    """The latest word on each instance, below a spinner with the title."""

    def __init__(self, title: str) -> None:
        from rich.spinner import Spinner

        self._spinner = Spinner("dots", text=inert(title))
        self._rows: dict[str, str] = {}
        self._rollout: list[str] = []

    def take(self, event: Event) -> None:
        if event.kind == "rollout" and "steps" in event.data:
            self._rollout = list(rollout_lines(event.data))
        elif event.kind not in _ON_STDOUT:
            subject = str(event.data.get("allocation") or event.data.get("product") or event.kind)
            self._rows[subject] = _bar(event) + inert(event.message)

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        latest = [*self._rollout, *list(self._rows.values())[-_ROWS:]]
        rows = [Text(f"  {row}", no_wrap=True, overflow="ellipsis") for row in latest]
        return Group(self._spinner, *rows)
