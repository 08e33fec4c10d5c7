"""What a real Envoy, alone and as a sidecar of a real Consul, puts on its Prometheus page."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.clients.envoy import EnvoyStats
from hms_nomad.clients.errors import UnavailableError
from tests.binaries import binary
from tests.contract.consul_server import Consul
from tests.contract.envoy_server import envoy_process, sidecar_like
from tests.processes import Server, free_port
from tests.waiting import eventually


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def envoy(tmp_path: Path, ports: tuple[int, int]) -> Iterator[Server]:
    with envoy_process(tmp_path, sidecar_like(*ports), ports[0]) as server:
        yield server


@pytest.mark.contract("EnvoyStats.scrape")
def test_answers_are_counted_by_class_and_time(envoy: Server, ports: tuple[int, int]) -> None:
    inbound, admin = ports
    for path in ("/", "/", "/", "/broken", "/missing", "/missing"):
        _get(inbound, path)

    stats = EnvoyStats(path="/stats/prometheus")
    # Envoy merges a worker's histograms only when it flushes its statistics.
    sample = eventually(lambda: stats.scrape("127.0.0.1", admin), lambda sample: sample.latency[-1].count == 6)

    assert sample.requests == {"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 2, "5xx": 1}
    assert sample.total == 6
    bounds = [bucket.up_to_ms for bucket in sample.latency]
    counts = [bucket.count for bucket in sample.latency]
    assert bounds == sorted(bounds)
    assert bounds[-1] == math.inf
    assert counts == sorted(counts)
    assert sample.uptime_seconds is not None


@pytest.mark.contract("EnvoyStats.scrape")
def test_a_proxy_without_a_control_plane_says_nothing_of_one(envoy: Server, ports: tuple[int, int]) -> None:
    sample = EnvoyStats(path="/stats/prometheus").scrape("127.0.0.1", ports[1])

    assert sample.connected is None
    assert sample.config_updates.get("cds", 0) == 0


@pytest.mark.contract("EnvoyStats.scrape")
def test_a_frozen_proxy_is_unavailable(envoy: Server, ports: tuple[int, int]) -> None:
    with envoy.frozen(), pytest.raises(UnavailableError, match="in time"):
        EnvoyStats(path="/stats/prometheus", timeout=0.3).scrape("127.0.0.1", ports[1])


@pytest.mark.contract("EnvoyStats.scrape")
def test_a_page_that_is_none_is_unavailable(envoy: Server, ports: tuple[int, int]) -> None:
    with pytest.raises(UnavailableError, match="cannot be read"):
        EnvoyStats(path="/ready").scrape("127.0.0.1", ports[1])


@pytest.mark.contract("EnvoyStats.scrape")
def test_a_sidecar_of_consul_is_counted_under_the_same_names(local_consul: Consul, tmp_path: Path) -> None:
    page, admin, inbound = free_port(), free_port(), free_port()
    local_consul.http("PUT", "/v1/config", {"Kind": "service-defaults", "Name": "counted", "Protocol": "http"})
    sidecar = {"Port": inbound, "Proxy": {"Config": {"envoy_prometheus_bind_addr": f"127.0.0.1:{page}"}}}
    service = {"ID": "counted-1", "Name": "counted", "Port": free_port(), "Connect": {"SidecarService": sidecar}}
    local_consul.http("PUT", "/v1/agent/service/register", service)

    with envoy_process(tmp_path, _bootstrap(local_consul, admin), page):
        sample = eventually(
            lambda: EnvoyStats().scrape("127.0.0.1", page),
            lambda sample: bool(sample.connected and sample.requests and sample.latency),
        )

    assert sample.requests == {"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0}
    assert sample.active == 0
    assert sample.config_updates["cds"] >= 1
    assert sample.config_updates["lds"] >= 1
    assert set(sample.config_versions) == {"cds", "lds"}


@pytest.mark.contract("EnvoyStats.scrape")
def test_a_callers_proxy_counts_the_routes_it_took_over_and_names_the_subsets_it_knows(
    local_consul: Consul, tmp_path: Path
) -> None:
    page, admin = free_port(), free_port()

    def write(kind: str, **fields: object) -> None:
        local_consul.http("PUT", "/v1/config", {"Kind": kind, "Name": "callee", **fields})

    def knows(*releases: str) -> None:
        subsets = {release: {"Filter": f"Service.Meta.release == {release}"} for release in releases}
        write("service-resolver", DefaultSubset="r1", Subsets=subsets)

    write("service-defaults", Protocol="http")
    knows("r1", "r2")
    upstream = {"DestinationName": "callee", "LocalBindPort": free_port(), "Config": {"protocol": "http"}}
    config = {"envoy_prometheus_bind_addr": f"127.0.0.1:{page}"}
    proxy = {"Port": free_port(), "Proxy": {"Config": config, "Upstreams": [upstream]}}
    service = {"ID": "caller-1", "Name": "caller", "Port": free_port(), "Connect": {"SidecarService": proxy}}
    local_consul.http("PUT", "/v1/agent/service/register", service)
    stats = EnvoyStats()

    with envoy_process(tmp_path, _bootstrap(local_consul, admin, "caller-1"), page):
        before = eventually(lambda: stats.scrape("127.0.0.1", page), lambda sample: sample.route_reloads.get("callee"))
        assert before.subsets["callee"] == {"r1"}

        taken_over = before.route_reloads["callee"]
        # The first splitter makes the subset known; every later weight is nothing but another route.
        for weight in (0, 1, 100):
            splits = ((100 - weight, "r1"), (weight, "r2"))
            write("service-splitter", Splits=[{"Weight": share, "ServiceSubset": to} for share, to in splits])
            after = eventually(
                lambda: stats.scrape("127.0.0.1", page),
                lambda sample, seen=taken_over: sample.route_reloads["callee"] > seen,
            )
            taken_over = after.route_reloads["callee"]
            assert after.subsets["callee"] == {"r1", "r2"}

        local_consul.http("DELETE", "/v1/config/service-splitter/callee")
        knows("r1")
        eventually(lambda: stats.scrape("127.0.0.1", page), lambda sample: sample.subsets["callee"] == {"r1"})


def _bootstrap(consul: Consul, admin: int, service: str = "counted-1") -> dict[str, object]:
    command = [
        *(binary("consul"), "connect", "envoy", "-sidecar-for", service, "-bootstrap"),
        *("-http-addr", consul.address, "-grpc-addr", f"127.0.0.1:{consul.grpc_port}"),
        *("-admin-bind", f"127.0.0.1:{admin}", "-ignore-envoy-compatibility"),
    ]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=60)
    bootstrap = json.loads(answer.stdout)
    assert isinstance(bootstrap, dict)
    return bootstrap


def _get(port: int, path: str) -> None:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
