"""Services that meet at a gate: all have come so far before one goes on, and a few are worked on at any time."""

from __future__ import annotations

import threading

import pytest

from hms_nomad.workflows.deploying import as_they_end as threads
from hms_nomad.workflows.deploying.as_they_end import as_they_end
from hms_nomad.workflows.deploying.gate import Gate

NEVER = 3600.0
PLACES = 3


def fail(number):
    raise ValueError(number)


class Worked:
    """What was done, in its order, and the most services that were worked on at once."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.done: list[tuple[str, int]] = []

    def step(self, what: str, number: int) -> None:
        """A part of the work, which takes until others had a chance to run."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        threading.Event().wait(0.001)
        with self._lock:
            self._now -= 1
            self.done.append((what, number))

    def work(self, number: int) -> int:
        """All of the work on a service."""
        with self._gate.place() as place:
            self.step("before", number)
            place.meet()
            self.step("after", number)
            place.meet()
        return number


@pytest.mark.parametrize("count", [1, PLACES, 10 * PLACES])
def test_all_come_before_one_goes_on_and_there_are_as_many_at_once_as_there_are_places(count):
    worked = Worked(Gate(count, PLACES, NEVER))
    ended = list(as_they_end(worked.work, range(count), count))
    assert sorted(ended) == list(range(count))
    assert [what for what, _ in worked.done] == ["before"] * count + ["after"] * count
    assert worked.most <= PLACES


@pytest.mark.parametrize("how", ["fails", "leaves", "ends"])
def test_nobody_waits_for_who_ends_before_the_gate_or_need_not_come(how):
    gate = Gate(10, PLACES, NEVER)
    others = threading.Event()
    passed = []

    def work(number):
        try:
            with gate.place() as place:
                if number == 5 and how == "fails":
                    fail(number)
                if number == 5 and how == "leaves":
                    place.leave()
                    others.wait()
                elif number != 5:
                    place.meet()
                    passed.append(number)
                    others.set()
        except ValueError:
            return "failed"
        return "done"

    ended = list(as_they_end(work, range(10), 10))
    assert sorted(passed) == [number for number in range(10) if number != 5]
    assert ended.count("failed") == (how == "fails")


def test_a_service_that_hangs_stops_the_others_for_a_while_only():
    gate = Gate(4, PLACES, patience=0.05)
    others = threading.Semaphore(0)

    def work(number):
        with gate.place() as place:
            if number == 0:
                for _ in range(3):
                    others.acquire()
            place.meet()
            others.release()
        return number

    assert sorted(as_they_end(work, range(4), 4)) == [0, 1, 2, 3]


def test_who_fails_after_the_gate_gives_its_place_back():
    gate = Gate(6, 1, NEVER)

    def work(number):
        try:
            with gate.place() as place:
                place.meet()
                fail(number)
        except ValueError:
            return number

    assert sorted(as_they_end(work, range(6), 6)) == list(range(6))


def test_where_no_more_threads_can_be_started_those_that_are_there_do_all_of_the_work(monkeypatch):
    started = []

    class Few(threading.Thread):
        def start(self):
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(threads.threading, "Thread", Few)
    worked = Worked(Gate(5, PLACES, patience=0.05))
    assert sorted(as_they_end(worked.work, range(5), 5)) == list(range(5))
    assert len(worked.done) == 10
    monkeypatch.setattr(Few, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
    with pytest.raises(RuntimeError):
        list(as_they_end(worked.work, range(5), 5))
