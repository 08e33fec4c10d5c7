"""Only what a directory deployed, and what is ours, is ever taken for having left it."""

from __future__ import annotations

import pytest

from hms_nomad.plan.change import OtherFleetError
from hms_nomad.workflows.deploying.prune import FleetId, fleet_of, leavers, remember
from tests.unit.workflows.servers import FakeConsul, FakeNomad, job, session

HERE = FleetId("services", "git.agency.gov/shop:services")
THERE = FleetId("services", "git.agency.gov/tax:services")


@pytest.fixture
def servers():
    nomad = FakeNomad(jobs={name: job(name) for name in ("auth", "portal", "tax")})
    nomad.jobs["foreign"] = job("foreign", meta={})
    nomad.jobs["stopped"] = job("stopped", stop=True)
    return session(nomad, FakeConsul())


def test_what_was_never_deployed_by_a_directory_does_not_leave_it(servers):
    assert leavers(servers, HERE, ["auth"]) == ()


def test_what_left_is_found_as_far_as_it_runs_and_is_ours(servers):
    assert remember(servers, HERE, ["auth", "portal", "foreign", "stopped", "gone"])
    assert leavers(servers, HERE, ["auth"]) == ("portal",)


def test_what_was_stopped_is_forgotten_and_what_came_is_added(servers):
    remember(servers, HERE, ["auth", "portal"])
    remember(servers, HERE, ["auth", "tax"], gone=["portal"])
    assert leavers(servers, HERE, []) == ("auth", "tax")


def test_another_place_of_the_same_name_is_another_fleet(servers):
    remember(servers, HERE, ["auth"])
    assert not remember(servers, THERE, ["tax"])
    with pytest.raises(OtherFleetError, match="--fleet"):
        leavers(servers, THERE, [])
    assert leavers(servers, HERE, []) == ("auth",)


def test_a_name_that_was_chosen_by_hand_holds_anywhere(servers):
    remember(servers, HERE, ["auth"])
    assert leavers(servers, FleetId("services"), []) == ("auth",)


def test_what_somebody_else_wrote_there_is_refused(servers):
    servers.consul.kv_put("hms-nomad/fleets/default/services", b"[]")
    with pytest.raises(OtherFleetError, match="cannot be read"):
        leavers(servers, HERE, [])


def test_a_directory_is_a_fleet_and_files_are_none(tmp_path):
    directory = tmp_path / "services"
    directory.mkdir()
    assert fleet_of([str(directory)]).name == "services"
    assert fleet_of([str(directory), str(directory)]) is None
    assert fleet_of([str(tmp_path / "a.hms.yml")]) is None
    assert fleet_of(["a.hms.yml", "b.hms.yml"], "shop") == FleetId("shop")
