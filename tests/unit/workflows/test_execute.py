"""In which instance a command runs, what the audit trail has of it, and what is said where none fits."""

from __future__ import annotations

import json

import pytest

from hms_nomad.clients.errors import NotFoundError
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.workflows.operating.audit import list_audit
from hms_nomad.workflows.operating.execute import Dialogue, Wish, choose_instance, run_command
from tests.unit.workflows.servers import FakeConsul, FakeNomad, allocation, job, session, task

A, B, C = "aaaa1111", "bbbb2222", "cccc3333"
SHELL = Wish(("sh",))


def chosen(nomad: FakeNomad, wish: Wish = SHELL) -> str:
    return choose_instance(session(nomad, FakeConsul()), "a", wish, lambda event: None).allocation


def service(*allocations, **meta):
    return FakeNomad(jobs={"a": job("a", **meta)}, allocations=list(allocations))


def test_the_newest_healthy_one_that_takes_traffic_is_taken():
    nomad = service(
        allocation(A, "a", create_index=1),
        allocation(B, "a", create_index=2),
        allocation(C, "a", create_index=3, healthy=False),
        allocation("dddd", "a", create_index=4, canary=True),
        allocation("eeee", "a", create_index=5, status="failed"),
    )
    assert chosen(nomad) == B
    assert chosen(nomad, Wish(("sh",), canary=True)) == "dddd"
    assert chosen(nomad, Wish(("sh",), allocation="c")) == C


def test_one_that_is_not_healthy_is_better_than_none():
    assert chosen(service(allocation(A, "a", healthy=False))) == A


@pytest.mark.parametrize(
    ("found", "wish", "told"),
    [
        ((), SHELL, "task app runs in no instance; hms-nomad logs a"),
        ((allocation(A, "a", status="failed"),), SHELL, "task app runs in no instance"),
        ((allocation(A, "a", tasks={"app": task("pending")}),), SHELL, "task app runs in no instance"),
        ((allocation(A, "a", canary=True),), SHELL, "say --canary, or --alloc aaaa1111"),
        ((allocation(A, "a"),), Wish(("sh",), canary=True), "a has no canary now"),
        ((allocation(A, "a"),), Wish(("sh",), allocation="zz"), "a has no instance 'zz'"),
        ((allocation(A, "a", status="failed"),), Wish(("sh",), allocation="aa"), "aaaa1111 is failed"),
        ((allocation(A, "a"),), Wish(("sh",), task="db"), "a has no task 'db'; there is app, connect-proxy-a"),
    ],
)
def test_where_none_fits_the_reason_and_the_way_on_are_said(found, wish, told):
    with pytest.raises(NotFoundError) as missing:
        chosen(service(*found), wish)
    assert told in missing.value.detail


def test_a_job_of_others_is_left_alone():
    nomad = FakeNomad(jobs={"a": job("a", meta={})}, allocations=[allocation(A, "a")])
    with pytest.raises(ForeignObjectError):
        chosen(nomad)


def test_the_trail_has_the_program_before_it_runs_and_none_of_its_words():
    at, seen = session(service(allocation(A, "a")), FakeConsul()), []
    wish = Wish(("psql", "postgres://app:s3cret@db"))

    def run_in_task(command, incoming, wrote):
        seen.append((command.words, [record.message for record in list_audit(at, "a")]))
        return 3

    at.nomad.run_in_task = run_in_task
    instance = choose_instance(at, "a", wish, lambda event: None)
    assert run_command(at, instance, wish, Dialogue((), lambda stream, data: None)) == 3
    assert seen == [(wish.words, ["psql in task app of aaaa1111 on node-1"])]
    (record,) = list_audit(at, "a")
    assert (record.command, record.result) == ("exec", "begun")
    assert "s3cret" not in json.dumps(record.message)
