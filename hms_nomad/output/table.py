"""Rows -> a table: columns as wide as their widest cell, never cut, so that a pipe reads what a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hms_nomad.output.printer import Printer, inert

_GAP = "  "


def table(
    printer: Printer,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[str]:
    """The lines of a table with headings; an empty cell shows "-". ``styles`` colours cells by their text."""
    cells = [[inert(cell) or "-" for cell in row] for row in rows]
    widths = [max(len(line[number]) for line in [list(columns), *cells]) for number in range(len(columns))]
    yield printer.style(_padded(columns, widths), "bold")
    for row in cells:
        # Colour codes have no width on the screen, so cells are padded before they are coloured.
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        padded[-1] = row[-1]
        painted = [printer.style(text, *(styles or {}).get(cell, ())) for text, cell in zip(padded, row, strict=True)]
        yield _GAP.join(painted)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
