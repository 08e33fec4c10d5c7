"""Intentions that many specs share: who loses the race for them plans again, in turn with the others of its command."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from hms_nomad.clients.errors import ConflictError
from hms_nomad.compile import compile_spec
from hms_nomad.plan.change import Action
from hms_nomad.plan.diff import make_plan
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.deploying.shared_entries import write_shared
from tests.unit.plan.test_plan import NOTHING
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session

PLAN = make_plan(compile_spec(spec(), Platform()), NOTHING)
INTENTIONS = next(change for change in PLAN.changes if change.kind == "service-intentions")


def losing(times: int, kind: str = INTENTIONS.kind):
    """A session whose writes of a kind lose the first so many races, and whether its turn was held at each write."""
    consul = FakeConsul()
    where = session(FakeNomad(), consul)
    turn = where.turns.of(f"write {INTENTIONS.kind} {INTENTIONS.name}")
    left, held, write = [times], [], consul.write_entry

    def racing(body, index):
        if body["Kind"] == kind:
            held.append(turn.locked())
            if left[0]:
                left[0] -= 1
                raise ConflictError("consul", f"write {kind} {body['Name']}", "http://consul", "it changed")
        write(body, index)

    where.consul = SimpleNamespace(write_entry=racing)
    return where, consul, held, turn


def test_who_loses_plans_again_and_keeps_the_turn_until_its_intentions_stand():
    where, consul, held, turn = losing(2)
    turns = []
    only = SimpleNamespace(changes=(INTENTIONS,))

    def again():
        turns.append(turn.locked())
        return only

    assert write_shared(where, PLAN, again, lambda _: None) is only
    assert (turns, held) == ([True, True], [False, True, True])
    assert not turn.locked()
    assert (INTENTIONS.kind, INTENTIONS.name) in consul.entries


def test_what_was_written_waits_before_the_intentions_once_and_a_plan_without_any_waits_never():
    where, consul, _, _ = losing(0)
    seen = []
    write_shared(where, PLAN, lambda: PLAN, lambda _: None, lambda: seen.append(len(consul.entries)))
    others = [one for one in PLAN.changes if one.kind not in ("job", INTENTIONS.kind) and one.action is Action.CREATE]
    assert seen == [len(others)]
    none = SimpleNamespace(changes=())
    write_shared(where, none, lambda: none, lambda _: None, lambda: seen.append(0))
    assert seen == [len(others)]


@pytest.mark.parametrize(("times", "kind"), [(5, INTENTIONS.kind), (1, "service-defaults")])
def test_a_race_that_is_lost_again_and_again_or_for_an_entry_of_its_own_is_a_conflict(times, kind):
    where, _, _, turn = losing(times, kind)
    with pytest.raises(ConflictError):
        write_shared(where, PLAN, lambda: SimpleNamespace(changes=(INTENTIONS,)), lambda _: None)
    assert not turn.locked()


def test_who_loses_for_one_after_the_other_holds_one_turn_at_a_time():
    where, _, _, turn = losing(1)
    other = where.turns.of("write service-intentions other")
    first, held = where.consul.write_entry, []
    theirs = replace(INTENTIONS, name="other", body={**INTENTIONS.body, "Name": "other"})

    def racing(body, index):
        if body["Name"] == "other" and len(held) < 2:
            held.append((turn.locked(), other.locked()))
            if len(held) == 1:
                raise ConflictError("consul", "write service-intentions other", "http://consul", "it changed")
        first(body, index)

    where.consul = SimpleNamespace(write_entry=racing)
    both = SimpleNamespace(changes=(theirs, INTENTIONS))
    assert write_shared(where, PLAN, lambda: both, lambda _: None) is both
    assert held == [(True, False), (False, True)]
    assert not other.locked()
