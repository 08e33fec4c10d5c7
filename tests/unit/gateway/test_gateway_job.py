"""The platform's gateway as a job: it runs Envoy as the platform's sidecars do, and changes only when it must."""

from __future__ import annotations

import json

import pytest

from hms_nomad.compile.gateway import filled
from hms_nomad.compile.proxy_job import compile_egress, compile_gateway
from hms_nomad.platform.jobspecs import read_job, read_text
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.platform.model_proxies import Egress, Gateway, GatewayTls, Sidecar

PROCESS = Sidecar(driver="raw_exec")
PROXY = (read_job("proxy"), read_job("proxy.envoy"), read_text("proxy.sh"))


def compiled(gateway=None, **fields):
    platform = Platform(**({"sidecar": PROCESS} | fields))
    parts = (*PROXY, read_job("gateway.envoy"), read_text("gateway.lua"))
    return compile_gateway(*parts, platform, gateway or Gateway())


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
    assert task_of(compiled(Gateway(drain="0s")))["Config"]["command"] == "/usr/local/bin/envoy"
    container = task_of(compiled(sidecar=Sidecar(driver="docker", image="envoy:1")))
    assert container["Driver"] == "docker"
    assert container["Config"]["image"] == "envoy:1"
    assert container["Config"]["network_mode"] == "host"


def test_envoy_gets_time_to_end_what_it_answers():
    words = ["${NOMAD_TASK_DIR}/proxy.sh", "90", "/usr/local/bin/envoy", "-c"]
    for driver in ("exec", "raw_exec"):
        task = task_of(compiled(Gateway(drain="90s"), sidecar=Sidecar(driver=driver)))
        assert task["Config"]["command"] == "/bin/bash"
        assert task["Config"]["args"][:4] == words
        assert task["Templates"][-1]["DestPath"] == "local/proxy.sh"
        assert task["KillTimeout"] == 95_000_000_000
    container = task_of(compiled(sidecar=Sidecar(driver="docker", image="envoy:1")))["Config"]
    assert container["args"][:5] == ["bash", "${NOMAD_TASK_DIR}/proxy.sh", "20", "envoy", "-c"]


def test_an_envoy_without_a_shell_runs_alone():
    task = task_of(compiled(Gateway(drain="0s"), sidecar=Sidecar(driver="docker", image="envoy:distroless")))
    assert task["Config"]["args"][0] == "-c"
    assert [one["DestPath"] for one in task["Templates"]] == ["secrets/envoy.json"]
    assert task["KillTimeout"] == 5_000_000_000


def test_a_container_without_an_image_is_refused_in_words():
    with pytest.raises(PlatformError, match=r"sidecar\.image"):
        compiled(sidecar=Sidecar(driver="docker"))


def test_only_a_low_port_makes_envoy_privileged():
    docker = Sidecar(driver="docker", image="envoy:1")
    assert task_of(compiled(sidecar=docker))["User"] == ""
    assert task_of(compiled(Gateway(port=80), sidecar=docker))["User"] == "root"
    assert task_of(compiled(sidecar=Sidecar(driver="exec")))["User"] == ""
    # Nomad denies root to exec, whose nobody may open such a port.
    assert task_of(compiled(Gateway(port=443), sidecar=Sidecar(driver="exec")))["User"] == ""


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


def listener_of(result):
    templates = {one["DestPath"]: one["EmbeddedTmpl"] for one in task_of(result)["Templates"]}
    bootstrap = json.loads(templates["secrets/envoy.json"])
    return bootstrap, next(one for one in bootstrap["static_resources"]["listeners"] if one["name"] == "front")


def test_the_listener_is_our_own_and_its_routes_are_consuls():
    bootstrap, listener = listener_of(compiled(Gateway(port=9090)))
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["rds"]["route_config_name"] == "9090"
    assert "lds_config" not in bootstrap["dynamic_resources"]
    assert "transport_socket" not in listener["filter_chains"][0]
    assert [one.kind for one in compiled().entries] == ["service-defaults", "api-gateway", "http-route"]


def test_a_certificate_comes_from_vault_and_is_renewed_without_a_restart():
    result = compiled(Gateway(tls=GatewayTls(names=("api.agency.gov", "api"), ttl="24h")))
    _, listener = listener_of(result)
    task = task_of(result)
    asked = task["Templates"][0]["EmbeddedTmpl"]
    assert '"pki/issue/hms-gateway" "common_name=api.agency.gov" "alt_names=api.agency.gov,api" "ttl=24h"' in asked
    assert {one["ChangeMode"] for one in task["Templates"][:2]} == {"noop"}
    assert task["Vault"] == {"Role": "hms-gateway", "ChangeMode": "noop"}
    assert listener["filter_chains"][0]["transport_socket"]["name"] == "envoy.transport_sockets.tls"


def test_each_request_is_logged_with_its_id_and_who_answered_unless_that_is_not_wanted():
    def manager(gateway):
        return listener_of(compiled(gateway))[1]["filter_chains"][0]["filters"][0]["typed_config"]

    fields = manager(Gateway())["access_log"][0]["typed_config"]["log_format"]["json_format"]
    assert fields["request_id"] == "%REQ(X-REQUEST-ID)%"
    assert fields["answered_by"] == "%UPSTREAM_PEER_URI_SAN%"
    assert "access_log" not in manager(Gateway(access_log=False))


def test_a_limit_stands_before_all_other_filters():
    _, listener = listener_of(compiled(Gateway(limit="90/m")))
    first = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]
    assert first["token_bucket"] == {"max_tokens": 90, "tokens_per_fill": 90, "fill_interval": "60s"}


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
    egress = compile_egress(*PROXY, platform, Egress())
    service = egress.job["TaskGroups"][0]["Services"][0]
    assert (egress.job["ID"], service["Kind"]) == ("hms-egress", "terminating-gateway")
    assert egress.job["Meta"]["platform"] == "egress"
    assert egress.entry.kind == "terminating-gateway"
    assert egress.entry.body["Services"] == []


def test_several_on_a_node_share_its_port_and_have_one_each_besides():
    result = compiled(Gateway(instances=4, per_node=2))
    group = result.job["TaskGroups"][0]
    assert group["Networks"][0]["ReservedPorts"] == [{"Label": "listener", "Value": 8080, "IgnoreCollision": True}]
    assert group["Constraints"] == [
        {"Operand": "distinct_property", "LTarget": "${node.unique.id}", "RTarget": "2"},
    ]
    assert group["Services"][0]["Meta"]["own"] == "${NOMAD_ADDR_own}"
    (own,) = listener_of(result)[1]["additional_addresses"]
    assert own["address"]["socket_address"]["port_value"] == "{{ env `NOMAD_PORT_own` }}"
    alone = compiled(Gateway(instances=4)).job["TaskGroups"][0]
    assert "Constraints" not in alone
    assert "IgnoreCollision" not in alone["Networks"][0]["ReservedPorts"][0]
