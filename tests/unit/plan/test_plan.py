"""A plan says what would change, and nothing when nothing would."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.compile import compile_spec
from hms_nomad.compile.routes import permissions_of_router
from hms_nomad.plan.change import Action, ForeignObjectError
from hms_nomad.plan.diff import make_plan, promoting_itself, with_attempt
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.plan.normal import entry_differences
from hms_nomad.plan.observed import Observed, ObservedEntry, ObservedJob
from hms_nomad.platform.model import Platform
from tests.unit.specs import spec

NOTHING = Observed(job=None, entries={}, intentions={})


def desired_of(**changes):
    return compile_spec(spec(**changes), Platform())


def deployed(desired, *, count=None, settled=True, stopped=False):
    """What the servers hold after a deploy of ``desired``."""
    first = make_plan(desired, NOTHING)
    bodies = {(c.kind, c.name): c.body for c in first.changes}
    job = bodies.pop(("job", desired.service))
    if count is not None:
        job = {**job, "TaskGroups": [{**job["TaskGroups"][0], "Count": count}]}
    return Observed(
        job=ObservedJob(body=job, version=0, modify_index=7, stopped=stopped, settled=settled),
        entries={key: ObservedEntry(body, 5) for key, body in bodies.items() if key[0] != "service-intentions"},
        intentions={
            name: ObservedEntry(body, 5) for (kind, name), body in bodies.items() if kind == "service-intentions"
        },
    )


def test_a_first_deploy_creates_entries_then_intentions_then_the_job():
    plan = make_plan(desired_of(), NOTHING)
    assert [(change.kind, str(change.action)) for change in plan.effective] == [
        ("service-defaults", "create"),
        ("service-resolver", "create"),
        ("service-router", "create"),
        ("service-intentions", "create"),
        ("job", "create"),
    ]
    assert plan.release_before is None


def test_the_same_spec_again_is_an_empty_plan():
    desired = desired_of(uses=["tax-svc"], health={"path": "/health"})
    assert make_plan(desired, deployed(desired)).empty


def test_a_failed_last_deployment_is_not_nothing_to_do():
    desired = desired_of()
    plan = make_plan(desired, deployed(desired, settled=False))
    assert plan.unfinished
    assert not plan.empty


def test_another_attempt_of_an_equal_job_differs_for_nomad_but_not_for_the_next_plan():
    desired = desired_of()
    observed = deployed(desired, settled=False)
    change = next(c for c in make_plan(desired, observed).changes if c.kind == "job")
    again = with_attempt(change, observed.job)
    assert again.body != observed.job.body
    settled = Observed(
        ObservedJob(again.body, 1, 9, stopped=False, settled=True), observed.entries, observed.intentions
    )
    assert make_plan(desired, settled).empty


def test_a_deploy_keeps_the_count_that_the_autoscaler_chose_within_the_bounds():
    before = desired_of()
    after = desired_of(image="ghcr.io/gov/receipt:2.0")
    for running, registered in ((5, 5), (1, 2), (40, 10)):
        job = make_plan(after, deployed(before, count=running)).effective[-1].body
        assert job["TaskGroups"][0]["Count"] == registered
        assert job["TaskGroups"][0]["Update"]["Canary"] == registered


def test_a_moved_bound_is_a_change_even_when_only_the_count_violates_it():
    desired = desired_of()
    plan = make_plan(desired, deployed(desired, count=1))
    assert [change.kind for change in plan.effective] == ["job"]


def test_a_changed_variable_is_shown_and_a_secret_one_is_not():
    before = desired_of(env={"LOG_LEVEL": "info", "DB_PASSWORD": "one"})
    after = desired_of(env={"LOG_LEVEL": "debug", "DB_PASSWORD": "two"})
    fields = {f.path: (f.before, f.after) for f in make_plan(after, deployed(before)).effective[-1].fields}
    assert fields["TaskGroups.app.Tasks.app.Env.LOG_LEVEL"] == ("info", "debug")
    assert fields["TaskGroups.app.Tasks.app.Env.DB_PASSWORD"] == ("(hidden)", "(hidden)")


def test_a_stopped_service_is_created_again_against_its_index():
    desired = desired_of()
    job = make_plan(desired, deployed(desired, stopped=True)).effective[-1]
    assert (job.action, job.index) == (Action.CREATE, 7)


def test_objects_of_others_are_refused():
    desired = desired_of()
    observed = deployed(desired)
    foreign = ObservedJob({**observed.job.body, "Meta": {}}, 0, 7, stopped=False, settled=True)
    with pytest.raises(ForeignObjectError, match="was not made by hms-nomad"):
        make_plan(desired, Observed(foreign, observed.entries, observed.intentions))


def test_what_consul_adds_and_rewrites_is_no_difference():
    written = {"Kind": "service-router", "Name": "a", "Routes": [{"Destination": {"RequestTimeout": "6000ms"}}]}
    stored = {
        **written,
        "Routes": [{"Match": None, "Destination": {"RequestTimeout": "6s", "NumRetries": 0}}],
        "CreateIndex": 3,
        "ModifyIndex": 9,
        "Hash": 11,
    }
    assert entry_differences(stored, written) == ()


def test_a_list_of_one_in_an_extension_is_kept_by_consul_without_the_list():
    patch = {"ResourceFilter": {"ResourceType": "cluster"}, "Op": "add", "Path": "/a", "Value": 0}
    written = {"EnvoyExtensions": [{"Name": "builtin/property-override", "Arguments": {"Patches": [patch]}}]}
    stored = {"EnvoyExtensions": [{"Name": "builtin/property-override", "Arguments": {"Patches": patch}}]}
    other = {"EnvoyExtensions": [{"Name": "builtin/property-override", "Arguments": {"Patches": [patch, patch]}}]}
    assert entry_differences(stored, written) == ()
    assert entry_differences(stored, other) != ()


def test_a_hand_edit_of_an_entry_is_a_difference():
    desired = desired_of()
    observed = deployed(desired)
    key = ("service-defaults", "receipt-svc")
    edited = {**observed.entries[key].body, "MaxInboundConnections": 1}
    entries = {**observed.entries, key: ObservedEntry(edited, 6)}
    change = make_plan(desired, Observed(observed.job, entries, observed.intentions)).effective[0]
    assert [(f.path, f.before, f.after) for f in change.fields] == [("MaxInboundConnections", 1, None)]
    assert change.index == 6


class TestSharedIntentions:
    """One service-intentions entry holds what the owner allows, what callers use, and what operators wrote."""

    def test_a_caller_gets_exactly_the_routes_of_its_dependency(self):
        receipt = desired_of()
        router = next(entry.body for entry in receipt.entries if entry.kind == "service-router")
        payment = desired_of(name="payment-svc", uses=["receipt-svc"])
        merged = merged_intentions(payment, {}, {"receipt-svc": router})
        source = merged["receipt-svc"]["Sources"][0]
        assert source["Name"] == "payment-svc"
        assert source["Permissions"][0]["HTTP"] == {"PathPrefix": "/receipt", "Methods": ["POST"]}

    def test_the_owner_keeps_its_callers_and_gives_them_its_new_routes(self):
        stored = merged_intentions(desired_of(name="payment-svc", uses=["receipt-svc"]), {}, {})
        changed = desired_of(routes=[{"path": "/v2"}])
        sources = {s["Name"]: s for s in merged_intentions(changed, stored, {})["receipt-svc"]["Sources"]}
        assert sources["payment-svc"]["Permissions"][0]["HTTP"] == {"PathPrefix": "/v2"}
        assert sources["*"]["Action"] == "deny"

    def test_a_dropped_dependency_takes_back_only_its_own_right(self):
        both = desired_of(allow=["portal"])
        stored = merged_intentions(both, {}, {})
        stored |= merged_intentions(desired_of(name="payment-svc", uses=["receipt-svc"]), stored, {})
        merged = merged_intentions(desired_of(name="payment-svc"), stored, {})
        assert [s["Name"] for s in merged["receipt-svc"]["Sources"]] == ["*", "portal"]

    def test_a_source_that_an_operator_wrote_is_left_alone(self):
        operators = {
            "Kind": "service-intentions",
            "Name": "receipt-svc",
            "Sources": [{"Name": "legacy", "Action": "allow"}],
        }
        merged = merged_intentions(desired_of(), {"receipt-svc": operators}, {})
        assert {"Name": "legacy", "Action": "allow"} in merged["receipt-svc"]["Sources"]

    def test_a_right_that_both_sides_declare_outlives_either(self):
        owner = desired_of(allow=["payment-svc"])
        stored = merged_intentions(owner, {}, {})
        stored |= merged_intentions(desired_of(name="payment-svc", uses=["receipt-svc"]), stored, {})
        without_use = merged_intentions(desired_of(name="payment-svc"), stored, {})
        assert "payment-svc" in [s["Name"] for s in without_use["receipt-svc"]["Sources"]]

    def test_a_route_for_everything_needs_no_permissions(self):
        assert permissions_of_router({"Routes": [{"Match": {"HTTP": {"PathPrefix": "/"}}}]}) == ()


def test_a_repair_of_a_hand_edited_job_needs_nobody_who_promotes_it():
    desired = desired_of()
    observed = deployed(desired)
    change = next(c for c in make_plan(desired, observed).changes if c.kind == "job")
    again = promoting_itself(change)
    assert again.body["TaskGroups"][0]["Update"]["AutoPromote"] is True
    stored = Observed(ObservedJob(again.body, 1, 9, stopped=False, settled=True), observed.entries, observed.intentions)
    assert make_plan(desired, stored).empty


def test_a_first_registration_waits_for_nobody_anyway():
    change = next(c for c in make_plan(desired_of(), NOTHING).changes if c.kind == "job")
    assert promoting_itself(change) is change


@pytest.mark.parametrize("routes", [[{"path": "/"}], [{"path": "/"}, {"path": "/x", "methods": ["POST"]}]])
def test_a_caller_and_the_owner_write_the_same_rights_where_everything_is_answered(routes):
    owner, caller = desired_of(routes=routes), desired_of(name="portal", uses=["receipt-svc"])
    observed = deployed(owner)
    after = {c.name: c.body for c in make_plan(caller, observed).changes if c.kind == "service-intentions"}
    stored = {name: ObservedEntry(body, 6) for name, body in after.items()}
    again = make_plan(owner, Observed(observed.job, observed.entries, {**observed.intentions, **stored}))
    assert again.empty


def test_a_deployment_that_still_runs_is_waited_for_and_no_change():
    desired = desired_of()
    observed = deployed(desired, settled=False)
    plan = make_plan(desired, replace(observed, job=replace(observed.job, under_way=True)))
    assert (plan.waits, plan.empty) == (True, False)
