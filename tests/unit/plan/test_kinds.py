"""A job of another kind is refused with the way out; Nomad's own refusal names none."""

from __future__ import annotations

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.plan.change import Action, OtherKindError
from hms_nomad.plan.diff import make_plan, with_attempt
from hms_nomad.plan.observed import Observed, ObservedJob
from hms_nomad.platform.model import Platform
from tests.unit.specs import spec

SERVICE = spec(name="a-svc")
PLAIN = spec(name="a-svc", kind="job", port=None, routes=None, scaling=None)
NIGHTLY = spec(name="a-svc", kind="job", port=None, routes=None, scaling=None, schedule={"cron": "0 3 * * *"})


def desired(one):
    return compile_spec(one, Platform())


def holding(one):
    return Observed(ObservedJob(desired(one).job, 3, 7, stopped=False, settled=True), {}, {})


def job_change(wanted, stored):
    plan = make_plan(desired(wanted), holding(stored))
    return next(change for change in plan.changes if change.kind == "job")


@pytest.mark.parametrize(("stored", "wanted"), [(SERVICE, PLAIN), (PLAIN, NIGHTLY), (NIGHTLY, SERVICE)])
def test_another_kind_is_refused_with_the_way_out(stored, wanted):
    with pytest.raises(OtherKindError, match="hms-nomad stop a-svc --purge"):
        make_plan(desired(wanted), holding(stored))


@pytest.mark.parametrize("one", [PLAIN, NIGHTLY])
def test_the_same_job_again_is_no_change(one):
    assert job_change(one, one).action is Action.KEEP


def test_another_time_is_one_change_of_the_schedule():
    later = spec(name="a-svc", kind="job", port=None, routes=None, scaling=None, schedule={"cron": "0 4 * * *"})
    paths = [field.path for field in job_change(later, NIGHTLY).fields]
    assert "Periodic.Specs" in paths
    assert not [path for path in paths if path.startswith("TaskGroups")]


def test_a_failed_job_runs_again_as_one_more_attempt():
    stored = holding(PLAIN).job
    again = with_attempt(job_change(PLAIN, PLAIN), stored)
    assert again.body["TaskGroups"][0]["Tasks"][0]["Meta"] == {"attempt": "4"}
    repeated = Observed(ObservedJob(again.body, 4, 8, stopped=False, settled=True), {}, {})
    assert make_plan(desired(PLAIN), repeated).empty
