"""B16 and B17: what is left of deploys that are killed at each of their writes, and of operators who meet."""

from __future__ import annotations

import re
import sys

from .figures import ROOT, Figure, Goal, command, plain_environment

_KILLS = re.compile(r"^(\d+) kills, (\d+) with something wrong afterwards$", re.MULTILINE)
_REQUESTS = re.compile(r"^(\d+) of (\d+) requests failed", re.MULTILINE)
_ROUNDS = re.compile(r"^(\d+) rounds of (\d+) operators, (\d+) with something wrong$", re.MULTILINE)
_TOLD = re.compile(r"^told after ([\d.]+) s in the median, ([\d.]+) s at most$", re.MULTILINE)


def recovery(kills: int, rounds: int) -> list[Figure]:
    """Both, by the scripts that say more of each case; each has a stack of its own."""
    said = _ran("kill_at_each_step.py", f"--kills={kills}")
    killed, wrong = _numbers(_KILLS, said)
    failed, sent = _numbers(_REQUESTS, said)
    met = _ran("operators_at_once.py", f"--rounds={rounds}")
    found, operators, unclear = _numbers(_ROUNDS, met)
    median, most = (float(number) for number in _found(_TOLD, met))
    return [
        Figure(
            "B16",
            f"wrong states after {killed:.0f} deploys that were killed and run again",
            "",
            {"ours": [wrong]},
            goals=[Goal("ours", at_most=0)],
            notes=[f"{failed:.0f} of {sent:.0f} requests failed meanwhile"],
        ),
        Figure(
            "B17",
            f"rounds of {operators:.0f} operators without exactly one winner, of {found:.0f}",
            "",
            {"ours": [unclear]},
            goals=[Goal("ours", at_most=0)],
        ),
        Figure(
            "B17", "until those who lost were told", "s", {"ours": [median]}, notes=[f"the median; {most:g} s at most"]
        ),
    ]


def _ran(script: str, option: str) -> str:
    return command([sys.executable, str(ROOT / "scripts" / script), option], plain_environment(), codes=(0, 1))


def _found(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = pattern.search(text)
    if found is None:
        raise SystemExit(f"no line like {pattern.pattern} in:\n{text[-2000:]}")
    return found.groups()


def _numbers(pattern: re.Pattern[str], text: str) -> list[float]:
    return [float(number) for number in _found(pattern, text)]
