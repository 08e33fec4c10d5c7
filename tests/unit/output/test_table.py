"""Tables line up, and never cut a cell."""

from __future__ import annotations

import io

from hms_nomad.output.printer import Color, Look, Printer
from hms_nomad.output.table import table


def printer(color: Color = Color.NEVER) -> Printer:
    return Printer(Look(color=color), io.StringIO(), io.StringIO())


def test_columns_are_as_wide_as_their_widest_cell():
    wide = "x" * 200
    assert list(table(printer(), ("NAME", "N", "URL"), [("a", "10", "u"), (wide, "", "")])) == [
        f"NAME{' ' * 196}  N   URL",
        f"a{' ' * 199}  10  u",
        f"{wide}  -   -",
    ]


def test_a_cell_stays_on_its_line():
    assert list(table(printer(), ("A", "B"), [("one\ntwo", "\x1b[2J")]))[1] == "one two  \\x1b[2J"


def test_colours_do_not_move_columns():
    rows = [("passing", "x"), ("ok", "y")]
    lines = list(table(printer(Color.ALWAYS), ("S", "T"), rows, {"ok": ("green",)}))
    assert lines[2] == "\x1b[32mok     \x1b[0m  y"
