"""Bridge mode without network namespaces: which ports of the machine stand for an instance's own ones.

Under a real Nomad each instance has a network of its own, in which its program listens on the port that the spec says
and its sidecar on the loopback addresses of the upstreams. Here all share the machine's loopback, so each instance gets
ports of its own for these, and its environment says the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hms_nomad.dev.agent.placement import LOOPBACK
from hms_nomad.dev.agent.values import Json
from hms_nomad.patterns import lazy_pattern

_PORT_VARIABLE = lazy_pattern(r"(.*_)?PORT")


def in_bridge(group: Json) -> bool:
    """True for a group that a real Nomad gives a network of its own."""
    return any(network["Mode"].startswith(("bridge", "cni/")) for network in group["Networks"] or ())


def stand_ins(group: Json) -> list[str]:
    """The names of ports that an instance needs beside those with a label: "port 3000", "upstream receipt-svc"."""
    if not in_bridge(group):
        return []
    names: dict[str, None] = {}
    for service in group["Services"] or ():
        sidecar = (service["Connect"] or {}).get("SidecarService")
        if sidecar is None:
            continue
        if service["PortLabel"].isdigit():
            names[own_port(service["PortLabel"])] = None
        names[admin_port(service["Name"])] = None
        for upstream in upstreams(sidecar):
            names[upstream_port(upstream["DestinationName"])] = None
    return list(names)


def own_port(literal: str | int) -> str:
    """The name of what stands for a port that the program itself listens on."""
    return f"port {literal}"


def upstream_port(destination: str) -> str:
    """The name of the port at which the sidecar offers another service."""
    return f"upstream {destination}"


def admin_port(service: str) -> str:
    """The name of the port of the sidecar's own pages."""
    return f"admin {service}"


def upstreams(sidecar: Json) -> list[Json]:
    """The upstreams of a sidecar."""
    return list(((sidecar.get("Proxy") or {}).get("Upstreams")) or ())


def environment(given: Mapping[str, str], group: Json, ports: Mapping[str, int]) -> dict[str, str]:
    """A task's variables with the ports that really are there: PORT and the like, and addresses of upstreams."""
    return {name: _changed(name, value, group, ports) for name, value in given.items()}


def _changed(name: str, value: str, group: Json, ports: Mapping[str, int]) -> str:
    if _PORT_VARIABLE.fullmatch(name.upper()) and own_port(value) in ports:
        return str(ports[own_port(value)])
    for address, port, names in _bound(group, ports):
        for known in names:
            value = re.sub(rf"(?<![\d.\w-]){re.escape(known)}:{address[1]}(?!\d)", f"{LOOPBACK}:{port}", value)
            usual = {80: "http", 443: "https"}.get(address[1])
            if usual:
                value = re.sub(rf"({usual}://){re.escape(known)}(?![\d:.\w-])", rf"\g<1>{LOOPBACK}:{port}", value)
    return value


def _bound(group: Json, ports: Mapping[str, int]) -> Iterator[tuple[tuple[str, int], int, tuple[str, ...]]]:
    """Each upstream's address in the job, the port that stands for it, and the names by which tasks may know it."""
    hosts = _extra_hosts(group)
    for service in group["Services"] or ():
        for upstream in upstreams((service["Connect"] or {}).get("SidecarService") or {}):
            port = ports.get(upstream_port(upstream["DestinationName"]))
            if port is not None:
                address = upstream.get("LocalBindAddress") or "127.0.0.1"
                names = (address, *hosts.get(address, ()))
                yield (address, int(upstream["LocalBindPort"])), port, names


def _extra_hosts(group: Json) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in group["Tasks"]:
        for line in (task["Config"] or {}).get("extra_hosts") or ():
            name, _, address = line.partition(":")
            if name not in found.setdefault(address, []):
                found[address].append(name)
    return found
