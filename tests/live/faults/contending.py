"""Several operators deploy different specs of one service at once -> who won, and what the others were told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hms_nomad.workflows.session import Session
from tests.live.conftest import LiveStack, run_cli
from tests.live.faults.proxy import faulty_servers
from tests.live.faults.world import left_behind, spec_of

_PATIENCE_SECONDS = 120.0
_TICK_SECONDS = 0.01
_PROGRAM = (
    "import sys, runpy, hms_nomad.cli.deploy, hms_nomad.workflows.deploying.deploy; "
    "print('loaded', flush=True); sys.stdin.readline(); "
    "runpy.run_module('hms_nomad', run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one round: the ``winner`` by its place, the others' exit codes, and what was wrong ("": nothing).

    ``told`` are the seconds from the common start until each of the others had ended.
    """

    winner: int
    codes: tuple[int, ...]
    told: tuple[float, ...]
    wrong: str


def contend(stack: LiveStack, session: Session, name: str, files: Sequence[Path]) -> Round:
    """Deploy all ``files`` at once: each command is loaded and waits, and then all are let go together.

    The first write to an object of the service is held until all but its writer have given up, so that on a slow
    machine too all of them meet.
    """
    with faulty_servers(stack.platform.nomad.address, stack.platform.consul.address) as faulty:
        first = faulty.rule(method="PUT|POST", path="^/v1/(config|jobs)", held="before")
        commands = [_loaded(stack, file, faulty.environment) for file in files]
        try:
            for command in commands:
                assert command.stdout is not None
                command.stdout.readline()
            begun = time.monotonic()
            deadline = begun + _PATIENCE_SECONDS
            for command in commands:
                assert command.stdin is not None
                command.stdin.write("\n")
                command.stdin.flush()
            ended: dict[int, float] = {}
            while len(ended) < len(files) - 1 and time.monotonic() < deadline:
                for number, command in enumerate(commands):
                    if number not in ended and command.poll() is not None:
                        ended[number] = time.monotonic() - begun
                time.sleep(_TICK_SECONDS)
            first.let_go.set()
            said = [command.communicate(timeout=_PATIENCE_SECONDS)[1] for command in commands]
        finally:
            for command in commands:
                if command.poll() is None:
                    command.kill()
                    command.communicate()
    codes = tuple(command.returncode for command in commands)
    winners = [number for number, code in enumerate(codes) if code == 0]
    if len(winners) != 1:
        return Round(-1, codes, (), f"{len(winners)} of them won: {codes} {said}")
    (winner,) = winners
    told = tuple(seconds for number, seconds in ended.items() if number != winner)
    others = tuple(code for number, code in enumerate(codes) if number != winner)
    wrong = _wrong(
        stack, session, name, files[winner], commands[winner].pid, others, [*said[:winner], *said[winner + 1 :]]
    )
    return Round(winner, others, told, wrong)


def files_of_operators(folder: Path, name: str, operators: int, round_: int) -> list[Path]:
    """One spec an operator; they differ in what Nomad holds and in what Consul holds, and replace no instance."""
    numbers = range(round_ * operators, (round_ + 1) * operators)
    return [
        spec_of(
            folder,
            name,
            scaling={"min": 1, "max": 10 + number},
            routes=[{"path": f"/hello-{number}", "methods": ["GET"]}],
        )
        for number in numbers
    ]


def _loaded(stack: LiveStack, file: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A deploy that says when it is loaded, and begins at a line on its stdin."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "deploy", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=stack.environment | environment,
    )


def _wrong(
    stack: LiveStack, session: Session, name: str, won: Path, pid: int, codes: Sequence[int], said: Sequence[str]
) -> str:
    if not set(codes) <= {3, 4}:
        return f"the others ended with {codes}: {said}"
    unnamed = [text for text in said if f"{name} is locked: deploy by " not in text or f"(pid {pid})" not in text]
    if unnamed:
        return f"the winner, pid {pid}, is not named: {unnamed}"
    planned = run_cli(stack, "plan", won)
    if planned.exit_code != 0:
        return f"the servers do not hold the winner's whole input: {planned.stdout}"
    left = left_behind(session, name)
    return f"left behind: {left}" if left else ""
