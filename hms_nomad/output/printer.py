"""Where a command's words go: data on stdout, everything else on stderr, and no broken pipe ever ends a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from re import Match
from typing import Any, TextIO

from msgspec import Struct

from hms_nomad.output.document import as_text, document
from hms_nomad.patterns import lazy_pattern

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_TURNING = r"\u2028-\u202e\u2066-\u2069"
"""Characters that turn the direction of writing, or break a line: what follows looks like something else."""

_CONTROL = lazy_pattern(rf"(?!\x1b\[[0-9;]*m)[\x00-\x08\x0a-\x1f\x7f-\x9f{_TURNING}]")
_ANY_CONTROL = lazy_pattern(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNING}]")
_COMMANDING = lazy_pattern(rf"(?!\x1b\[[0-9;]*m)[\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNING}]")


class OutputLostError(Exception):
    """Stdout takes no more data: a full disk, mostly. What a command did until then stays."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"stdout cannot be written: {error.strerror}; what was done stays, and was not all shown")
        forget_stdout()


class Format(StrEnum):
    """What stdout carries."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """When text is coloured."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Look(Struct, frozen=True):
    """How a command was asked to print."""

    format: Format = Format.TEXT
    quiet: bool = False
    color: Color = Color.AUTO


class Printer:
    """The two streams of one command."""

    def __init__(self, look: Look, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._look = look
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self.closed = False
        """True when nobody reads stdout any more."""

    @property
    def json(self) -> bool:
        """True when stdout carries JSON."""
        return self._look.format is Format.JSON

    @property
    def quiet(self) -> bool:
        """True when stderr shall carry errors and warnings only."""
        return self._look.quiet

    @property
    def on_terminal(self) -> bool:
        """True when data is read by a person."""
        return is_terminal(self._out)

    @property
    def progress_stream(self) -> TextIO:
        """Where progress goes."""
        return self._err

    def show(self, command: str, body: Mapping[str, Any], lines: Callable[[], Iterable[str]]) -> None:
        """The result of a command: ``body`` as a JSON document, or ``lines`` as text."""
        if self.json:
            self._write_json(document(command, body), indent=2)
        else:
            self.text(lines())

    def record(self, command: str, body: Mapping[str, Any]) -> None:
        """One document of a stream, on a line of its own."""
        self._write_json(document(command, body), at_once=True)

    def stream(self, value: Mapping[str, Any]) -> None:
        """One JSON value of a stream in somebody else's schema, on a line of its own."""
        self._write_json(value, at_once=True)

    def text(self, lines: Iterable[str]) -> None:
        """Lines of data."""
        for line in lines:
            self._write(tame(line) if self.on_terminal else line)

    def note(self, line: str) -> None:
        """A line about what happens; not shown with ``--quiet``."""
        if not self.quiet:
            print(tame(line), file=self._err)

    def warn(self, line: str) -> None:
        """A line that has to be seen."""
        print(tame(line), file=self._err)

    def style(self, text: str, *styles: str) -> str:
        """``text`` in colour where stdout shows colours."""
        return painted(text, styles, self._out, self._look.color)

    def style_note(self, text: str, *styles: str) -> str:
        """``text`` in colour where stderr shows colours."""
        return painted(text, styles, self._err, self._look.color)

    def colors_notes(self) -> bool:
        """True when stderr shows colours."""
        return shows_color(self._err, self._look.color)

    def foreign(self, text: str) -> str:
        """A line that somebody else wrote: on a terminal only its colours are let through, elsewhere all of it."""
        if not self.on_terminal:
            return text
        safe = _CONTROL.sub(_named, text)
        return f"{safe}\x1b[0m" if "\x1b[" in safe else safe

    def _write_json(self, value: Mapping[str, Any], *, indent: int | None = None, at_once: bool = False) -> None:
        text = as_text(value, indent=indent)
        if self.on_terminal:
            # JSON itself writes only the first 32 characters in another way.
            text = _COMMANDING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
        self._write(text, at_once=at_once)

    def _write(self, line: str, *, at_once: bool = False) -> None:
        if self.closed:
            return
        try:
            print(line, file=self._out, flush=at_once or self.on_terminal)
        except BrokenPipeError:
            self.closed = True
            forget_stdout()
        except OSError as error:
            self.closed = True
            raise OutputLostError(error) from None


def painted(text: str, styles: Iterable[str], stream: TextIO, color: Color) -> str:
    """``text`` between the codes of ``styles`` where ``stream`` shows colours."""
    codes = ";".join(_STYLES[style] for style in styles)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and shows_color(stream, color) else text


def shows_color(stream: TextIO, color: Color) -> bool:
    """Whether ``stream`` shows colours: NO_COLOR and a dumb terminal turn ``auto`` off (no-color.org)."""
    if color is not Color.AUTO:
        return color is Color.ALWAYS
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads ``stream``."""
    return not stream.closed and stream.isatty()


def inert(text: str) -> str:
    """``text`` on one line and without control characters, as cells of tables need it."""
    return _ANY_CONTROL.sub(_named, text.replace("\n", " ").replace("\t", " "))


def tame(text: str) -> str:
    """``text`` with its lines and colours, and without anything else that a terminal would obey.

    The last guard for what goes to a person: names and reasons in it can be somebody else's words.
    """
    return _COMMANDING.sub(_named, text)


def _named(found: Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def forget_stdout() -> None:
    """Let the rest of stdout vanish; otherwise the interpreter complains about the broken pipe at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
