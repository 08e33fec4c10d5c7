"""The entry of ``hms-nomad`` and ``hms-sys``: prepares the process, then hands over to the command line."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys

from hms_nomad.cli.quick import quick_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ROOM = 17_000
"""Size of the frame that makes the room, in values of 8 bytes: a little more than half of what it gets."""


class _Ending:
    """The end of this process: once everything is done it goes at once, and leaves its memory to the system.

    Python would take apart each module and object first, which takes as long as twenty calls to a server.
    """

    code: str | int | None = None

    def leave(self) -> None:
        """End with the code that was said; Python ends in its own way without one, or where not all can be written."""
        if not isinstance(self.code, int):
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return
        os._exit(self.code)


def main() -> None:
    """Run the command line of this process and exit with its code."""
    _open_streams()
    if (answer := quick_answer(sys.argv[0].rpartition("/")[2], sys.argv[1:], os.environ)) is not None:
        sys.stdout.write(f"{answer}\n")
        return
    # Commands are short and make few cycles: looking for them as often as by default takes a tenth of their time.
    gc.set_threshold(120_000, 20, 20)
    ending = _Ending()
    # What is registered first runs last: libraries have cleaned up by then, and threads have ended.
    atexit.register(ending.leave)
    if not sys.stdout.isatty():
        # Help in boxes is for people; a pipe gets plain lines, in less than half the time.
        os.environ.setdefault("TYPER_USE_RICH", "0")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _with_room(_run)()
    except SystemExit as end:
        ending.code = 0 if end.code is None else end.code
        raise


def _open_streams() -> None:
    """Open what the caller closed of the three streams, on nothing.

    Otherwise the next file or connection would be taken for one of them: what children say would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - lasts as we do


def _run() -> None:
    from hms_nomad.apply.interrupts import handle_signals

    handle_signals()
    from typer.main import get_command

    from hms_nomad.cli.app import app

    get_command(app).main()


def _with_room(function: Callable[[], None]) -> Callable[[], None]:
    """The same function, with a frame so large that what it calls finds room beside it.

    Python keeps frames in pieces of 16 KiB and gives a piece back with the last frame in it. Where imports happen to
    nest up to the end of a piece, each call there takes a new one of the system: some thousand times a start, a tenth
    of its time. A large frame gets a piece of 256 KiB, most of which is free.
    """
    from types import FunctionType

    return FunctionType(function.__code__.replace(co_stacksize=_ROOM), function.__globals__)


if __name__ == "__main__":
    main()
