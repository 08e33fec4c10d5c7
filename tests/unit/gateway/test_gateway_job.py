"""The platform's gateway as a job: it runs Envoy as the platform's sidecars do, and changes only when it must."""

from __future__ import annotations

import json

import pytest

from hms_nomad.compile.gateway import filled
from hms_nomad.compile.proxy_job import compile_egress, compile_gateway
from hms_nomad.platform.jobspecs import read_job
from hms_nomad.platform.model import Egress, Gateway, Platform, PlatformError, Sidecar

PROCESS = Sidecar(driver="raw_exec")


def compiled(gateway=None, **fields):
    platform = Platform(**({"sidecar": PROCESS} | fields))
    return compile_gateway(read_job("proxy"), read_job("proxy.envoy"), platform, gateway or Gateway())


def task_of(result):
    return result.job["TaskGroups"][0]["Tasks"][0]


def test_no_placeholder_is_left_in_the_job():
    result = compiled()
    text = json.dumps(result.job).replace("{{", "").replace("}}", "")
    assert "{name}" not in text
    assert result.job["ID"] == "hms-gateway"
    assert result.job["TaskGroups"][0]["Count"] == 1


def test_the_listener_and_the_reserved_port_are_one():
    result = compiled(Gateway(port=9443))
    port = result.job["TaskGroups"][0]["Networks"][0]["ReservedPorts"][0]["Value"]
    assert port == result.entry.body["Listeners"][0]["Port"] == 9443


def test_envoy_runs_as_the_sidecars_do():
    assert task_of(compiled())["Config"]["command"] == "/usr/local/bin/envoy"
    container = task_of(compiled(sidecar=Sidecar(driver="docker", image="envoy:1")))
    assert container["Driver"] == "docker"
    assert container["Config"]["image"] == "envoy:1"
    assert container["Config"]["network_mode"] == "host"


def test_a_container_without_an_image_is_refused_in_words():
    with pytest.raises(PlatformError, match=r"sidecar\.image"):
        compiled(sidecar=Sidecar(driver="docker"))


def test_only_a_low_port_makes_envoy_privileged():
    docker = Sidecar(driver="docker", image="envoy:1")
    assert task_of(compiled(sidecar=docker))["User"] == ""
    assert task_of(compiled(Gateway(port=80), sidecar=docker))["User"] == "root"
    assert task_of(compiled(sidecar=Sidecar(driver="exec")))["User"] == ""
    assert task_of(compiled(Gateway(port=443), sidecar=Sidecar(driver="exec")))["User"] == "root"


def test_the_digest_follows_everything_but_the_count():
    assert compiled(Gateway(instances=3)).digest == compiled().digest
    assert compiled(Gateway(cpu=300)).digest != compiled().digest
    assert compiled(Gateway(port=81)).digest != compiled().digest


def test_envoys_configuration_names_the_instance_and_asks_consul_on_its_node():
    task = task_of(compiled())
    bootstrap = json.loads(task["Templates"][0]["EmbeddedTmpl"])
    assert bootstrap["node"]["id"] == "_nomad-task-{{ env `NOMAD_ALLOC_ID` }}-group-gateway-hms-gateway-listener"
    assert task["Env"]["CONSUL_GRPC_HOST"] == "127.0.0.1"
    assert task["Env"]["CONSUL_GRPC_PORT"] == "${attr.consul.grpc}"
    other = task_of(compiled(Gateway(consul_grpc="10.0.0.7:8502")))
    assert (other["Env"]["CONSUL_GRPC_HOST"], other["Env"]["CONSUL_GRPC_PORT"]) == ("10.0.0.7", "8502")


def test_a_placeholder_keeps_the_type_of_its_value_and_leaves_other_languages_alone():
    template = {"a": "{port}", "b": "on {port}", "c": ["${NOMAD_PORT_x}", "{{ env `X` }}"], "d": 7}
    assert filled(template, {"port": 80}) == {
        "a": 80,
        "b": "on 80",
        "c": ["${NOMAD_PORT_x}", "{{ env `X` }}"],
        "d": 7,
    }
    with pytest.raises(KeyError):
        filled("{unknown}", {})


def test_the_egress_is_the_same_job_with_another_calling():
    platform = Platform(sidecar=PROCESS)
    egress = compile_egress(read_job("proxy"), read_job("proxy.envoy"), platform, Egress())
    service = egress.job["TaskGroups"][0]["Services"][0]
    assert (egress.job["ID"], service["Kind"]) == ("hms-egress", "terminating-gateway")
    assert egress.job["Meta"]["platform"] == "egress"
    assert egress.entry.kind == "terminating-gateway"
    assert egress.entry.body["Services"] == []
