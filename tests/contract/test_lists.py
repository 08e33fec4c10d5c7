"""The lists that show a whole fleet in one call."""

from __future__ import annotations

import pytest

from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad, job


@pytest.mark.contract("NomadClient.list_deployments")
def test_the_deployments_of_all_jobs_come_in_one_list_the_newest_first(nomad: Nomad) -> None:
    with_update = {"Update": {"MaxParallel": 1, "HealthCheck": "task_states", "MinHealthyTime": 1_000_000_000}}
    client = nomad.client()
    names = ("list-deployments-1", "list-deployments-2")
    for name in names:
        registration = client.register_job(job(name, **with_update), 0)
        evaluation = client.read_evaluation(registration.eval_id)
        while evaluation.status == "pending":
            evaluation = client.read_evaluation(registration.eval_id, index=evaluation.index, wait=5)
    found = client.list_deployments()
    own = [deployment.job_id for deployment in found if deployment.job_id in names]
    for name in names:
        client.stop_job(name, purge=True)
    assert own == ["list-deployments-2", "list-deployments-1"]
    assert all(deployment.groups["main"].desired_total == 1 for deployment in found if deployment.job_id in names)


@pytest.mark.contract("ConsulClient.all_checks")
def test_the_checks_of_all_instances_and_nodes_come_in_one_list(consul: Consul) -> None:
    consul.http(
        "PUT",
        "/v1/agent/service/register",
        {"ID": "listed-1", "Name": "listed", "Check": {"Name": "alive", "TTL": "60s", "Status": "critical"}},
    )
    found = consul.client().all_checks()
    consul.http("PUT", "/v1/agent/service/deregister/listed-1")
    (own,) = [check for check in found if check.service_id == "listed-1"]
    assert (own.service, own.name, own.status) == ("listed", "alive", "critical")
    assert own.node
    assert any(check.id == "serfHealth" and check.service == "" for check in found)
