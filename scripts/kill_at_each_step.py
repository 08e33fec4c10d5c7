"""A deploy is killed at each of its writes, over and over; each time the same command has to mend everything.

    scripts/kill_at_each_step.py [--kills 200] [--change first|update] [--begin 1]

Needs what `hms-nomad dev up` needs. Ends with 1 when anything was wrong after a kill, and says what.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.workflows.session import open_session
from tests.live.conftest import LiveStack, own_contexts, run_cli, running_stack
from tests.live.faults.killing import Killed, count_writes, kill_at
from tests.live.faults.world import held, spec_of

NAME = "killed-svc"


def main() -> int:
    """Run the loop and print a line a kill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many deploys are killed")
    parser.add_argument("--change", choices=("first", "update"), default="first", help="what is deployed")
    parser.add_argument("--begin", type=int, default=1, help="the write to begin with")
    chosen = parser.parse_args()
    with running_stack("killed") as stack, tempfile.TemporaryDirectory() as folder:
        wrong = [killed for killed in _kills(stack, Path(folder), chosen) if killed.wrong]
    print(f"{chosen.kills} kills, {len(wrong)} with something wrong afterwards")
    return 1 if wrong else 0


def _kills(stack: LiveStack, folder: Path, chosen: argparse.Namespace) -> list[Killed]:
    change = chosen.change
    old = spec_of(folder, NAME)
    new = spec_of(folder, NAME, version="2.0.0", env={"RELEASE": "2"}) if change == "update" else old
    found = []
    with own_contexts(stack.config_dir), open_session(stack.platform) as session:
        _reset(stack, old, change)
        steps = count_writes(stack, new)
        whole = held(session, NAME)
        if whole is None:
            raise SystemExit("the undisturbed deploy left no job")
        places = itertools.cycle(
            (step, where) for step in range(chosen.begin, steps + 1) for where in ("before", "after")
        )
        for number, (step, where) in enumerate(itertools.islice(places, chosen.kills), 1):
            _reset(stack, old, change)
            found.append(kill_at(stack, session, new, NAME, step, where, whole))
            print(f"{number:4} {found[-1].at}: {found[-1].wrong or 'mended'}", flush=True)
    return found


def _reset(stack: LiveStack, old: Path, change: str) -> None:
    """The state before the deploy: nothing, or the old version."""
    commands = [("stop", NAME, "--purge", "--yes"), *([("deploy", old)] if change == "update" else [])]
    for command in commands:
        done = run_cli(stack, *command)
        if done.exit_code != 0:
            raise SystemExit(f"{command[0]} ended with {done.exit_code}: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
