"""SIGINT, SIGTERM and a command's time limit -> KeyboardInterrupt, once; the second signal leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_INTERRUPTED = 130
_LEFT = b"left at once; what is locked stays so until its session ends, within 20 s\n"


class OutOfTimeError(KeyboardInterrupt):
    """The time limit of the whole command passed; like an interruption it ends what waits, whatever that is."""


def handle_signals() -> None:
    """Let the first SIGINT or SIGTERM interrupt what runs, so that it says what is done and gives its lock back.

    The second one ends the process at once with code 130. A SIGINT that is ignored, as in a background job, stays so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _first)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt what runs inside after ``seconds`` with OutOfTimeError (None: never). For the main thread only."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def out_of_time(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise OutOfTimeError(f"not done within {seconds:g} s, as --timeout says")

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _first(number: int, frame: FrameType | None) -> None:
    del frame
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _second)
    raise KeyboardInterrupt("terminated" if number == signal.SIGTERM else "")


def _second(number: int, frame: FrameType | None) -> None:
    del number, frame
    os.write(2, _LEFT)
    os._exit(_INTERRUPTED)
