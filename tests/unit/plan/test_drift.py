"""Drift is what somebody changed by hand: not what Nomad, the autoscaler or a promotion changes."""

from __future__ import annotations

import pytest

from hms_nomad.compile.desired import Intention
from hms_nomad.plan.change import Action, Change, FieldChange
from hms_nomad.plan.drift import DriftedField, entry_drift, job_drift, overruled
from hms_nomad.plan.observed import ObservedEntry


def stored(**task):
    """A job as Nomad stores it, as far as it matters here."""
    return {
        "ID": "receipt-svc",
        "Version": 3,
        "JobModifyIndex": 70,
        "Constraints": None,
        "TaskGroups": [
            {
                "Name": "app",
                "Count": 2,
                "Update": {"Canary": 2, "AutoPromote": False},
                "Scaling": {"Max": 9, "Policy": {"cooldown": "60s"}},
                "Tasks": [{"Name": "app", "User": "", "Env": {"PORT": "3000"}, **task}],
            }
        ],
    }


def test_what_nomad_counts_is_no_drift():
    assert job_drift(stored(), {**stored(), "Version": 9, "JobModifyIndex": 99, "Constraints": []}) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"Count": 7},
        {"Update": {"Canary": 7, "AutoPromote": True}},
    ],
)
def test_what_belongs_to_the_autoscaler_or_a_promotion_is_no_drift(change):
    after = stored()
    after["TaskGroups"][0].update(change)
    assert job_drift(stored(), after) == ()


def test_another_attempt_is_no_drift():
    assert job_drift(stored(Meta={"release": "r1"}), stored(Meta={"release": "r1", "attempt": "4"})) == ()


def test_a_field_that_no_spec_speaks_of_is_found_too():
    after = stored(User="root")
    assert job_drift(stored(), after) == (DriftedField("TaskGroups.app.Tasks.app.User", "", "root"),)


def test_a_task_that_was_added_is_found_and_its_secrets_are_hidden():
    after = stored()
    after["TaskGroups"][0]["Tasks"].append({"Name": "miner", "Env": {"API_TOKEN": "hunter2"}})
    (found,) = job_drift(stored(), after)
    assert (found.path, found.deployed) == ("TaskGroups.app.Tasks.miner", None)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("action", "state"), [(Action.CREATE, "missing"), (Action.UPDATE, "changed"), (Action.DELETE, "extra")]
)
def test_an_entry_has_drifted_when_a_plan_would_change_it(action, state):
    change = Change("service-defaults", "x", action, (FieldChange("Protocol", "tcp", "http"),), {}, 7)
    found = entry_drift(change)
    assert (found.state, found.index, found.fields) == (state, 7, (DriftedField("Protocol", "http", "tcp"),))


def test_an_entry_that_a_plan_keeps_has_not_drifted():
    assert entry_drift(Change("service-defaults", "x", Action.KEEP, (), {}, 7)) is None


def test_an_operators_rule_overrules_only_where_it_decides_otherwise():
    declared = (Intention("*", "x", "default", "deny"), Intention("portal", "x", "allow"))
    sources = [
        {"Name": "*", "Action": "allow", "Description": "by hand"},
        {"Name": "portal", "Action": "allow", "Description": "hms-nomad: allow"},
    ]
    stored = {"x": ObservedEntry({"Sources": sources}, 7)}
    (found,) = overruled(declared, stored)
    assert (found.name, found.state, found.fields) == (
        "x",
        "overruled",
        (DriftedField("Sources.*.Action", "deny", "allow"),),
    )
    sources[0]["Action"] = "deny"
    assert list(overruled(declared, stored)) == []
