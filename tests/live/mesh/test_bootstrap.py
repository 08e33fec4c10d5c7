"""Our Envoy configuration for gateways says to Consul what Consul's own says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hms_nomad.compile.proxy_job import compile_egress
from hms_nomad.platform.jobspecs import read_job, read_text
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Egress, Sidecar
from tests.binaries import binary
from tests.contract.consul_server import consul_process

pytestmark = pytest.mark.live


def test_it_asks_for_the_same_resources_in_the_same_way(tmp_path: Path) -> None:
    gateway = Egress(name="hms-gateway", consul_grpc="127.0.0.1:8502")
    platform = Platform(sidecar=Sidecar(driver="raw_exec"), egress=gateway)
    job = compile_egress(read_job("proxy"), read_job("proxy.envoy"), read_text("proxy.sh"), platform, gateway).job
    ours = json.loads(job["TaskGroups"][0]["Tasks"][0]["Templates"][0]["EmbeddedTmpl"])
    with consul_process(tmp_path) as consul:
        registration = {"ID": "gw-1", "Name": gateway.name, "Kind": "api-gateway", "Port": 8080, "Address": "127.0.0.1"}
        consul.http("PUT", "/v1/agent/service/register", registration)
        command = [binary("consul"), "connect", "envoy", "-gateway", "api", "-proxy-id", "gw-1", "-bootstrap"]
        addresses = ["-http-addr", consul.address, "-grpc-addr", f"127.0.0.1:{consul.grpc_port}"]
        done = subprocess.run(
            [*command, *addresses],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
    theirs = json.loads(done.stdout)
    assert ours["node"]["metadata"] == theirs["node"]["metadata"]
    assert ours["layered_runtime"] == theirs["layered_runtime"]
    assert _without_times(ours["dynamic_resources"]) == _without_times(theirs["dynamic_resources"])
    assert _agent(ours) == _agent(theirs)


def _agent(bootstrap: dict) -> dict:
    """The cluster that leads to Consul, but for its address."""
    cluster = next(one for one in bootstrap["static_resources"]["clusters"] if one["name"] == "local_agent")
    kept = ("name", "type", "connect_timeout", "typed_extension_protocol_options")
    return {key: cluster[key] for key in kept}


def _without_times(resources: dict) -> dict:
    """Ours gives up waiting for a first answer, so that a gateway without any route gets ready; and has a token."""
    found = json.loads(json.dumps(resources))
    for kind in ("lds_config", "cds_config"):
        found[kind].pop("initial_fetch_timeout")
    found["ads_config"]["grpc_services"].pop("initial_metadata")
    return found
