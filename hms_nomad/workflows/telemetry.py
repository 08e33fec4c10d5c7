"""Session -> the platform's Prometheus, found by the catalog, and what it knows of services."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.prometheus import PrometheusClient
from hms_nomad.workflows.session import Session

_PATIENCE_SECONDS = 3.0


@contextlib.contextmanager
def prometheus(session: Session) -> Iterator[PrometheusClient | None]:
    """A client for the healthy Prometheus of the platform, or None where none runs.

    Raises the errors of ``hms_nomad.clients.errors`` when Consul cannot be asked.
    """
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
