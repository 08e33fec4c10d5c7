"""Operators deploy different specs of one service at the same moment, over and over; each time exactly one may win.

    scripts/operators_at_once.py [--rounds 100] [--operators 8]

Needs what `hms-nomad dev up` needs. Ends with 1 when anything was wrong in a round, and says what.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.workflows.session import open_session
from tests.live.conftest import own_contexts, run_cli, running_stack
from tests.live.faults.contending import Round, contend, files_of_operators
from tests.live.faults.world import spec_of

NAME = "contended-svc"


def main() -> int:
    """Run the rounds, print a line each, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="how often they meet")
    parser.add_argument("--operators", type=int, default=8, help="how many meet")
    chosen = parser.parse_args()
    begun = time.monotonic()
    rounds: list[Round] = []
    with running_stack("operators") as stack, tempfile.TemporaryDirectory() as folder:
        done = run_cli(stack, "deploy", spec_of(Path(folder), NAME))
        if done.exit_code != 0:
            raise SystemExit(f"the first deploy ended with {done.exit_code}: {done.stderr}")
        with own_contexts(stack.config_dir), open_session(stack.platform) as session:
            for number in range(chosen.rounds):
                files = files_of_operators(Path(folder), NAME, chosen.operators, number)
                rounds.append(contend(stack, session, NAME, files))
                last = rounds[-1]
                won = f"operator {last.winner + 1} won" if last.winner >= 0 else "no winner"
                print(f"{number + 1:4} {won}; the others: {dict(Counter(last.codes))} {last.wrong}", flush=True)
    wrong = sum(bool(one.wrong) for one in rounds)
    told = [seconds for one in rounds for seconds in one.told]
    print(f"{len(rounds)} rounds of {chosen.operators} operators, {wrong} with something wrong")
    print(f"exit codes of those who lost: {dict(Counter(code for one in rounds for code in one.codes))}")
    print(f"wins by operator: {dict(sorted(Counter(one.winner + 1 for one in rounds).items()))}")
    if told:
        print(f"told after {statistics.median(told):.2f} s in the median, {max(told):.2f} s at most")
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes with the stack's start and end")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
