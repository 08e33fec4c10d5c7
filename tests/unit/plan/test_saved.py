"""A saved plan holds what it needs to be refused, and nothing that must stay secret."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.compile import compile_spec
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import ObservedEntry
from hms_nomad.plan.saved import (
    ClusterId,
    Inputs,
    SavedPlan,
    SavedPlanError,
    is_saved_plan,
    moved,
    plan_from,
    plan_text,
    saved_service,
    shared_objects,
)
from hms_nomad.platform.model import Platform
from hms_nomad.sections.section import as_data
from tests.unit.plan.test_plan import NOTHING, deployed
from tests.unit.specs import spec

HERE = ClusterId("global", "default", "dc1", "1234.consul")


def kept(what, observed):
    plan = make_plan(compile_spec(what, Platform()), observed)
    return saved_service(plan, what.version, as_data(what))


def file_of(*services):
    return SavedPlan("0", "2026-01-01T00:00:00+00:00", "me@here", HERE, Inputs(("a.hms.yml",)), services)


def with_entry(observed, kind, **fields):
    entry = observed.entries[kind, "receipt-svc"]
    changed = ObservedEntry({**entry.body, **fields}, entry.modify_index + 1)
    return replace(observed, entries={**observed.entries, (kind, "receipt-svc"): changed})


def with_job(observed, count=None, index=8, **env):
    group = observed.job.body["TaskGroups"][0]
    task = group["Tasks"][0]
    task = {**task, "Env": {**task["Env"], **env}}
    group = {**group, "Tasks": [task], "Count": count or group["Count"]}
    body = {**observed.job.body, "TaskGroups": [group]}
    return replace(observed, job=replace(observed.job, body=body, modify_index=index))


def test_what_is_written_is_what_is_read():
    saved = file_of(kept(spec(), NOTHING))
    text = plan_text(saved).encode()
    assert is_saved_plan(text[:200])
    assert plan_from(text, "x") == saved


def test_the_file_holds_no_secret():
    text = plan_text(file_of(kept(spec(env={"DB_PASSWORD": "hunter2"}), NOTHING)))
    assert "hunter2" not in text
    assert "DB_PASSWORD" in text


def test_nothing_moved_is_nothing_to_refuse():
    observed = deployed(compile_spec(spec(), Platform()))
    new = spec(image="ghcr.io/gov/receipt:2.0")
    assert moved(kept(new, observed), kept(new, observed)) == ((), ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda o: with_entry(o, "service-defaults", Protocol="tcp"),
            'service-defaults receipt-svc: Protocol was "http", is now "tcp"',
        ),
        (
            lambda o: with_job(o, GREETING="tampered"),
            'job receipt-svc: TaskGroups.app.Tasks.app.Env.GREETING was absent, is now "tampered"',
        ),
        (with_job, "job receipt-svc: was written again (index 7, now 8)"),
        (lambda o: NOTHING, "job receipt-svc: was removed meanwhile"),
    ],
)
def test_what_moved_is_named(change, said):
    observed = deployed(compile_spec(spec(), Platform()))
    drifted, _ = moved(kept(spec(), observed), kept(spec(), change(observed)))
    assert said in drifted


def test_a_count_that_the_autoscaler_chose_is_no_reason_to_refuse():
    observed = deployed(compile_spec(spec(), Platform()))
    assert moved(kept(spec(), observed), kept(spec(), with_job(observed, count=5))) == (
        (),
        ("receipt-svc was scaled from 2 to 5 instances",),
    )


def test_another_spec_is_refused_even_where_the_plan_is_the_same():
    observed = deployed(compile_spec(spec(), Platform()))
    drifted, _ = moved(kept(spec(), observed), kept(spec(rollout={"deadline": "9m"}), observed))
    assert drifted[0] == "the spec of receipt-svc is another one"


def test_objects_of_several_services_are_known():
    caller = spec(name="portal", uses=["receipt-svc"])
    saved = file_of(kept(spec(), NOTHING), kept(caller, NOTHING))
    assert shared_objects(saved) == {("service-intentions", "receipt-svc")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"schema": "hms-nomad/saved-plan/v1", "program"', "cut short"),
        (b'{"schema": "hms-nomad/saved-plan/v9"}', "hms-nomad/saved-plan/v9"),
        (b'{"schema": "hms-nomad/saved-plan/v1"}', "Object missing required field `program`"),
        (b"[]", "no JSON"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_in_words(text, said):
    with pytest.raises(SavedPlanError, match=said):
        plan_from(text, "next.plan")


def test_a_plan_that_names_a_service_twice_was_edited():
    one = kept(spec(), NOTHING)
    with pytest.raises(SavedPlanError, match="it plans receipt-svc twice"):
        plan_from(plan_text(file_of(one, one)).encode(), "next.plan")


def test_a_change_that_was_made_a_removal_by_hand_is_refused():
    now = kept(spec(), deployed(compile_spec(spec(), Platform())))
    edited = replace(now, objects=tuple(replace(one, action="delete") for one in now.objects))
    drifted, harmless = moved(edited, now)
    assert len(drifted) == len(now.objects)
    assert all("the plan says delete, and this would be " in line for line in drifted)
    assert harmless == ()
