"""Jobs, versions, counts and nodes of a real Nomad: who wins a compare-and-set, and what an answer means."""

from __future__ import annotations

from typing import Any

import pytest

from hms_nomad.clients.errors import ConflictError, InvalidRequestError, NotFoundError
from hms_nomad.clients.nomad import NomadClient
from tests.contract.embedded_agent import BOTH
from tests.contract.jobs import Jobs
from tests.contract.nomad_server import Nomad, job
from tests.waiting import eventually

pytestmark = BOTH


@pytest.mark.contract("NomadClient.leader", "NomadClient.version")
def test_the_cluster_says_who_leads_and_what_it_is(client: NomadClient) -> None:
    leader = client.leader()

    assert leader is not None
    assert leader.rpartition(":")[2].isdigit()
    assert client.version().count(".") == 2


@pytest.mark.contract("NomadClient.ready_nodes", "NomadClient.read_node")
def test_nodes_have_drivers_and_attributes(client: NomadClient) -> None:
    (node,) = client.ready_nodes()

    assert client.read_node(node.id).attributes == node.attributes
    assert (node.name, node.datacenter, node.node_pool) == ("contract", "dc1", "default")
    assert (node.status, node.eligible) == ("ready", True)
    assert "raw_exec" in node.drivers
    assert node.attributes["kernel.name"] == "linux"
    assert node.address == "127.0.0.1"
    with pytest.raises(NotFoundError):
        client.read_node("00000000-0000-0000-0000-000000000000")


@pytest.mark.contract("NomadClient.list_namespaces")
def test_namespaces_are_listed(nomad: Nomad, client: NomadClient) -> None:
    nomad.http("PUT", "/v1/namespace/team-a", {"Name": "team-a", "Description": "Team A", "Meta": {"owner": "a"}})

    found = {namespace.name: namespace for namespace in client.list_namespaces()}

    assert set(found) == {"default", "team-a"}
    assert (found["team-a"].description, found["team-a"].meta) == ("Team A", {"owner": "a"})


@pytest.mark.contract("NomadClient.register_job", "NomadClient.read_job", "NomadClient.list_jobs")
def test_a_job_of_another_namespace_is_not_seen(nomad: Nomad, client: NomadClient) -> None:
    nomad.http("PUT", "/v1/namespace/team-b", {"Name": "team-b"})
    other = NomadClient(nomad.client()._transport.connection, namespace="team-b")
    body = {**job("elsewhere"), "Namespace": "team-b"}

    other.register_job(body, modify_index=0)

    stored = other.read_job("elsewhere")
    assert stored is not None
    assert stored.namespace == "team-b"
    assert [found.id for found in other.list_jobs()] == ["elsewhere"]
    assert client.read_job("elsewhere") is None
    assert client.list_jobs("elsewhere") == ()
    other.stop_job("elsewhere", purge=True)


@pytest.mark.contract("NomadClient.register_job", "NomadClient.read_job", "NomadClient.list_jobs")
def test_a_job_is_read_as_it_was_registered(client: NomadClient, jobs: Jobs) -> None:
    body = {**jobs.struct("as-registered"), "Meta": {"managed-by": "hms-nomad", "odd": "ü\n$(x) %2F"}}

    registration = client.register_job(body, modify_index=0)

    stored = client.read_job("as-registered")
    assert stored is not None
    assert registration.eval_id
    assert stored.modify_index == registration.modify_index
    assert (stored.id, stored.namespace, stored.type, stored.version) == ("as-registered", "default", "service", 0)
    assert (stored.stop, stored.tag) == (False, "")
    assert stored.meta == body["Meta"]
    assert stored.body["TaskGroups"][0]["Name"] == "main"
    (summary,) = client.list_jobs("as-reg")
    assert (summary.id, summary.meta, summary.modify_index) == ("as-registered", body["Meta"], stored.modify_index)
    assert client.read_job("no-such-job") is None
    assert client.list_jobs("no-such-job") == ()


@pytest.mark.contract("NomadClient.register_job")
def test_index_0_creates_and_a_stale_index_loses(client: NomadClient, jobs: Jobs) -> None:
    first = client.register_job(jobs.struct("cas"), modify_index=0)

    with pytest.raises(ConflictError):
        client.register_job(job("cas"), modify_index=0)

    client.register_job({**job("cas"), "Priority": 60}, modify_index=first.modify_index)
    with pytest.raises(ConflictError, match="register job cas"):
        client.register_job({**job("cas"), "Priority": 70}, modify_index=first.modify_index)
    stored = client.read_job("cas")
    assert stored is not None
    assert (stored.version, stored.body["Priority"]) == (1, 60)


@pytest.mark.contract("NomadClient.register_job")
def test_an_index_of_a_job_that_is_not_there_loses(client: NomadClient) -> None:
    with pytest.raises(ConflictError):
        client.register_job(job("never-there"), modify_index=7)


@pytest.mark.contract("NomadClient.register_job")
def test_the_source_of_a_job_is_never_submitted(nomad: Nomad, client: NomadClient, jobs: Jobs) -> None:
    client.register_job(jobs.struct("no-source"), modify_index=0)

    with pytest.raises(OSError, match="404"):
        nomad.http("GET", "/v1/job/no-source/submission?version=0")


def _without_groups() -> dict[str, Any]:
    return {**job("broken"), "TaskGroups": []}


@pytest.mark.contract("NomadClient.register_job", "NomadClient.validate_job")
def test_what_nomad_refuses_is_an_invalid_request(client: NomadClient) -> None:
    with pytest.raises(InvalidRequestError, match=r"(?i)task groups"):
        client.register_job(_without_groups(), modify_index=0)

    verdict = client.validate_job(_without_groups())

    assert any("task groups" in error.lower() for error in verdict.errors)
    assert client.read_job("broken") is None


@pytest.mark.contract("NomadClient.validate_job")
def test_a_good_job_is_judged_good_and_not_stored(client: NomadClient) -> None:
    verdict = client.validate_job(job("judged"))

    assert verdict.errors == ()
    assert client.read_job("judged") is None


@pytest.mark.contract("NomadClient.validate_job")
def test_a_doubtful_job_is_judged_with_a_warning(client: NomadClient) -> None:
    body = job("doubtful")
    body["TaskGroups"][0]["Tasks"][0]["Templates"] = [{"EmbeddedTmpl": "x", "DestPath": "local/x", "Perms": "888"}]

    assert client.validate_job(body).errors or client.validate_job(body).warnings


@pytest.mark.contract("NomadClient.plan_job", "NomadClient.register_job")
def test_a_plan_counts_what_would_happen(client: NomadClient, jobs: Jobs) -> None:
    new = client.plan_job(job("planned", Count=3))
    assert new.updates["main"]["Place"] == 3
    assert new.failed == {}
    assert new.modify_index == 0
    assert client.read_job("planned") is None

    registration = client.register_job(jobs.struct("planned"), modify_index=0)
    jobs.settled("planned")
    changed = client.plan_job(job("planned", "while :; do sleep 1; done"))

    assert changed.updates["main"]["DestructiveUpdate"] == 1
    assert changed.modify_index == registration.modify_index
    assert changed.diff is not None
    assert changed.diff["Type"] == "Edited"
    assert client.plan_job(job("planned")).diff["Type"] == "None"  # type: ignore[index]


@pytest.mark.contract("NomadClient.plan_job")
def test_a_plan_says_why_a_group_finds_no_node(client: NomadClient) -> None:
    body = job("hungry")
    body["TaskGroups"][0]["Tasks"][0]["Resources"] = {"CPU": 20, "MemoryMB": 10_000_000}
    (failure,) = client.plan_job(body).failed.values()
    assert failure.reason() == "memory is exhausted on 1 node (of 1 node looked at)"

    body = {**job("picky"), "Constraints": [{"LTarget": "${attr.kernel.name}", "RTarget": "plan9", "Operand": "="}]}
    (failure,) = client.plan_job(body).failed.values()
    assert failure.reason() == "1 node fail constraint: ${attr.kernel.name} = plan9 (of 1 node looked at)"

    body = {**job("far-away"), "Datacenters": ["moon"]}
    (failure,) = client.plan_job(body).failed.values()
    assert failure.reason() == "no node in these datacenters and this node pool is ready for work"


@pytest.mark.contract("NomadClient.read_evaluation")
def test_an_evaluation_ends_with_its_deployment_or_its_failure(client: NomadClient, jobs: Jobs) -> None:
    registration = client.register_job(jobs.struct("evaluated"), modify_index=0)
    evaluation = client.read_evaluation(registration.eval_id)
    while evaluation.status == "pending":
        evaluation = client.read_evaluation(registration.eval_id, evaluation.index, wait=30)

    assert (evaluation.status, evaluation.job_id, evaluation.triggered_by) == (
        "complete",
        "evaluated",
        "job-register",
    )
    assert evaluation.deployment_id == jobs.deployment("evaluated").id
    assert evaluation.failed == {}

    hungry = jobs.struct("evaluated-hungry")
    hungry["TaskGroups"][0]["Tasks"][0]["Resources"] = {"CPU": 20, "MemoryMB": 10_000_000}
    registration = client.register_job(hungry, modify_index=0)
    evaluation = eventually(
        lambda: client.read_evaluation(registration.eval_id), lambda found: found.status == "complete"
    )
    assert evaluation.blocked_eval
    assert "memory" in evaluation.failed["main"].reason()
    with pytest.raises(NotFoundError):
        client.read_evaluation("00000000-0000-0000-0000-000000000000")


@pytest.mark.contract("NomadClient.job_versions", "NomadClient.revert_job")
def test_a_job_goes_back_to_an_older_version(client: NomadClient, jobs: Jobs) -> None:
    first = client.register_job(jobs.struct("reverted"), modify_index=0)
    client.register_job({**job("reverted"), "Priority": 60}, modify_index=first.modify_index)
    assert [found.version for found in client.job_versions("reverted")] == [1, 0]
    assert client.job_versions("no-such-job") == ()

    with pytest.raises(ConflictError):
        client.revert_job("reverted", version=0, prior_version=0)
    with pytest.raises(ConflictError):
        client.revert_job("reverted", version=1, prior_version=1)
    with pytest.raises(NotFoundError):
        client.revert_job("reverted", version=9, prior_version=1)
    with pytest.raises(NotFoundError):
        client.revert_job("no-such-job", version=0, prior_version=1)

    reverted = client.revert_job("reverted", version=0, prior_version=1)

    assert reverted.eval_id
    stored = client.read_job("reverted")
    assert stored is not None
    assert (stored.version, stored.body["Priority"]) == (2, 50)


@pytest.mark.contract("NomadClient.tag_version", "NomadClient.untag_version", "NomadClient.job_versions")
def test_a_version_has_a_name_until_it_is_taken_away(client: NomadClient, jobs: Jobs) -> None:
    first = client.register_job(jobs.struct("tagged"), modify_index=0)
    client.register_job({**job("tagged"), "Priority": 60}, modify_index=first.modify_index)

    client.tag_version("tagged", 0, "r-1", "the good one")
    client.tag_version("tagged", 0, "r-1", "the very good one")

    assert {found.version: found.tag for found in client.job_versions("tagged")} == {0: "r-1", 1: ""}
    with pytest.raises(ConflictError):
        client.tag_version("tagged", 1, "r-1")
    with pytest.raises(NotFoundError):
        client.tag_version("tagged", 9, "r-9")
    client.untag_version("tagged", "r-1")
    client.untag_version("tagged", "r-1")
    client.tag_version("tagged", 1, "r-1")
    assert {found.version: found.tag for found in client.job_versions("tagged")} == {0: "", 1: "r-1"}


@pytest.mark.contract("NomadClient.stop_job")
def test_a_stopped_job_is_remembered_until_it_is_purged(client: NomadClient) -> None:
    client.register_job(job("stopped"), modify_index=0)

    assert client.stop_job("stopped")
    stored = client.read_job("stopped")
    assert stored is not None
    assert stored.stop
    assert client.stop_job("stopped", purge=True)
    assert client.read_job("stopped") is None
    assert client.stop_job("no-such-job") == ""


@pytest.mark.contract("NomadClient.scale_job", "NomadClient.scale_status", "NomadClient.scaling_policies")
def test_a_group_is_scaled_within_its_bounds(client: NomadClient, jobs: Jobs) -> None:
    scaling = {"Min": 0, "Max": 3, "Enabled": True, "Policy": {"cooldown": "1m"}}
    client.register_job(jobs.struct("scaled", Scaling=scaling), modify_index=0)
    jobs.settled("scaled")

    registration = client.scale_job("scaled", "main", 2, "more load")

    assert registration.eval_id
    status = client.scale_status("scaled")
    assert status is not None
    assert status["main"].desired == 2
    event = status["main"].events[0]
    assert (event.previous_count, event.count, event.message, event.error) == (1, 2, "more load", False)
    assert event.time_ns > 0
    (policy,) = client.scaling_policies("scaled")
    assert (policy.job_id, policy.group, policy.type, policy.enabled) == ("scaled", "main", "horizontal", True)
    assert (policy.min, policy.max, policy.policy) == (0, 3, {"cooldown": "1m"})
    assert policy in client.scaling_policies()
    assert client.scaling_policies("no-such-job") == ()
    assert client.scale_status("no-such-job") is None
    jobs.settled("scaled", version=1)
    with pytest.raises(InvalidRequestError, match="maximum"):
        client.scale_job("scaled", "main", 4, "too much")
    with pytest.raises(InvalidRequestError, match="does not exist"):
        client.scale_job("scaled", "no-such-group", 1, "nobody")
    with pytest.raises(NotFoundError):
        client.scale_job("no-such-job", "main", 1, "nobody")


@pytest.mark.contract("NomadClient.scale_job")
def test_a_job_is_not_scaled_during_its_deployment(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("deploying")
    body["Update"]["MinHealthyTime"] = 200_000_000_000
    client.register_job(body, modify_index=0)
    jobs.deployment("deploying")

    with pytest.raises(ConflictError, match="active deployment"):
        client.scale_job("deploying", "main", 2, "too early")


@pytest.mark.contract("NomadClient.dispatch_job")
def test_a_parameterized_job_runs_once_for_each_token(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("dispatched", 'echo "$NOMAD_META_who: $(cat local/in)"')
    body |= {"Type": "batch", "ParameterizedJob": {"Payload": "optional", "MetaRequired": ["who"]}, "Update": None}
    body["TaskGroups"][0]["Tasks"][0]["DispatchPayload"] = {"File": "in"}
    client.register_job(body, modify_index=0)

    first = client.dispatch_job("dispatched", {"who": "tax-team"}, b"hello", idempotency_token="t-1")
    again = client.dispatch_job("dispatched", {"who": "tax-team"}, b"hello", idempotency_token="t-1")

    assert first.job_id.startswith("dispatched/dispatch-")
    assert first.eval_id
    assert (again.job_id, again.eval_id) == (first.job_id, "")
    child = client.read_job(first.job_id)
    assert child is not None
    assert child.meta == {"who": "tax-team"}
    allocation = jobs.started(first.job_id)
    assert list(client.logs(allocation.id, "work", follow=True)) == ["tax-team: hello"]
    with pytest.raises(InvalidRequestError, match="who"):
        client.dispatch_job("dispatched", {})
    with pytest.raises(InvalidRequestError, match="unpermitted"):
        client.dispatch_job("dispatched", {"who": "x", "else": "y"})


@pytest.mark.contract("NomadClient.dispatch_job")
def test_other_jobs_cannot_be_dispatched(client: NomadClient, jobs: Jobs) -> None:
    client.register_job(jobs.struct("plain"), modify_index=0)

    with pytest.raises(InvalidRequestError, match="parameterized"):
        client.dispatch_job("plain", {})
    with pytest.raises(NotFoundError):
        client.dispatch_job("no-such-job", {})


@pytest.mark.contract("NomadClient.read_job")
@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_an_id_that_would_ask_another_endpoint_is_refused(client: NomadClient, job_id: str) -> None:
    with pytest.raises(InvalidRequestError):
        client.read_job(job_id)


@pytest.mark.contract("NomadClient.read_job", "NomadClient.register_job")
@pytest.mark.parametrize("job_id", ["with/slash", "odd-%2F", "ask?x=y", "hash#x"])
def test_an_id_with_odd_signs_is_that_job_and_no_other(client: NomadClient, jobs: Jobs, job_id: str) -> None:
    client.register_job(jobs.struct(job_id), modify_index=0)

    stored = client.read_job(job_id)

    assert stored is not None
    assert stored.id == job_id


@pytest.mark.contract("NomadClient.register_job")
def test_a_registration_whose_answer_was_lost_is_found_by_nomads_own_comparison(
    client: NomadClient, jobs: Jobs
) -> None:
    scaling = {"Enabled": True, "Min": 1, "Max": 3, "Policy": {"cooldown": "1m"}}
    body = {**jobs.struct("lost-answer", Scaling=scaling), "Meta": {"of": "mine"}}
    first = client.register_job(body, modify_index=0)

    found = client._registered(body, 0)
    assert found is not None
    assert (found.eval_id, found.modify_index) == (first.eval_id, first.modify_index)
    assert client._registered(body, first.modify_index) is None, "nothing was written since"
    assert client._registered({**body, "Meta": {"of": "others"}}, 0) is None, "somebody else's job is there"
