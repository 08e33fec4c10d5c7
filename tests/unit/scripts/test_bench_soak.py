"""How the soak tells memory that settles from memory that grows by each deploy."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benches import soaking
from benches.soaking import Soaked, grown, soak

from hms_nomad.clients.errors import UnavailableError
from hms_nomad.workflows.deploying.deploy import Status

DONE = SimpleNamespace(status=Status.DEPLOYED)
FAILED = SimpleNamespace(status=Status.FAILED, failure=SimpleNamespace(reason="no node"))
AWAY = UnavailableError("nomad", "register job", "http://n", "refused")


class FakeWorld:
    """Answers deploys in turn, or raises, and remembers their versions."""

    def __init__(self, outcomes: list[Any]) -> None:
        self.version = 0
        self.versions: list[int] = []
        self.moments: list[str] = []
        self._outcomes = iter(outcomes)

    def start(self) -> None:
        self.version = 1

    def spec(self, **changes: Any) -> None:
        self.versions.append(self.version)

    def deploy(self, spec: None, options: Any) -> Any:
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, signal.Signals):
            os.kill(os.getpid(), outcome)
            return DONE
        return outcome


@pytest.fixture
def soaked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Soaks a world with given outcomes; answers it, and each figure's value and whether its goals are kept."""

    def run(rounds: int, outcomes: list[Any]) -> tuple[FakeWorld, dict[str, tuple[float, bool]]]:
        world = FakeWorld(outcomes)

        @contextlib.contextmanager
        def running(context: None, rate: float) -> Iterator[FakeWorld]:
            yield world

        def left(_: Any) -> Mapping[str, int]:
            return {"sessions": 2 + len(world.versions) // 6}

        monkeypatch.setattr(soaking, "running_world", running)
        monkeypatch.setattr(soaking, "_envoy", lambda _: soaking.psutil.Process())
        monkeypatch.setattr(soaking, "_left", left)
        figures = soak(rounds)
        return world, {one.what: (one.values["ours"][0], all(kept for *_, kept in one.verdicts())) for one in figures}

    return run


def kept(samples: list[float]) -> bool:
    ((_, _, kept),) = grown("this process", samples).verdicts()
    return kept


def test_what_grows_at_first_and_then_no_more_is_flat():
    assert kept([50.0 + min(number, 30) for number in range(200)])


def test_what_grows_by_each_deploy_is_not():
    assert not kept([70.0 + 0.1 * number for number in range(200)])


def test_a_single_high_sample_is_no_growth():
    assert kept([70.0] * 199 + [90.0])


@pytest.mark.parametrize("rounds", [2, 5, 7])
def test_few_rounds_are_judged_too(rounds: int):
    assert kept([70.0] * rounds)


def test_the_course_is_told():
    (note,) = grown("this process", [float(number) for number in range(20)]).notes
    assert note == ("5.5 MiB, then 17.5; in its course 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 19.0")


def test_a_soak_goes_to_and_fro_and_tells_how_it_stands_as_it_goes(soaked: Any, capsys: pytest.CaptureFixture[str]):
    world, figures = soaked(40, [DONE] * 40)

    assert world.versions[:4] == [2, 3, 2, 3]
    assert figures["deploys done, of 40"] == (40, True)
    assert figures["left by 40 deploys: sessions"] == (6, False)
    assert len([what for what in figures if what.startswith("memory of")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("soak: 2 of 40 deploys done, 0 failed; ")
    assert told[-1].startswith("soak: 40 of 40 deploys done, 0 failed; this process ")
    assert told[-1].endswith("; +6 sessions")
    assert len(told) == 21


def test_a_deploy_that_fails_is_told_and_tried_again(soaked: Any):
    world, figures = soaked(5, [DONE, AWAY, FAILED, DONE, DONE])

    assert world.versions == [2, 3, 3, 3, 2]
    assert figures["deploys done, of 5"] == (3, False)


def test_where_several_fail_in_a_row_the_soak_ends_with_the_figures_of_those_before(soaked: Any):
    world, figures = soaked(200, [DONE, DONE, DONE, FAILED, AWAY, FAILED])

    assert len(world.versions) == 6
    assert figures["deploys done, of 200"] == (3, False)
    assert "left by 3 deploys: sessions" in figures


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_soak_that_is_told_to_end_leaves_its_figures(soaked: Any, number: signal.Signals):
    world, figures = soaked(200, [DONE, DONE, DONE, number])

    assert len(world.versions) == 4
    assert figures["deploys done, of 200"] == (3, False)
    assert figures["left by 2 deploys: sessions"] == (0, True)


def test_what_went_wrong_is_told_in_the_report():
    seen = Soaked(10)
    seen.failed("no node")
    for _ in range(9):
        seen.deployed()

    assert seen.ended
    assert seen.figures()[0].notes == ["deploy 1: no node"]
    assert seen.summary() == "soak: 9 of 10 deploys done, 1 failed; deploy 1: no node"
