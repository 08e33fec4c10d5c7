"""B14, B16, B17 and B19 by the scripts that say more of each case: a load like a square wave, deploys that are killed
at each of their writes, operators who meet, and servers that fail one call in a hundred. Each has a stack of its own.
"""

from __future__ import annotations

import re
import sys

from .figures import ROOT, Figure, Goal, command, plain_environment

_KILLS = re.compile(r"^(\d+) kills, (\d+) with something wrong afterwards$", re.MULTILINE)
_REQUESTS = re.compile(r"^(\d+) of (\d+) requests failed", re.MULTILINE)
_ROUNDS = re.compile(r"^(\d+) rounds of (\d+) operators, (\d+) with something wrong$", re.MULTILINE)
_TOLD = re.compile(r"^told after ([\d.]+) s in the median, ([\d.]+) s at most$", re.MULTILINE)


_MORE = re.compile(r"^heavy half: first one more after ([\d.]+) s, up to \d+ healthy$", re.MULTILINE)
_FLAPS = re.compile(r"^counts between \d+ and \d+; (\d+) changes, (\d+) against the load$", re.MULTILINE)
_LOAD = re.compile(r"^(\d+) requests, (\d+) failed", re.MULTILINE)
_FLEET = re.compile(
    r"^with(out)? faults: (\d+) services, code 0, (\d+) calls, (\d+) of them failed .*?, ([\d.]+) s; ", re.MULTILINE
)
_EVERY_SECONDS = 15.0


def recovery(kills: int, rounds: int) -> list[Figure]:
    """B16, B17 and B19."""
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
        *_faulty(),
    ]


def _faulty() -> list[Figure]:
    """B19: a fleet is deployed by way of servers that fail one call in a hundred, beside servers that fail none."""
    rows = _FLEET.findall(_ran("fleet_under_faults.py"))
    if len(rows) != 2:
        raise SystemExit("a fleet was not deployed by way of servers that fail one call in a hundred")
    (_, services, calls, _, seconds), (_, _, more, failed, slower) = rows
    peer = "the same without faults"
    note = f"{services} new services, {failed} calls failed"
    return [
        Figure(
            "B19", what, unit, {"ours": [ours], "peer": [theirs]}, peer, goals=[Goal("ours/peer", most)], notes=[note]
        )
        for what, unit, ours, theirs, most in (
            ("calls where one in a hundred fails", "", float(more), float(calls), 1.2),
            ("seconds where one in a hundred fails", "s", float(slower), float(seconds), 1.3),
        )
    ]


def wave(minutes: float) -> list[Figure]:
    """B14: how soon a load gets one instance more, and what a load like a square wave costs."""
    said = _ran("square_wave.py", f"--minutes={minutes:g}")
    first = [float(seconds) for seconds in _MORE.findall(said)]
    changes, flaps = _numbers(_FLAPS, said)
    sent, failed = _numbers(_LOAD, said)
    return [
        Figure(
            "B14", "from more load to one instance more", "s", {"ours": first}, goals=[Goal("ours", 2 * _EVERY_SECONDS)]
        ),
        Figure("B14", f"changes against the load, of {changes:.0f}", "", {"ours": [flaps]}, goals=[Goal("ours", 0)]),
        Figure("B14", f"requests lost, of {sent:.0f}", "", {"ours": [failed]}, goals=[Goal("ours", 0)]),
    ]


def _ran(script: str, *options: str) -> str:
    return command([sys.executable, str(ROOT / "scripts" / script), *options], plain_environment(), codes=(0, 1))


def _found(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = pattern.search(text)
    if found is None:
        raise SystemExit(f"no line like {pattern.pattern} in:\n{text[-2000:]}")
    return found.groups()


def _numbers(pattern: re.Pattern[str], text: str) -> list[float]:
    return [float(number) for number in _found(pattern, text)]
