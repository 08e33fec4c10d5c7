"""Whose lines are shown, and what happens to those that cannot be read."""

from __future__ import annotations

import re

import pytest

from hms_nomad.clients.errors import NotFoundError, UnavailableError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.workflows.operating.logs import LogLine, LogOptions, follow_logs, read_logs
from tests.unit.workflows.servers import FakeConsul, FakeNomad, allocation, job, session, task

A, B = "aaaa1111", "bbbb2222"


def service(*allocations, stop=False):
    nomad = FakeNomad(jobs={"a": job("a", stop=stop)}, allocations=list(allocations))
    nomad.output = {
        (A, "stdout"): ["one", "two", "three"],
        (A, "stderr"): ["oops"],
        (B, "stdout"): ["four"],
    }
    return nomad


def read(nomad, options, name="a"):
    told = []
    lines = list(read_logs(session(nomad, FakeConsul()), name, options, told.append))
    return lines, [event.message for event in told]


def test_the_last_lines_of_each_stream_of_each_living_instance():
    ended = allocation("cccc", "a", status="complete")
    nomad = service(allocation(B, "a", create_index=2), allocation(A, "a"), ended)
    lines, _ = read(nomad, LogOptions(tail=2))
    assert lines == [
        LogLine(A, "stdout", "two"),
        LogLine(A, "stdout", "three"),
        LogLine(A, "stderr", "oops"),
        LogLine(B, "stdout", "four"),
    ]


def test_of_a_service_without_living_instances_the_latest_one_speaks():
    nomad = service(allocation(A, "a", status="failed"), allocation(B, "a", status="failed", create_index=5))
    assert read(nomad, LogOptions(tail=None))[0] == [LogLine(B, "stdout", "four")]


def test_one_instance_by_the_beginning_of_its_id():
    nomad = service(allocation(A, "a", status="failed"), allocation(B, "a"))
    lines, _ = read(nomad, LogOptions(tail=1, allocation="aa", streams=("stdout",)))
    assert lines == [LogLine(A, "stdout", "three")]
    with pytest.raises(NotFoundError, match="has no instance 'zz'"):
        read(nomad, LogOptions(tail=1, allocation="zz"))


def test_with_a_pattern_the_tail_is_counted_among_the_lines_that_match():
    lines, _ = read(service(allocation(A, "a")), LogOptions(tail=1, pattern=re.compile("o")))
    assert lines == [LogLine(A, "stdout", "two"), LogLine(A, "stderr", "oops")]


def test_an_instance_that_cannot_be_read_does_not_hide_the_others():
    nomad = service(allocation(A, "a"), allocation(B, "a"))
    nomad.faults[A] = UnavailableError("nomad", "read logs", "http://nomad", "the node is gone")
    lines, told = read(nomad, LogOptions(tail=1))
    assert lines == [LogLine(B, "stdout", "four")]
    assert "the node is gone" in told[0]
    nomad.faults[B] = nomad.faults[A]
    with pytest.raises(UnavailableError):
        read(nomad, LogOptions(tail=1))


def test_an_instance_without_output_is_said_to_be_so():
    nomad = service(allocation(A, "a"))
    nomad.faults[A] = NotFoundError("nomad", "read logs", "http://nomad", "no such file")
    assert read(nomad, LogOptions(tail=1)) == ([], [f"{A[:8]} has written nothing yet"])


def test_a_service_that_is_not_there():
    with pytest.raises(NotFoundError):
        read(service(), LogOptions(tail=1), name="nowhere")


def test_following_ends_with_the_service():
    waiting = allocation("dddd", "a", status="complete", tasks={"app": task("pending", ("Received", ""))})
    nomad = service(allocation(A, "a"), waiting, stop=True)
    # Chosen, watched, and then found to have ended.
    states = iter([Snapshot(1, tuple(nomad.allocations))] * 2)
    ended = Snapshot(2, (allocation(A, "a", status="complete"), waiting))
    nomad.job_allocations = lambda *_, **__: next(states, ended)
    lines = list(follow_logs(session(nomad, FakeConsul()), "a", LogOptions(tail=1), lambda event: None))
    assert sorted(lines, key=str) == [LogLine(A, "stderr", "oops"), LogLine(A, "stdout", "three")]


def test_a_fault_of_the_watch_ends_following():
    nomad = service(allocation(A, "a"))
    answers = iter([FakeNomad.job_allocations(nomad, "a")])

    def job_allocations(name, index=0, wait=0.0):
        for answer in answers:
            return answer
        raise UnavailableError("nomad", "list allocations", "http://nomad", "no leader")

    nomad.job_allocations = job_allocations
    with pytest.raises(UnavailableError):
        list(follow_logs(session(nomad, FakeConsul()), "a", LogOptions(tail=1), lambda event: None))
