"""What commands that only look say of a rollout under way."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.plan.change import Action, Change, Plan
from hms_nomad.rollout.journal import Journal, journal_bytes
from hms_nomad.workflows.rollouts.present import Present, among, present
from tests.unit.rollout.world import ROLLOUT
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session

KEY = "hms-nomad/rollouts/default/a"
SECOND_STEP = replace(ROLLOUT, step=1)
SPLIT = Change("service-splitter", "a", Action.DELETE, (), None, 9)
PLAN = Plan("a", "r1", "r2", "d", (SPLIT,))


def with_journal(data):
    consul = FakeConsul()
    consul.kv_put(KEY, data)
    return session(FakeNomad(), consul)


def test_a_service_without_a_rollout_has_none():
    assert present(session(FakeNomad(), FakeConsul()), "a") is None
    assert present(with_journal(journal_bytes(Journal())), "a") is None


def test_a_rollout_is_told_with_the_weight_that_is_set():
    opened = with_journal(journal_bytes(Journal(SECOND_STEP)))
    assert present(opened, "a") == Present(SECOND_STEP, None)


def test_a_journal_of_another_version_hides_nothing_else():
    assert present(with_journal(b"not a journal"), "a") is None


def test_a_plan_of_a_service_in_a_rollout_says_so():
    opened = with_journal(journal_bytes(Journal(SECOND_STEP)))
    (said,) = among(opened, (PLAN,))
    assert said.startswith("a rollout of a from 1.0.0 to 2.0.0 is under way (step 2 of 4)")


def test_only_services_whose_traffic_is_split_are_asked_for():
    opened = with_journal(journal_bytes(Journal(SECOND_STEP)))
    assert among(opened, (replace(PLAN, changes=()),)) == ()
