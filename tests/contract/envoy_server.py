"""A bootstrap -> an Envoy of one's own, and a bootstrap whose way in is called like a sidecar's."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.binaries import binary
from tests.processes import Server, accepts, running

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"


@contextlib.contextmanager
def envoy_process(directory: Path, bootstrap: Mapping[str, Any], port: int) -> Iterator[Server]:
    """An Envoy with ``bootstrap``, once it listens on ``port``."""
    program = binary("envoy")
    file = directory / "bootstrap.json"
    file.write_text(json.dumps(bootstrap))
    base = str(random.randint(1000, 1_000_000) ^ os.getpid())  # noqa: S311 - keeps two Envoys apart, guards nothing
    with running([program, "-c", str(file), "--base-id", base, "--log-level", "warning"], directory) as server:
        server.wait_until(lambda: accepts(port), "listening")
        yield server


def sidecar_like(inbound: int, admin: int) -> dict[str, Any]:
    """``inbound`` answers 200, under /broken 503 and under /missing 404; ``admin`` holds the page."""
    routes = [
        {"match": {"prefix": path}, "direct_response": {"status": status}}
        for path, status in (("/broken", 503), ("/missing", 404), ("/", 200))
    ]
    return {
        "admin": {"address": address(admin)},
        "stats_flush_interval": "0.1s",
        "static_resources": {"listeners": [listener("inbound", inbound, http_filter("public_listener", routes))]},
    }


def http_filter(
    prefix: str, routes: Sequence[Mapping[str, Any]], *before: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """What makes a listener speak HTTP by ``routes``; filters ``before`` see requests first, ``more`` are settings."""
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{EXTENSIONS}.http.router.v3.Router"}}
    manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]},
        "http_filters": [*before, router],
        **more,
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def listener(name: str, port: int, filter_: Mapping[str, Any]) -> dict[str, Any]:
    """A listener on ``port`` with one filter."""
    return {"name": name, "address": address(port), "filter_chains": [{"filters": [filter_]}]}


def cluster(name: str, port: int) -> dict[str, Any]:
    """A cluster with one instance, on ``port``."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


def address(port: int) -> dict[str, Any]:
    """A port of this machine."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
