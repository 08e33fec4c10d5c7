"""Data on stdout, the rest on stderr; colours and control characters only where they belong."""

from __future__ import annotations

import io
import json

import pytest

from hms_nomad.output.printer import Color, Format, Look, Printer, inert, shows_color, tame
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


def test_a_warning_keeps_its_lines_and_colours_and_commands_no_terminal():
    err = io.StringIO()
    printer = Printer(Look(), io.StringIO(), err)
    printer.warn(f"a\n{HOSTILE}\u202egnp.exe")
    printer.note("\x1b]52;c;cm0=\x07")
    assert err.getvalue() == (
        "a\n\x1b[31mred\x1b[0m \\x1b]0;title\\x07 \\x1b[2J\\x0dgone\tkept \\x9b1m\\u202egnp.exe\n\\x1b]52;c;cm0=\\x07\n"
    )
    assert inert("a\u2066b\u2028c") == "a\\u2066b\\u2028c"


@pytest.mark.parametrize("text", ["état ✓ naïve", "\x1b[1mbold\x1b[0m", "a\tb\nc", "日本語", "שלום"])
def test_what_is_harmless_stays_as_it_is(text):
    assert tame(text) == text


def test_text_commands_no_terminal_and_reaches_a_pipe_as_it_is():
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        Printer(Look(), out, io.StringIO()).text(["\x1b]0;title\x07"])
    assert terminal.getvalue() == "\\x1b]0;title\\x07\n"
    assert pipe.getvalue() == "\x1b]0;title\x07\n"


def test_json_on_a_terminal_is_the_same_json_without_commands():
    terminal = Terminal()
    Printer(Look(Format.JSON), terminal, io.StringIO()).record("status", {"name": "\x1b[2J \x9b1m \u202e \x7f"})
    assert not {"\x1b", "\x9b", "\u202e", "\x7f"} & set(terminal.getvalue())
    assert json.loads(terminal.getvalue())["name"] == "\x1b[2J \x9b1m \u202e \x7f"
