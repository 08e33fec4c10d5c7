"""A bootstrap -> an Envoy of one's own, and a bootstrap whose way in is called like a sidecar's."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.binaries import binary
from tests.processes import Server, accepts, running

_EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"


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
    manager = {
        "@type": f"{_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public_listener",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_EXTENSIONS}.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "inbound", "address": _address(inbound), "filter_chains": [{"filters": filters}]}
    return {
        "admin": {"address": _address(admin)},
        "stats_flush_interval": "0.1s",
        "static_resources": {"listeners": [listener]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
