"""Jobs with a schedule: when they are due by clocks of any zone, and which runs begin. No clock runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hms_nomad.dev.agent.canonical import canonical
from hms_nomad.dev.agent.cron import Schedule
from hms_nomad.dev.agent.jobs import upsert
from hms_nomad.dev.agent.periodic import Launches, forget_oldest
from hms_nomad.dev.agent.store import Store
from hms_nomad.dev.agent.validation import errors_of


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("* * * * *", "UTC", "2026-03-01T10:00:00", "2026-03-01T10:01:00"),
        ("0 3 * * *", "UTC", "2026-03-01T03:00:00", "2026-03-02T03:00:00"),
        ("*/20 8-9 * * mon-fri", "UTC", "2026-02-27T09:40:00", "2026-03-02T08:00:00"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 12 1,15 jan *", "UTC", "2026-01-02T00:00:00", "2026-01-15T12:00:00"),
        ("0 0 13 * 5", "UTC", "2026-11-01T00:00:00", "2026-11-06T00:00:00"),
        ("0 0 * * 7", "UTC", "2026-11-02T00:00:00", "2026-11-08T00:00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00", "2026-07-01T01:00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00", "2026-03-30T00:30:00"),
        ("5/15 * * * *", "UTC", "2026-03-01T10:06:00", "2026-03-01T10:20:00"),
    ],
)
def test_a_schedule_says_when_it_is_due(cron: str, zone: str, after: str, due: str):
    assert Schedule.read(cron, zone).after(_moment(after)) == _moment(due)


def test_what_never_comes_is_never_due():
    assert Schedule.read("0 0 31 2 *", "UTC").after(0) is None


@pytest.mark.parametrize("cron", ["* * * *", "60 * * * *", "* * * * fun", "9-3 * * * *", "*/0 * * * *", "1;2 * * * *"])
def test_what_is_no_schedule_is_refused_at_registration(cron: str):
    job = canonical({"ID": "x", "Type": "batch", "Periodic": {"Specs": [cron]}, "TaskGroups": []})

    assert any("Invalid cron spec" in error for error in errors_of(job))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "state.sqlite")) as found:
        yield found


def _stored(store: Store, **periodic: object) -> dict:
    group = {"Name": "main", "Tasks": [{"Name": "work", "Driver": "raw_exec"}]}
    body = {"ID": "count", "Type": "batch", "Periodic": {"Specs": ["0 3 * * *"], **periodic}, "TaskGroups": [group]}
    with store.write() as transaction:
        job = upsert(transaction, store, canonical(body))
        return transaction.put(
            "jobs", "default\0count", {**job, "SubmitTime": int(_moment("2026-03-01T02:00:00") * 1e9)}
        )


def test_a_run_begins_when_it_is_due_and_not_while_the_one_before_goes_on(store: Store):
    job, launches = _stored(store, ProhibitOverlap=True), Launches()
    first, second = _moment("2026-03-01T03:00:00"), _moment("2026-03-02T03:00:00")

    assert launches.look(store, job, first - 10) == ("", first)
    started, wake = launches.look(store, job, first)
    assert (started, wake) == (f"default\0count/periodic-{int(first)}", second)
    run = store.tables["jobs"][started]
    assert (run["ParentID"], run["Periodic"], run["Status"]) == ("count", None, "pending")
    assert launches.look(store, job, second)[0] == ""
    with store.write() as transaction:
        transaction.put("jobs", started, {**run, "Status": "dead"})
    assert launches.look(store, job, second + 24 * 3600)[0] == f"default\0count/periodic-{int(second) + 24 * 3600}"


def test_runs_that_may_overlap_do(store: Store):
    job, launches = _stored(store, ProhibitOverlap=False), Launches()
    first = _moment("2026-03-01T03:00:00")
    launches.look(store, job, first - 10)

    assert launches.look(store, job, first)[0]
    assert launches.look(store, job, first + 24 * 3600)[0]


def test_what_was_missed_is_made_up_for_once_and_old_runs_are_forgotten(store: Store):
    job, now = _stored(store), _moment("2026-03-03T12:00:00")

    started, wake = Launches().look(store, job, now)

    assert (started, wake) == (f"default\0count/periodic-{int(now)}", _moment("2026-03-04T03:00:00"))
    assert Launches().look(store, job, now + 60) == ("", _moment("2026-03-04T03:00:00"))
    launches = Launches()
    for day in range(1, 30):
        for key, run in list(store.tables["jobs"].items()):
            if run["ParentID"]:
                with store.write() as transaction:
                    transaction.put("jobs", key, {**run, "Status": "dead"})
        launches.look(store, job, now + day * 24 * 3600)
        forget_oldest(store, job)
    assert len(store.tables["jobs"]) == 1 + 20 + 1


def test_a_schedule_that_is_switched_off_starts_nothing(store: Store):
    assert Launches().look(store, _stored(store, Enabled=False), 2e9) == ("", None)
