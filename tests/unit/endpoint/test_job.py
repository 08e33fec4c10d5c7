"""The job of the endpoint: this very program on each node's own network, with its own token or none."""

from __future__ import annotations

import json
import sys

import pytest

from hms_nomad.compile.registry_job import compile_registry
from hms_nomad.platform.jobspecs import read_job
from hms_nomad.platform.model import Platform, RegistryEndpoint, ServerAddress
from tests.unit.cli.running import run

CONSUL = ServerAddress(address="http://127.0.0.1:9500", token_file="/home/ann/consul.token")


def compiled(registry=None, **fields):
    return compile_registry(read_job("registry"), Platform(**fields), registry or RegistryEndpoint())


def task_of(result):
    return result.job["TaskGroups"][0]["Tasks"][0]


def test_it_answers_at_one_port_of_every_node_that_it_runs_on():
    result = compiled(RegistryEndpoint(port=9000, instances=3))
    group = result.job["TaskGroups"][0]
    assert result.instances == 3
    assert group["Networks"] == [{"Mode": "host", "ReservedPorts": [{"Label": "http", "Value": 9000}]}]
    assert group["Services"][0]["Name"] == "hms-registry"
    assert group["Services"][0]["Checks"][0]["Path"] == "/health"
    words = ["registry", "serve", "--listen", "${NOMAD_ADDR_http}"]
    assert task_of(result)["Config"] == {"command": "hms-nomad", "args": words}


def test_it_runs_in_an_image_too():
    task = task_of(compiled(RegistryEndpoint(image="hms-nomad:1", command="/bin/hms-nomad")))
    assert (task["Driver"], task["Config"]["entrypoint"]) == ("docker", ["/bin/hms-nomad"])


def test_it_reaches_consul_as_nodes_do_and_has_no_token_of_an_operator():
    result = compiled(name="agency", consul=CONSUL)
    assert json.loads(task_of(result)["Templates"][0]["EmbeddedTmpl"])["consul"] == {"address": CONSUL.address}
    assert "ann" not in json.dumps(result.job)
    own = ServerAddress(address="https://consul.internal:8501", ca_file="/etc/ssl/agency.pem")
    context = json.loads(task_of(compiled(RegistryEndpoint(consul=own)))["Templates"][0]["EmbeddedTmpl"])
    assert context["consul"] == {"address": own.address, "ca_file": own.ca_file}


def test_where_consul_asks_for_a_token_nomad_gives_it_one():
    assert task_of(compiled())["Consul"] is None
    task = task_of(compiled(RegistryEndpoint(consul_token=True)))
    assert task["Consul"] == {"Cluster": "default"}
    assert task["Templates"][1]["DestPath"] == "secrets/consul.env"


@pytest.mark.parametrize("place", ["8550", "host:", ":8550", "host:99999", "::1:8550", "host:http"])
def test_an_address_that_nobody_can_listen_at_is_told(place):
    ran = run("registry", "serve", "--listen", place)
    assert ran.exit_code == 2
    assert "127.0.0.1:8550" in ran.stderr


def test_a_port_that_is_taken_is_told():
    ran = run("registry", "serve", "--listen", "192.0.2.1:8550")
    assert ran.exit_code == 2
    assert "cannot be had" in ran.stderr


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "hms_nomad.endpoint.server", raising=False)
    monkeypatch.delattr("hms_nomad.endpoint.server", raising=False)
    ran = run("registry", "serve")
    assert ran.exit_code == 2
    assert "pip install 'hms-nomad[registry]'" in ran.stderr
