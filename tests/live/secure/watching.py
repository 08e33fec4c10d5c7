"""Secrets -> where they were seen: arguments and environments of processes, for as long as it is watched.

A look at /proc misses what ends in a moment, so each command tells of its children, too: Python announces them before
they start.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

_ANNOUNCE = """\
import json, os, sys

def _told(event, arguments):
    if event == "subprocess.Popen":
        program, words, _, given = arguments
    elif event in ("os.exec", "os.posix_spawn"):
        program, words, given = arguments
    else:
        return
    given = dict(os.environ if given is None else given)
    line = json.dumps({"program": str(program), "words": [str(word) for word in words], "given": given}, default=repr)
    with open(os.environ["HMS_TEST_CHILDREN"], "a") as file:
        file.write(line + "\\n")

sys.addaudithook(_told)
if os.environ.get("HMS_TEST_CRASH"):
    import hms_nomad.workflows.operating.status

    def _crash(session, *_, **__):
        raise RuntimeError(f"a bug of this test, with {session!r}")

    hms_nomad.workflows.operating.status.list_status = _crash
"""
_OURS = b"hms_nomad"


class Watch:
    """``variables`` let a command tell of its children; ``seen`` is where a secret was seen that must not be there."""

    def __init__(self, folder: Path) -> None:
        (folder / "announce").mkdir()
        (folder / "announce" / "sitecustomize.py").write_text(_ANNOUNCE, encoding="utf-8")
        self._children = folder / "children"
        self.variables = {"PYTHONPATH": str(folder / "announce"), "HMS_TEST_CHILDREN": str(self._children)}
        self.seen: list[str] = []
        self.looks = 0

    @contextlib.contextmanager
    def over(self, secrets: Mapping[str, str]) -> Iterator[None]:
        """Watch all processes of this machine. Only our own program may have secrets in its environment."""
        ended = threading.Event()
        wanted = {name: secret.encode() for name, secret in secrets.items()}

        def look() -> None:
            while not ended.is_set():
                self._look(wanted)

        thread = threading.Thread(target=look, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def children(self) -> list[dict[str, object]]:
        """What was started by commands: ``program``, ``words`` and the environment that it was ``given``."""
        text = self._children.read_text(encoding="utf-8") if self._children.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def _look(self, wanted: Mapping[str, bytes]) -> None:
        self.looks += 1
        for one in psutil.pids():
            try:
                words = Path(f"/proc/{one}/cmdline").read_bytes()
                given = Path(f"/proc/{one}/environ").read_bytes()
            except OSError:
                continue
            text = words if _OURS in words else words + given
            self.seen += [f"{name}: {words!r}" for name, secret in wanted.items() if secret in text]
