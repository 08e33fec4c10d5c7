"""Commands in running instances, piped and at a terminal, as a user gives them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.live.test_everyday_commands import write_spec

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("commands in tasks")]

_PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def service(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One healthy instance."""
    name = f"shelled-{uuid.uuid4().hex[:8]}"
    file = write_spec(tmp_path_factory.mktemp("specs"), name, scaling={"min": 1, "max": 1})
    done = cli("deploy", file)
    assert done.exit_code == 0, done.stderr
    yield name
    cli("stop", name, "--purge", "--yes")


def test_what_is_piped_in_arrives_and_streams_and_code_come_back(stack: LiveStack, service: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "hms_nomad", "exec", service, "--", "sh", "-c", "wc -c; echo wrong >&2; exit 3"],
        input=bytes(range(256)) * 1000,
        capture_output=True,
        check=False,
        env=stack.environment,
    )
    told, wrong = ran.stderr.decode().splitlines()
    assert (ran.returncode, ran.stdout.strip(), wrong) == (3, b"256000", "wrong")
    assert told.startswith("in ")
    assert told.endswith(", task app")


def test_a_pipeline_gets_one_document_and_the_trail_has_the_program(cli: Cli, session: Session, service: str) -> None:
    ran = cli("exec", service, "--output", "json", "--", "sh", "-c", "echo $0; exit 4", "s3cret")
    (instance,) = session.nomad.job_allocations(service).value
    shown = json.loads(ran.stdout)
    assert (ran.exit_code, shown["exit_code"], shown["stdout"], shown["stderr"]) == (4, 4, "s3cret\n", "")
    assert (shown["allocation"], shown["task"]) == (instance.id, "app")
    trail = cli("audit", "list", "--output", "json").stdout
    noted = [one for one in json.loads(trail)["records"] if one["service"] == service and one["command"] == "exec"]
    assert f"sh in task app of {instance.id[:8]} on {instance.node_name}" in [one["message"] for one in noted]
    assert "s3cret" not in trail


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--alloc", "zz"), "has no instance 'zz'"),
        (("--task", "db"), "has no task 'db'; there is app"),
        (("--canary",), "has no canary now"),
        (("--", "no-such-program"), "no-such-program"),
    ],
)
def test_what_is_not_there_is_said_to_be_so(cli: Cli, service: str, more: tuple[str, ...], told: str) -> None:
    ran = cli("exec", service, *more)
    assert ran.exit_code == 2
    assert told in ran.stderr


@dataclass
class Terminal:
    """A command at a terminal of its own, which is 33 rows high and 77 columns wide at first."""

    words: list[str]
    environment: dict[str, str]
    shown: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self._screen, inside = pty.openpty()
        self.resize(33, 77)
        # The terminal has to be that of the command's session, or nobody tells it of changed sizes.
        command = ["setsid", "--ctty", "--wait", sys.executable, *self.words]
        self._process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=self.environment)
        os.close(inside)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def until(self, wanted: bytes) -> None:
        """Wait until this is shown; what was shown before is forgotten."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while wanted not in self.shown:
            assert select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))[0], self.shown
            self.shown += os.read(self._screen, 4096)
        self.shown = self.shown.partition(wanted)[2]

    def ended(self) -> int:
        """Its exit code."""
        # A terminal that nobody has open any more cannot be read.
        with contextlib.suppress(OSError):
            while os.read(self._screen, 4096):
                pass
        os.close(self._screen)
        return self._process.wait(_PATIENCE_SECONDS)


@pytest.fixture
def terminal(stack: LiveStack, service: str) -> Terminal:
    """A shell in the instance, ready for keys."""
    words = ["-m", "hms_nomad", "exec", service, "--quiet", "--", "env", "PS1=ready> ", "sh"]
    opened = Terminal(words, stack.environment)
    opened.until(b"ready> ")
    return opened


def test_a_shell_has_a_terminal_whose_size_follows_and_ctrl_c_is_the_programs(terminal: Terminal) -> None:
    terminal.type(b"stty size\r")
    terminal.until(b"33 77")
    terminal.resize(40, 100)
    terminal.type(b"until stty size | grep -x '40 100'; do :; done\r")
    terminal.until(b"\n40 100")
    terminal.type(b"echo gone; sleep 600\r")
    terminal.until(b"\ngone")
    terminal.type(b"\x03")
    terminal.until(b"ready> ")
    terminal.type(b"exit 7\r")
    assert terminal.ended() == 7


def test_a_tilde_and_a_dot_lead_out_of_a_shell_that_hears_nothing(terminal: Terminal) -> None:
    terminal.type(b"trap '' INT; echo deaf; sleep 600\r")
    terminal.until(b"\ndeaf")
    terminal.type(b"\r~.")
    assert terminal.ended() == 130
