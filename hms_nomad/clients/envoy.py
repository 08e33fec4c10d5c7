"""A sidecar's Prometheus page -> what it counted of the requests that came in, and whether Consul guides it.

The names are Envoy's own; Consul calls a sidecar's way in ``public_listener`` and offers the page where the proxy's
config names an ``envoy_prometheus_bind_addr``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec
import requests
from msgspec import Struct

from hms_nomad.clients.classify import lost_answer
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.prometheus_text import Metric, parse_metrics
from hms_nomad.clients.stream import UNCOMPRESSED, arriving
from hms_nomad.clients.transport import Transport

_LONGEST_PAGE = 16 * 1024 * 1024
_LISTENER = "public_listener"
# A sidecar's whole page has thousands of lines; Envoy picks those whose own names match.
_WANTED = (
    rf"^http\.{_LISTENER}\.downstream_rq_([1-5]xx|time|active)$|^http\.upstream\..*\.config_reload$|^cluster\..*\.membership_total$|^control_plane\.connected_state$|^server\.uptime$"
    r"|^(cluster_manager\.cds|listener_manager\.lds)\.(version|update_success|update_rejected)$"
    r"|^cluster\..*\.ssl\.handshake$"
)
# Only a cluster that speaks TLS counts handshakes.
_BY_TLS = "_ssl_handshake"
_WAYS = ("_membership_total", _BY_TLS)
_RESOURCES = {"cds": "envoy_cluster_manager_cds", "lds": "envoy_listener_manager_lds"}


class Bucket(Struct, frozen=True):
    """How many requests took up to ``up_to_ms`` milliseconds (the last bucket: infinity, which is all of them)."""

    up_to_ms: float
    count: int


class EnvoySample(Struct, frozen=True):
    """What a sidecar counted since it started; every count begins anew when ``uptime_seconds`` falls.

    ``requests`` counts answers by class ("2xx"), ``latency`` is a cumulative histogram that Envoy brings up to date
    only every 5 seconds. ``connected`` says whether Consul guides the sidecar. ``config_updates`` counts the
    configurations taken over, of clusters ("cds") and listeners ("lds"); ``config_versions`` are Envoy's hashes of
    their versions, which stay the same under Consul. ``active`` requests have come in and are not answered yet.
    ``route_reloads`` counts, for each service that this sidecar calls, how often it took over new routes (weights
    among them), and ``subsets`` names the subsets of each that it knows. What the page does not hold is empty or None.
    ``config_refusals`` counts, like ``config_updates``, those that Envoy did not take over; Consul sends such a one
    again and again. ``ways`` says of each service that a gateway leads to whether it does so by TLS. ``recorded`` says
    that these are the counts of a while ago, as a Prometheus keeps them.
    """

    requests: Mapping[str, int]
    latency: tuple[Bucket, ...]
    connected: bool | None
    config_updates: Mapping[str, int]
    config_versions: Mapping[str, int]
    uptime_seconds: int | None
    active: int | None = None
    route_reloads: Mapping[str, int] = msgspec.field(default_factory=dict)
    subsets: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    recorded: bool = False
    config_refusals: Mapping[str, int] = msgspec.field(default_factory=dict)
    ways: Mapping[str, bool] = msgspec.field(default_factory=dict)

    @property
    def total(self) -> int:
        """All answered requests."""
        return sum(self.requests.values())


class EnvoyStats:
    """Reads the pages of any number of sidecars. Threads may share one."""

    def __init__(self, path: str = "/metrics", timeout: float = 3.0) -> None:
        """``path`` is /stats/prometheus on Envoy's admin port; ``timeout`` in seconds bounds one reading."""
        self._path = path
        self._timeout = timeout

    def scrape(self, address: str, port: int) -> EnvoySample:
        """The page at ``port`` of ``address`` (a host name or an IP address), read once.

        Raises UnavailableError when it cannot be read in time or is no such page.
        Source: https://www.envoyproxy.io/docs/envoy/v1.36.2/operations/admin#get--stats-prometheus
        """
        host = f"[{address}]" if ":" in address else address
        connection = Connection(
            f"http://{host}:{port}", connect_timeout=self._timeout, read_timeout=self._timeout, retry_seconds=0.0
        )
        transport = Transport("envoy", connection, "", {})
        try:
            return transport.read("read its metrics", lambda: sample_from(parse_metrics(self._page(transport))))
        finally:
            transport.session.close()

    def _page(self, transport: Transport) -> str:
        deadline = time.monotonic() + self._timeout
        request = transport.request("read its metrics", write=False)
        url = f"{transport.connection.address}{self._path}?filter={quote(_WANTED, safe='')}"
        response: requests.Response = transport.session.get(url, headers=dict(UNCOMPRESSED), stream=True)
        page = b""
        with response:
            for data in arriving(response, request, transport.connection, lambda: deadline - time.monotonic()):
                page += data
                if len(page) > _LONGEST_PAGE or time.monotonic() > deadline:
                    raise lost_answer(request, f"the page does not end within {self._timeout:g} s or 16 MiB")
        return page.decode("utf-8", "replace")


def sample_from(metrics: Iterable[Metric]) -> EnvoySample:
    """The sample in a page's metrics; what is not there stays empty. Several series of one name are added up."""
    requests_by_class: dict[str, int] = {}
    buckets: dict[float, int] = {}
    gauges: dict[str, int] = {}
    reloads: dict[str, int] = {}
    subsets: dict[str, frozenset[str]] = {}
    ways: dict[str, bool] = {}
    active: int | None = None
    for metric in metrics:
        inbound = metric.labels.get("envoy_http_conn_manager_prefix") == _LISTENER
        if metric.name == "envoy_http_downstream_rq_xx" and inbound:
            name = f"{metric.labels['envoy_response_code_class']}xx"
            requests_by_class[name] = requests_by_class.get(name, 0) + metric.count
        elif metric.name == "envoy_http_downstream_rq_time_bucket" and inbound:
            bound = float(metric.labels["le"])
            buckets[bound] = buckets.get(bound, 0) + metric.count
        elif metric.name == "envoy_http_downstream_rq_active" and inbound:
            active = (active or 0) + metric.count
        elif metric.name.startswith("envoy_http_rds_") and (callee := metric.labels.get("consul_upstream_service")):
            reloads[callee] = reloads.get(callee, 0) + metric.count
        elif metric.name == "envoy_cluster_membership_total" and "consul_destination_service" in metric.labels:
            callee = metric.labels["consul_destination_service"]
            subset = metric.labels.get("consul_destination_service_subset", "")
            subsets[callee] = subsets.get(callee, frozenset()) | {subset}
        elif (way := metric.labels.get("envoy_cluster_name")) and metric.name.endswith(_WAYS):
            # Without Consul's own labels the rest of a cluster's name, with dots, stands in the metric's.
            ways[way] = ways.get(way, False) or metric.name.endswith(_BY_TLS)
        elif metric.name.startswith(("envoy_control_plane_", "envoy_server_", *_RESOURCES.values())):
            gauges[metric.name] = metric.count
    connected = gauges.get("envoy_control_plane_connected_state")
    return EnvoySample(
        requests=requests_by_class,
        latency=tuple(Bucket(bound, buckets[bound]) for bound in sorted(buckets)),
        connected=None if connected is None else connected == 1,
        config_updates=_by_resource(gauges, "update_success"),
        config_versions=_by_resource(gauges, "version"),
        uptime_seconds=gauges.get("envoy_server_uptime"),
        active=active,
        route_reloads=reloads,
        subsets=subsets,
        config_refusals=_by_resource(gauges, "update_rejected"),
        ways=ways,
    )


def _by_resource(gauges: Mapping[str, int], suffix: str) -> dict[str, int]:
    names = {resource: f"{name}_{suffix}" for resource, name in _RESOURCES.items()}
    return {resource: gauges[name] for resource, name in names.items() if name in gauges}
