"""A deploy is killed with SIGKILL while its k-th write is on the way; then the same command has to mend everything."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from hms_nomad.workflows.operating.orphans import find_orphans
from hms_nomad.workflows.session import Session
from tests.live.conftest import LiveStack, run_cli
from tests.live.faults.proxy import WRITES, faulty_servers
from tests.live.faults.world import Held, held, left_behind, started

_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Killed:
    """What came of one kill: the write at which it happened, and what was wrong afterwards ("" when nothing).

    ``killed`` is False where the deploy ended before it came to that write.
    """

    at: str
    wrong: str
    killed: bool = True


def count_writes(stack: LiveStack, file: Path) -> int:
    """How many writes an undisturbed deploy of ``file`` makes from here."""
    with faulty_servers(stack.platform.nomad.address, stack.platform.consul.address) as faulty:
        done = run_cli(stack, "deploy", file, seconds=_PATIENCE_SECONDS, **faulty.environment)
        assert done.exit_code == 0, done.stderr
        return len(faulty.writes)


def kill_at(stack: LiveStack, session: Session, file: Path, name: str, step: int, where: str, whole: Held) -> Killed:
    """Kill a deploy while write ``step`` is held ``where`` ("before" or "after" it is done), and run it again.

    ``whole`` is what an unbroken deploy leaves.
    """
    run = functools.partial(run_cli, stack, seconds=_PATIENCE_SECONDS)
    with faulty_servers(stack.platform.nomad.address, stack.platform.consul.address) as faulty:
        rule = faulty.rule(method=WRITES, first=step, held=where)
        # One that is never held here gets no further than the client: the write is lost with it.
        rule.drop = where
        command = started(stack, "deploy", file, **faulty.environment)
        while not rule.reached.wait(0.2) and command.poll() is None:
            pass
        command.kill()
        command.communicate()
        if not rule.reached.is_set():
            ended = "" if command.returncode == 0 else f"ended with {command.returncode}"
            return Killed(f"write {step}", ended, killed=False)
    at = f"{where} write {step}, {rule.what}"
    again = run("deploy", file)
    if again.exit_code != 0:
        return Killed(at, f"the same command ended with {again.exit_code}: {again.stderr.splitlines()[-1:]}")
    now = held(session, name)
    if now != whole:
        return Killed(at, f"the servers hold {now} instead of {whole}")
    left = [*left_behind(session, name), *map(str, find_orphans(session, name))]
    if left:
        return Killed(at, f"left behind: {left}")
    planned = run("plan", file)
    return Killed(at, "" if planned.exit_code == 0 else f"there is something left to change: {planned.stdout}")
