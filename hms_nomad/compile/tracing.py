"""Platform -> what proxies need so that they tell a collector of each request that they carry (OTLP by HTTP).

A proxy tells of what passes through it and hands W3C's ``traceparent`` on, so that the caller's and the callee's proxy
tell of one trace. Whether it is recorded is decided once, where the trace begins.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from hms_nomad.compile.names import canonical
from hms_nomad.platform.model_proxies import Tracing

CLUSTER = "otlp"
"""Name of the collector in a proxy's configuration; no service can have it there, since these names have dots."""

_TYPES = "type.googleapis.com/envoy"
_MILLION = 1_000_000
_TIMEOUT = "2s"


def proxy_config(tracing: Tracing, service: str) -> dict[str, str]:
    """The part of a sidecar's ``Proxy.Config`` (Consul hands it to Envoy as it is, when the sidecar starts)."""
    settings = {"http": tracer(tracing, service)}
    return {
        "envoy_tracing_json": canonical(settings),
        "envoy_extra_static_clusters_json": canonical(cluster(tracing)),
    }


def tracer(tracing: Tracing, service: str, *, trusts_callers: bool = True) -> dict[str, Any]:
    """Envoy's tracer for a proxy of ``service``.

    With ``trusts_callers`` a trace that has begun is recorded if its beginning was; without, its own share counts, so
    that nobody outside can have everything recorded.
    """
    share = {"numerator": round(tracing.sample / 100 * _MILLION), "denominator": "MILLION"}
    sampler = _sampler("trace_id_ratio_based", "TraceIdRatioBasedSamplerConfig", {"sampling_percentage": share})
    if trusts_callers:
        sampler = _sampler("parent_based", "ParentBasedSamplerConfig", {"wrapped_sampler": sampler})
    where = {"uri": tracing.otlp, "cluster": CLUSTER, "timeout": _TIMEOUT}
    return {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": f"{_TYPES}.config.trace.v3.OpenTelemetryConfig",
            "service_name": service,
            "http_service": {"http_uri": where},
            "sampler": sampler,
        },
    }


def cluster(tracing: Tracing) -> dict[str, Any]:
    """The collector as Envoy reaches it: by name, asked anew as it changes."""
    place = urlsplit(tracing.otlp)
    address = {"socket_address": {"address": place.hostname, "port_value": place.port or 80}}
    return {
        "name": CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _sampler(name: str, config: str, fields: dict[str, Any]) -> dict[str, Any]:
    kind = f"{_TYPES}.extensions.tracers.opentelemetry.samplers.v3.{config}"
    return {"name": f"envoy.tracers.opentelemetry.samplers.{name}", "typed_config": {"@type": kind, **fields}}
