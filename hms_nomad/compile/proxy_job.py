"""Platform -> the jobs that are proxies: the gateway for what comes in, and the egress for what goes out.

Both are Envoy in the node's own network, guided by Consul; they differ in what Consul tells them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hms_nomad.compile import outbound
from hms_nomad.compile.access_log import LINE
from hms_nomad.compile.connect import FLUSH
from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry
from hms_nomad.compile.gateway import filled, gateway_entry, provider_entry, standing_entries
from hms_nomad.compile.http_routes import GATEWAY_KIND
from hms_nomad.compile.names import UNIT_SECONDS, canonical
from hms_nomad.compile.platform_job import CompiledPlatformJob, finished
from hms_nomad.compile.tracing import cluster, tracer
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.platform.model_proxies import Egress, Gateway, GatewayTls, Proxy
from hms_nomad.spec.duration import seconds

EGRESS_KIND = "terminating-gateway"

_SECOND = 1_000_000_000
_LOWEST_UNPRIVILEGED_PORT = 1024
_KEEPER = "proxy.sh"
# For Envoy to exit, behind the time that its connections get.
_LAST_SECONDS = 5
_GATEWAY_ABOUT = "API gateway of the platform: the way in for every route that a spec calls public."
_EGRESS_ABOUT = "Egress of the platform: the way out to what lies outside the mesh, such as databases."


def compile_gateway(
    job: Mapping[str, Any],
    bootstrap: Mapping[str, Any],
    keeper: str,
    listener: Mapping[str, Any],
    script: str,
    platform: Platform,
    gateway: Gateway,
) -> CompiledPlatformJob:
    """The gateway's job and its config entries, from the shipped ``job``, Envoy's ``bootstrap``, ``listener`` and
    ``script`` (Lua), and the shell script ``keeper`` that lets Envoy end its work.

    The listener is our own: Consul's knows neither errors in JSON nor limits. Routes, clusters, instances and
    identities come from Consul. Raises PlatformError when the platform's sidecars run in containers but no image is
    named.
    """
    about = {"kind": GATEWAY_KIND, "role": "gateway", "about": _GATEWAY_ABOUT}
    front = filled(listener, {"port": str(gateway.port), "script": outbound.script(platform) + script})
    if gateway.per_node > 1:
        job, front = _sharing(job, gateway.per_node), {**front, "additional_addresses": [_OWN_ADDRESS]}
    chain = front["filter_chains"][0]
    if gateway.tls:
        chain["transport_socket"] = _TLS
    manager = chain["filters"][0]["typed_config"]
    if gateway.access_log:
        manager["access_log"] = [_ACCESS_LOG]
    if gateway.limit:
        manager["http_filters"].insert(0, _limit(gateway.limit))
    runtime = {"layers": [*bootstrap["layered_runtime"]["layers"], outbound.ADMIN_LAYER]}
    static = {**bootstrap["static_resources"], "listeners": [*bootstrap["static_resources"]["listeners"], front]}
    if platform.tracing:
        provider = tracer(platform.tracing, gateway.name, trusts_callers=False)
        # Envoy's own sampling would write its decision into the request's id.
        manager["tracing"] = {"provider": provider, "random_sampling": {"value": 0}}
        static["clusters"] = [*static["clusters"], cluster(platform.tracing)]
    dynamic = {key: value for key, value in bootstrap["dynamic_resources"].items() if key != "lds_config"}
    whole = {
        **bootstrap,
        "layered_runtime": runtime,
        "static_resources": static,
        "dynamic_resources": dynamic,
    }
    job = _with_tls(job, gateway.tls) if gateway.tls else job
    done = _compiled(job, whole, keeper, platform, gateway, about, gateway_entry(gateway))
    providers = tuple(provider_entry(one) for one in gateway.jwt)
    return replace(done, beside=(*standing_entries(gateway), *providers))


def compile_egress(
    job: Mapping[str, Any], bootstrap: Mapping[str, Any], keeper: str, platform: Platform, egress: Egress
) -> CompiledPlatformJob:
    """The egress's job and its terminating-gateway entry, which knows no service yet. Raises PlatformError."""
    about = {"kind": EGRESS_KIND, "role": "egress", "about": _EGRESS_ABOUT}
    return _compiled(job, bootstrap, keeper, platform, egress, about, egress_entry(egress))


def egress_entry(egress: Egress) -> ConfigEntry:
    """The terminating-gateway entry without any service."""
    body = {"Kind": EGRESS_KIND, "Name": egress.name, "Meta": {OWNER_KEY: OWNER}, "Services": []}
    return ConfigEntry(kind=EGRESS_KIND, name=egress.name, body=body)


def _compiled(
    job: Mapping[str, Any],
    bootstrap: Mapping[str, Any],
    keeper: str,
    platform: Platform,
    proxy: Proxy,
    about: Mapping[str, str],
    entry: ConfigEntry,
) -> CompiledPlatformJob:
    drain = int(seconds(proxy.drain))
    if drain:
        job = _kept(job, keeper)
    host, _, port = (proxy.consul_grpc or "127.0.0.1:${attr.consul.grpc}").partition(":")
    values: dict[str, Any] = {
        **about,
        "name": proxy.name,
        "namespace": platform.namespace,
        "region": platform.region,
        "datacenters": list(platform.datacenters),
        "node_pool": proxy.node_pool or platform.node_pool,
        "instances": proxy.instances,
        "port": proxy.port,
        "cpu": proxy.cpu,
        "memory": proxy.memory,
        "grpc_host": host,
        "grpc_port": port,
        "kill_timeout": (drain + _LAST_SECONDS) * _SECOND,
        **_driver(platform, drain, privileged=proxy.port < _LOWEST_UNPRIVILEGED_PORT),
    }
    values["bootstrap"] = canonical(filled(bootstrap, values))
    done = finished(filled(job, values))
    return CompiledPlatformJob(done.name, done.job, done.digest, entry)


_ACCESS_LOG = {
    "name": "envoy.access_loggers.stdout",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": LINE},
    },
}
_SDS = "{{ env `NOMAD_SECRETS_DIR` }}"
_TLS = {
    "name": "envoy.transport_sockets.tls",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [
                {
                    "name": "front",
                    "sds_config": {
                        "path_config_source": {"path": f"{_SDS}/certificate.json"},
                        "resource_api_version": "V3",
                    },
                }
            ],
        },
    },
}


def _with_tls(job: Mapping[str, Any], tls: GatewayTls) -> dict[str, Any]:
    """The job with a certificate that Vault issues.

    Certificate and key come from one question, and so must lie in one file; Envoy reads each from it, and reads them
    again whenever the file is replaced.
    """
    pem = {"filename": f"{_SDS}/certificate.pem"}
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "front",
        "tls_certificate": {"certificate_chain": pem, "private_key": pem},
    }
    words = [f"common_name={tls.names[0]}", f"alt_names={','.join(tls.names)}", f"ttl={tls.ttl}"]
    asked = " ".join(f'"{word}"' for word in (tls.issuer, *words))
    text = "{{ .Cert }}\n{{ range .CAChain }}{{ . }}\n{{ else }}{{ .CA }}\n{{ end }}{{ .Key }}\n"
    files = (
        ("certificate.pem", f"{{{{ with pkiCert {asked} }}}}{text}{{{{ end }}}}"),
        ("certificate.json", canonical({"resources": [secret]})),
    )
    templates = [
        {"EmbeddedTmpl": text, "DestPath": f"secrets/{name}", "ChangeMode": "noop", "Perms": "{bootstrap_mode}"}
        for name, text in files
    ]
    group = job["TaskGroups"][0]
    task = group["Tasks"][0]
    # Restarting the gateway each time its token is renewed would cut connections; Nomad does so unless told otherwise.
    vault = {"Role": tls.vault_role, "ChangeMode": "noop"}
    task = {**task, "Vault": vault, "Templates": [*templates, *task["Templates"]]}
    return {**job, "TaskGroups": [{**group, "Tasks": [task]}]}


OWN_PORT = "own"
"""Label of the port by which one instance is reached where several share the listener's, and its key in their meta."""

_OWN_ADDRESS = {
    "address": {
        "socket_address": {
            "address": f"{{{{ env `NOMAD_IP_{OWN_PORT}` }}}}",
            "port_value": f"{{{{ env `NOMAD_PORT_{OWN_PORT}` }}}}",
        }
    }
}


def _sharing(job: Mapping[str, Any], per_node: int) -> dict[str, Any]:
    """The job with up to ``per_node`` instances on a node, which open the same port (Envoy sets SO_REUSEPORT).

    Each has a port of its own besides, by which it alone is asked whether it leads to a service.
    """
    group = job["TaskGroups"][0]
    network, service = group["Networks"][0], group["Services"][0]
    shared = {
        **network,
        "ReservedPorts": [{**port, "IgnoreCollision": True} for port in network["ReservedPorts"]],
        "DynamicPorts": [*network["DynamicPorts"], {"Label": OWN_PORT}],
    }
    spread = {"Operand": "distinct_property", "LTarget": "${node.unique.id}", "RTarget": str(per_node)}
    named = {**service, "Meta": {**service["Meta"], OWN_PORT: f"${{NOMAD_ADDR_{OWN_PORT}}}"}}
    whole = {**group, "Networks": [shared], "Constraints": [spread], "Services": [named]}
    return {**job, "TaskGroups": [whole]}


def _limit(rate: str) -> dict[str, Any]:
    """Envoy's filter that lets "500/s" requests through one instance, and as many at once after a pause."""
    requests, _, unit = rate.partition("/")
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {
        "max_tokens": int(requests),
        "tokens_per_fill": int(requests),
        "fill_interval": f"{UNIT_SECONDS[unit]}s",
    }
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "front",
            "token_bucket": bucket,
            "filter_enabled": always,
            "filter_enforced": always,
        },
    }


def _kept(job: Mapping[str, Any], keeper: str) -> dict[str, Any]:
    """The job with the script that starts Envoy."""
    group = job["TaskGroups"][0]
    task = group["Tasks"][0]
    script = {"EmbeddedTmpl": keeper, "DestPath": f"local/{_KEEPER}", "ChangeMode": "restart"}
    return {**job, "TaskGroups": [{**group, "Tasks": [{**task, "Templates": [*task["Templates"], script]}]}]}


def _driver(platform: Platform, drain: int, *, privileged: bool) -> dict[str, Any]:
    """How Envoy runs: as the sidecars of this platform do, in the node's own network, and behind the script that gives
    it ``drain`` seconds at its end.
    """
    sidecar = platform.sidecar
    kept = [f"${{NOMAD_TASK_DIR}}/{_KEEPER}", str(drain)]
    arguments = ["-c", "${NOMAD_SECRETS_DIR}/envoy.json", "-l", "warning", "--disable-hot-restart", *FLUSH]
    if sidecar.driver == "docker":
        if sidecar.image is None:
            raise PlatformError("it runs in a container: name Envoy's image in the platform's sidecar.image")
        # The entrypoint of Envoy's own image runs as envoy whatever it is given.
        words = ["bash", *kept, "envoy", *arguments] if drain else arguments
        config: dict[str, Any] = {"image": sidecar.image, "args": words, "network_mode": "host"}
    elif drain:
        config = {"command": "/bin/bash", "args": [*kept, sidecar.command, *arguments]}
    else:
        config = {"command": sidecar.command, "args": arguments}
    # A port below 1024 needs root in a container that shares the node's network. Under exec nobody may open it: the
    # driver hands that right to every task, while Nomad denies root there.
    root = sidecar.driver == "raw_exec" or (privileged and sidecar.driver == "docker")
    return {
        "driver": sidecar.driver,
        "driver_config": config,
        "user": "root" if root else "",
        "envoy_uid": "0" if root else "101",
        # Another account must be able to read it; the folder of secrets is closed to other tasks.
        "bootstrap_mode": "0600" if root else "0644",
    }
