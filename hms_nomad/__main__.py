"""The entry of ``hms-nomad`` and ``hms-sys``: prepares the process, then hands over to the command line."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys

from hms_nomad.cli.quick import quick_answer


def main() -> None:
    """Run the command line of this process and exit with its code."""
    if (answer := quick_answer(sys.argv[0].rpartition("/")[2], sys.argv[1:], os.environ)) is not None:
        sys.stdout.write(f"{answer}\n")
        return
    # Commands are short and make few cycles: looking for them as often as by default takes a tenth of their time, and
    # looking once more through everything at the end as much again.
    gc.set_threshold(120_000, 20, 20)
    atexit.register(gc.freeze)
    if not sys.stdout.isatty():
        # Help in boxes is for people; a pipe gets plain lines, in less than half the time.
        os.environ.setdefault("TYPER_USE_RICH", "0")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from hms_nomad.apply.interrupts import handle_signals

    handle_signals()
    from typer.main import get_command

    from hms_nomad.cli.app import app

    get_command(app).main()


if __name__ == "__main__":
    main()
