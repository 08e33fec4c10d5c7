"""Data on stdout, the rest on stderr; colours and control characters only where they belong."""

from __future__ import annotations

import io
import json

import pytest

from hms_nomad.output.printer import Color, Format, Look, Printer, inert, shows_color
from tests.unit.output.terminals import Terminal


def test_text_and_json_never_mix():
    for form in Format:
        out = io.StringIO()
        Printer(Look(form), out, io.StringIO()).show("status", {"services": [1]}, lambda: ["one line"])
        if form is Format.JSON:
            assert json.loads(out.getvalue()) == {"schema": "hms-nomad/status/v1", "services": [1]}
        else:
            assert out.getvalue() == "one line\n"


def test_quiet_silences_notes_but_not_warnings():
    err = io.StringIO()
    printer = Printer(Look(quiet=True), io.StringIO(), err)
    printer.note("on the way")
    printer.warn("look out")
    assert err.getvalue() == "look out\n"


@pytest.mark.parametrize(
    ("stream", "color", "environment", "shown"),
    [
        (Terminal(), Color.AUTO, {}, True),
        (Terminal(), Color.AUTO, {"NO_COLOR": "1"}, False),
        (Terminal(), Color.AUTO, {"TERM": "dumb"}, False),
        (Terminal(), Color.NEVER, {}, False),
        (io.StringIO(), Color.AUTO, {}, False),
        (io.StringIO(), Color.ALWAYS, {"NO_COLOR": "1"}, True),
    ],
)
def test_colours_are_shown_where_they_are_wanted(monkeypatch, stream, color, environment, shown):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert shows_color(stream, color) is shown


HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\rgone\tkept \x9b1m"


def test_a_foreign_line_may_colour_a_terminal_and_nothing_else():
    line = Printer(Look(), Terminal(), io.StringIO()).foreign(HOSTILE)
    assert line == ("\x1b[31mred\x1b[0m \\x1b]0;title\\x07 \\x1b[2J\\x0dgone\tkept \\x9b1m\x1b[0m")


def test_a_foreign_line_reaches_a_pipe_as_it_was_written():
    assert Printer(Look(), io.StringIO(), io.StringIO()).foreign(HOSTILE) == HOSTILE


def test_inert_text_is_one_line_without_control_characters():
    assert inert("a\nb\tc\x1b[2J\r") == "a b c\\x1b[2J\\x0d"


class Gone(io.StringIO):
    """A pipe without a reader."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_nobody_reading_is_noticed_and_no_error(monkeypatch):
    monkeypatch.setattr("hms_nomad.output.printer.forget_stdout", lambda: None)
    printer = Printer(Look(), Gone(), io.StringIO())
    printer.text(["a", "b"])
    assert printer.closed
