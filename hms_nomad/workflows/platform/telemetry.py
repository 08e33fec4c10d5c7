"""Session -> the platform's Prometheus, found by the catalog, and what it knows of services."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import ServerError
from hms_nomad.workflows.session import Session

if TYPE_CHECKING:
    from hms_nomad.clients.envoy import EnvoySample
    from hms_nomad.clients.prometheus import PrometheusClient
    from hms_nomad.clients.prometheus_text import Metric
    from hms_nomad.rollout.sidecars import Recorded

_PATIENCE_SECONDS = 3.0
_COUNTS = "envoy_http_downstream_rq_(xx|time_bucket|active)|envoy_server_uptime"


@contextlib.contextmanager
def prometheus(session: Session) -> Iterator[PrometheusClient | None]:
    """A client for the healthy Prometheus of the platform, or None where none runs.

    Raises the errors of ``hms_nomad.clients.errors`` when Consul cannot be asked.
    """
    # Loaded where it is asked, which most commands never do.
    from hms_nomad.clients.prometheus import PrometheusClient

    telemetry = session.platform.telemetry
    found = session.consul.instances(telemetry.name, passing=True).value if telemetry else ()
    if not found:
        yield None
        return
    client = PrometheusClient(
        Connection(
            f"http://{found[0].address}:{found[0].port}",
            read_timeout=_PATIENCE_SECONDS,
            retry_seconds=_PATIENCE_SECONDS,
        )
    )
    try:
        yield client
    finally:
        client.close()


def recorded(session: Session, service: str) -> Recorded:
    """A question for what the platform's Prometheus recorded of a service's sidecars; without one there is nothing."""

    def ask(release: str) -> Mapping[str, EnvoySample]:
        from hms_nomad.clients.envoy import sample_from
        from hms_nomad.clients.prometheus_text import Metric

        counts = f'{{job="sidecars",service="{service}",release="{release}",__name__=~"{_COUNTS}"}}'
        found: dict[str, list[Metric]] = {}
        with contextlib.suppress(ServerError), prometheus(session) as client:
            for row in client.query(counts) if client else ():
                metric = Metric(row.labels["__name__"], row.labels, str(row.value))
                found.setdefault(row.labels.get("allocation", ""), []).append(metric)
        return {allocation: replace(sample_from(metrics), recorded=True) for allocation, metrics in found.items()}

    return ask
