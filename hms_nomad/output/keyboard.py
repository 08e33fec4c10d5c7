"""What is typed for a program elsewhere: a terminal that hands on each key, or a pipe, and the terminal's size."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import termios
import tty
from collections.abc import Iterator
from types import FrameType

from hms_nomad.clients.nomad_exec import Resized, Typed
from hms_nomad.output.escapes import Escapes

_PIECE = 32768
_STDIN = 0


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Inside, each key goes to whoever reads stdin at once, Ctrl-C too; what was set before comes back after it."""
    before = termios.tcgetattr(_STDIN)
    try:
        tty.setraw(_STDIN, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


def piped() -> Iterator[Typed]:
    """The pieces of stdin as they come, and its end."""
    while True:
        piece = _piece()
        yield Typed(piece)
        if not piece:
            return


@contextlib.contextmanager
def keys_and_sizes() -> Iterator[Iterator[Typed | Resized]]:
    """The size of this terminal, then its keys as they are typed, and its size again whenever that changes.

    It is entered in the main thread, which hears of changed sizes; any one thread may read. ``~.`` at the beginning of
    a line interrupts the main thread as Ctrl-C does elsewhere.
    """
    changed, notify = os.pipe()
    os.set_blocking(notify, False)

    def note(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(notify, b"!")

    before = signal.signal(signal.SIGWINCH, note)
    try:
        yield _watched(changed)
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(notify)


def _watched(changed: int) -> Iterator[Typed | Resized]:
    yield _size()
    escapes = Escapes()
    with selectors.DefaultSelector() as selector:
        selector.register(_STDIN, selectors.EVENT_READ)
        selector.register(changed, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if changed in ready:
                if not os.read(changed, _PIECE):
                    return
                yield _size()
            if _STDIN in ready:
                piece = _piece()
                if not piece:
                    yield Typed(piece)
                    return
                if passed := escapes.feed(piece):
                    yield Typed(passed)
                if escapes.left:
                    os.kill(os.getpid(), signal.SIGINT)
                    return


def _piece() -> bytes:
    try:
        return os.read(_STDIN, _PIECE)
    except OSError:
        # The terminal hung up, or stdin was never open.
        return b""


def _size() -> Resized:
    found = shutil.get_terminal_size()
    return Resized(found.lines, found.columns)
