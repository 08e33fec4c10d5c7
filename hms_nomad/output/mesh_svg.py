"""Who may call whom -> a picture (SVG 1.1) that stands by itself, callers left of those they call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from hms_nomad.output.mesh import Edge
from hms_nomad.output.printer import inert

_WIDE, _HIGH = 190, 40
_COLUMN, _ROW, _MARGIN = 460, 76, 20
_LETTER = 7.2
_STYLE = (
    "text{font:13px sans-serif;fill:#1b1f24;text-anchor:middle}.may{font-size:11px;fill:#57606a}"
    "rect{fill:#f6f8fa;stroke:#57606a}path{fill:none;stroke:#57606a;marker-end:url(#tip)}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.may{fill:#9198a1}rect{fill:#21262d}}"
)


def graph_svg(services: Sequence[str], edges: Sequence[Edge]) -> Iterator[str]:
    """The lines of the picture: a box for each service, an arrow with its permissions for each right."""
    names = sorted({*services, *(name for edge in edges for name in (edge.source, edge.destination))})
    columns = _columns(names, edges)
    places: dict[str, tuple[int, int]] = {}
    rows = 0
    for column in sorted(set(columns.values())):
        inside = [name for name in names if columns[name] == column]
        rows = max(rows, len(inside))
        for row, name in enumerate(inside):
            places[name] = (_MARGIN + column * _COLUMN, _MARGIN + row * _ROW)
    width = 2 * _MARGIN + max(columns.values(), default=0) * _COLUMN + _WIDE
    height = 2 * _MARGIN + max(rows - 1, 0) * _ROW + _HIGH
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="who may call whom">'
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill:#57606a;marker-end:none"/></marker></defs>'
    )
    for edge in edges:
        yield from _arrow(edge, places)
    for name, (x, y) in places.items():
        yield f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6"/>'
        shown = "everybody" if name == "*" else name
        yield f'<text x="{x + _WIDE // 2}" y="{y + 25}">{_fitted(shown, _WIDE)}</text>'
    yield "</svg>"


def _columns(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """One column further than everybody who calls it; a circle of calls ends where it would go round again."""
    columns = dict.fromkeys(names, 0)
    for _ in range(len(names) - 1):
        further = {
            edge.destination: columns[edge.source] + 1
            for edge in edges
            if edge.source != edge.destination and columns[edge.destination] <= columns[edge.source] < len(names) - 1
        }
        if not further:
            break
        columns |= further
    used = sorted(set(columns.values()))
    return {name: used.index(column) for name, column in columns.items()}


def _arrow(edge: Edge, places: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    (x1, y1), (x2, y2) = places[edge.source], places[edge.destination]
    start, end = (x1 + _WIDE, y1 + _HIGH // 2), (x2, y2 + _HIGH // 2)
    bend = max(60, abs(end[0] - start[0]) // 2)
    yield (
        f'<path d="M{start[0]} {start[1]} C{start[0] + bend} {start[1]} {end[0] - bend} {end[1]} {end[0]} {end[1]}"/>'
    )
    words = _fitted("; ".join(edge.may), _COLUMN - _WIDE - 20, _LETTER * 0.85)
    declared = f" ({escape(inert(edge.declared_by))})" if edge.declared_by else ""
    whole = escape(inert("; ".join(edge.may)))
    x, y = (start[0] + end[0]) // 2, (start[1] + end[1]) // 2 - 6
    yield f'<text class="may" x="{x}" y="{y}"><title>{whole}{declared}</title>{words}</text>'


def _fitted(text: str, width: float, letter: float = _LETTER) -> str:
    """As much of a text as fits into ``width``; the title of an arrow has it whole."""
    plain, most = inert(text), int(width / letter)
    return escape(plain if len(plain) <= most else f"{plain[: most - 1]}…")
