"""What is due for an object of the foundation, given what a server holds of it."""

from __future__ import annotations

import pytest

from hms_nomad.compile.foundation import BaseObject
from hms_nomad.plan.change import Action, ForeignObjectError
from hms_nomad.plan.groundwork import Stored, removable, removal_of, step_of

WANTED = BaseObject(
    "consul policy", "hms-viewer", {"Name": "hms-viewer", "Description": "managed-by: hms-nomad", "Rules": "x"}
)


def test_what_is_not_there_is_made() -> None:
    step = step_of(WANTED, None)

    assert step.change.action is Action.CREATE
    assert [one.path for one in step.change.fields] == ["Name", "Rules"]


def test_what_is_as_it_should_be_stays_whatever_else_the_server_says_of_it() -> None:
    stored = Stored({**WANTED.body, "Templated": None, "Datacenters": []}, ours=True)

    assert step_of(WANTED, stored).change.action is Action.KEEP


def test_defaults_of_a_server_inside_are_no_difference() -> None:
    wanted = BaseObject("consul login", "x", {"Config": {"BoundAudiences": ["a"], "JWKSCACert": ""}})
    stored = Stored({"Config": {"BoundAudiences": ["a"], "ClockSkewLeeway": 0}}, ours=True)

    assert step_of(wanted, stored).change.action is Action.KEEP


def test_one_of_ours_that_differs_is_mended_and_says_where() -> None:
    step = step_of(WANTED, Stored({**WANTED.body, "Rules": "y"}, ours=True))

    assert step.change.action is Action.UPDATE
    assert [(one.path, one.before, one.after) for one in step.change.fields] == [("Rules", "y", "x")]


def test_one_of_others_stays_when_it_says_the_same_and_is_refused_when_it_does_not() -> None:
    assert step_of(WANTED, Stored({**WANTED.body, "Description": ""}, ours=False)).change.action is Action.KEEP
    with pytest.raises(ForeignObjectError, match="it differs in Rules"):
        step_of(WANTED, Stored({**WANTED.body, "Description": "", "Rules": "y"}, ours=False))


def test_only_what_is_ours_is_removed_and_a_reason_keeps_it() -> None:
    ours = Stored(WANTED.body, ours=True)

    assert removable(WANTED, ours)
    assert not removable(WANTED, Stored(WANTED.body, ours=False))
    assert not removable(WANTED, None)
    assert removal_of(WANTED, ours, "").change.action is Action.DELETE
    kept = removal_of(WANTED, ours, "it holds secrets")
    assert (kept.change.action, kept.left) == (Action.KEEP, "it holds secrets")
