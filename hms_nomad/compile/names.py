"""Names and addresses that more than one object must agree on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hms_nomad.platform.model import Platform
from hms_nomad.spec.model import Spec

GROUP = "app"
"""The one task group of a service's job."""

TASK = "app"
"""The task that runs the service itself; the sidecar task beside it is named by Nomad."""

HEALTH_PORT = "health"
"""Port label of the plaintext listener through which Consul asks for an instance's health."""

METRICS_PORT = "metrics"
"""Port label of the listener at which the sidecar shows what it counted, for Prometheus and for rollouts."""

METRICS_LISTENER = 9102
"""Port of that listener inside the instance's network namespace."""

METRICS_META = "metrics_port"
"""Key in an instance's meta: the port of that listener on the instance's address."""

SCALING_META = "scaling_max"
"""Key in an instance's meta: how many instances run at most, which alerts compare with how many do."""

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}
"""Units of a rate such as "500/s"."""

_HTTP_PORT = 80


def canonical(value: Any) -> str:
    """JSON text of a value with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_hash(value: Any, length: int) -> str:
    """The first ``length`` hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def mesh_host(service: str, platform: Platform) -> str:
    """Host name by which callers inside the mesh reach a service, for example "receipt-svc.mesh"."""
    return f"{service}.{platform.mesh_domain}"


def service_url(spec: Spec, platform: Platform) -> str:
    """URL that callers use: the mesh name and the first declared path (chapter 12, section 3.2), or the port of TCP."""
    if spec.protocol == "tcp":
        return f"tcp://{mesh_host(spec.name, platform)}:{spec.port}"
    path = spec.routes[0].path if spec.routes and spec.routes[0].match != "regex" else ""
    return f"http://{mesh_host(spec.name, platform)}{path}"


def upstream_addresses(uses: tuple[str, ...]) -> Mapping[str, str]:
    """Loopback address of each dependency inside the caller's network namespace.

    One address per dependency lets each keep its natural port. 127.0.0.0/24 stays free for the task and for Envoy
    itself.
    """
    return {name: f"127.0.1.{number}" for number, name in enumerate(sorted(set(uses)), start=1)}


def upstream_port(spec: Spec, name: str) -> int:
    """Port at which a dependency's loopback address answers: its own where it speaks TCP, else that of plain URLs."""
    return spec.tcp.get(name, _HTTP_PORT)


def upstream_url(spec: Spec, name: str, host: str) -> str:
    """URL of a dependency that is reached at ``host``, for example "http://receipt-svc.mesh" or "tcp://db.mesh:5432"."""
    return f"tcp://{host}:{spec.tcp[name]}" if name in spec.tcp else f"http://{host}"


def probe_port(name: str) -> str:
    """Port label of the plaintext listener through which a named probe is asked, for example "probe-gve"."""
    return f"probe-{name}"


def url_variable(service: str) -> str:
    """Environment variable that tells a dependency's URL to tasks, for example HMS_RECEIPT_SVC_URL."""
    return f"HMS_{service.upper().replace('-', '_')}_URL"
