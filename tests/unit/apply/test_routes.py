"""Routes of the gateway are written so that it answers all the time: what takes a place comes before what had it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.apply import write
from hms_nomad.apply.write import write_entries, write_in_order, write_routes
from hms_nomad.clients.consul_types import Condition
from hms_nomad.clients.errors import ConflictError, UnavailableError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.plan.change import Action, Change
from tests.unit.workflows.servers import FakeConsul

BOUND = Condition("Bound", True, "Bound", "successfully bound route", "")
NOT_YET = Condition("Bound", False, "FailedToBind", "route has not been accepted", "")
NOBODY = Condition("Bound", False, "GatewayNotFound", "gateway was not found", "")


class Consul(FakeConsul):
    """Says of a route what ``verdicts`` hold, one after the other, the last one for ever."""

    def __init__(self, *verdicts):
        super().__init__()
        self.verdicts = list(verdicts)

    def write_entry(self, body, modify_index):
        self.done.append(f"write {body['Kind']} {body['Name']}")
        self.store(body["Kind"], body["Name"], body)

    def delete_entry(self, kind, name, modify_index):
        if self.entries[kind, name].modify_index != modify_index:
            raise ConflictError("consul", f"delete {kind} {name}", self.address, "it changed")
        super().delete_entry(kind, name, modify_index)

    def watch_entry(self, kind, name, index=0, wait=0.0):
        said = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        self.done.append(f"{name} is bound" if said.true else f"{name} is not bound")
        return Snapshot(index + 1, replace(self.entries[kind, name], conditions=(said,)))


def quiet(_):
    """Show nothing."""


def made(name, kind="http-route"):
    return Change(kind, name, Action.CREATE, (), {"Kind": kind, "Name": name}, 0)


def gone(name, kind="http-route", index=0):
    return Change(kind, name, Action.DELETE, (), None, index)


def holding(*verdicts, **stored):
    consul = Consul(*verdicts)
    consul.store("http-route", "old", **stored)
    consul.store("service-router", "a")
    return consul


def test_a_route_goes_when_what_takes_its_place_is_bound():
    consul = holding(NOT_YET, BOUND)
    changes = (gone("a", "service-router", 11), made("one"), made("two"), gone("old"))
    write_entries(changes, consul, quiet)
    assert consul.done == ["delete service-router a"]
    write_routes(changes, consul, quiet)
    assert consul.done[1:] == [
        "write http-route one",
        "write http-route two",
        "two is not bound",
        "two is bound",
        "one is bound",
        "delete http-route old",
    ]


def test_a_route_whose_place_nobody_takes_goes_first():
    consul = holding(BOUND)
    changes = (gone("a", "service-router", 11), gone("old"))
    write_entries(changes, consul, quiet)
    assert consul.done == ["delete http-route old", "delete service-router a"]
    write_routes(changes, consul, quiet)
    assert len(consul.done) == 2


def test_in_order_means_in_order():
    consul = holding(BOUND)
    consul.store("service-router", "b")
    index = consul.entries["service-router", "b"].modify_index
    write_in_order((made("one"), gone("old"), gone("b", "service-router", index)), consul, quiet)
    assert consul.done == [
        "write http-route one",
        "one is bound",
        "delete http-route old",
        "delete service-router b",
    ]


def test_without_a_gateway_nothing_is_waited_for():
    consul = holding(NOBODY)
    write_routes((made("one"), gone("old")), consul, quiet)
    assert consul.done[-1] == "delete http-route old"


def test_a_route_that_is_not_bound_in_time_leaves_those_before_it(monkeypatch):
    monkeypatch.setattr(write, "_VERDICT_SECONDS", 0.0)
    consul = holding(NOT_YET)
    with pytest.raises(UnavailableError, match=r"does not bind the route one .* stay: route has not been accepted"):
        write_routes((made("one"), gone("old")), consul, quiet)
    assert ("http-route", "old") in consul.entries


def test_a_moved_index_of_our_own_route_is_no_conflict_and_that_of_others_is():
    consul = holding(BOUND)
    write_entries((gone("old", index=3),), consul, quiet)
    assert ("http-route", "old") not in consul.entries
    write_entries((gone("old", index=3),), consul, quiet)
    theirs = holding(BOUND, meta={})
    with pytest.raises(ConflictError):
        write_entries((gone("old", index=3),), theirs, quiet)
