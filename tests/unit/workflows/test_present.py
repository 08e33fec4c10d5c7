"""What commands that only look say of a rollout under way."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.plan.change import Action, Change, Plan
from hms_nomad.rollout.journal import Author, Journal, Rollout, journal_bytes
from hms_nomad.rollout.policy import policy_of
from hms_nomad.sections.reading import read
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.rollouts.present import Present, among, present
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session

KEY = "hms-nomad/rollouts/default/a"
ROLLOUT = Rollout(
    number=2,
    stable="r1111111111",
    candidate="r2222222222",
    digest="d",
    version="2.0.0",
    stable_version="1.0.0",
    policy=policy_of(read(Spec, {"name": "a", "version": "2.0.0", "image": "a:2", "port": 3000})),
    author=Author("kim@desk"),
    started=1.0,
    step=1,
)
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
    opened = with_journal(journal_bytes(Journal(ROLLOUT)))
    assert present(opened, "a") == Present(ROLLOUT, None)


def test_a_journal_of_another_version_hides_nothing_else():
    assert present(with_journal(b"not a journal"), "a") is None


def test_a_plan_of_a_service_in_a_rollout_says_so():
    opened = with_journal(journal_bytes(Journal(ROLLOUT)))
    (said,) = among(opened, (PLAN,))
    assert said.startswith("a rollout of a from 1.0.0 to 2.0.0 is under way (step 2 of 4)")


def test_only_services_whose_traffic_is_split_are_asked_for():
    opened = with_journal(journal_bytes(Journal(ROLLOUT)))
    assert among(opened, (replace(PLAN, changes=()),)) == ()
