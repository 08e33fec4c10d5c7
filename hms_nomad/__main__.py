"""The entry of ``hms-nomad`` and ``hms-sys``: prepares the process, then hands over to the command line."""

from __future__ import annotations

import io
import os
import sys

from hms_nomad.apply.interrupts import handle_signals


def main() -> None:
    """Run the command line of this process and exit with its code."""
    if not sys.stdout.isatty():
        # Help in boxes is for people; a pipe gets plain lines, in less than half the time.
        os.environ.setdefault("TYPER_USE_RICH", "0")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handle_signals()
    from typer.main import get_command

    from hms_nomad.cli.app import app

    get_command(app).main()


if __name__ == "__main__":
    main()
