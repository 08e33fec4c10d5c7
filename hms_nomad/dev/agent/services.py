"""An allocation's services -> what is registered of them in Consul: service, checks, sidecar. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.canonical import PROXY_PREFIX
from hms_nomad.dev.agent.instances import canary
from hms_nomad.dev.agent.placement import LOOPBACK
from hms_nomad.dev.agent.values import SECOND, Json, duration_text

Fill = Callable[[Any], Any]


class Script(Struct, frozen=True):
    """A check that is a command of a task; times in seconds."""

    check_id: str
    task: str
    command: tuple[str, ...]
    interval: float
    timeout: float


class Registered(Struct, frozen=True):
    """One service as it goes to Consul. ``expected`` are the checks that a deployment waits for, by service id."""

    body: Json
    expected: Mapping[str, tuple[str, ...]]
    scripts: tuple[Script, ...]

    @property
    def id(self) -> str:
        """The id of the service."""
        return str(self.body["ID"])


def registrations(alloc: Json, group: Json, fill: Fill) -> tuple[Registered, ...]:
    """The services of provider "consul"; ``fill`` replaces references in texts."""
    found = [_registered(alloc, group, service, "", fill) for service in group["Services"] or () if _in_consul(service)]
    for task in group["Tasks"]:
        found += [
            _registered(alloc, group, service, task["Name"], fill)
            for service in task["Services"] or ()
            if _in_consul(service)
        ]
    return tuple(found)


def service_id(alloc: Json, service: Json, task: str = "") -> str:
    """The id under which Nomad registers a service of an allocation."""
    scope = task or f"group-{alloc['TaskGroup']}"
    return f"_nomad-task-{alloc['ID']}-{scope}-{service['Name']}-{service['PortLabel']}"


def sidecar_id(alloc: Json, service: Json) -> str:
    """The id of a service's sidecar."""
    return f"{service_id(alloc, service)}-sidecar-proxy"


def _in_consul(service: Json) -> bool:
    return bool(service["Provider"] == "consul")


def _registered(alloc: Json, group: Json, service: Json, task: str, fill: Fill) -> Registered:
    own = service_id(alloc, service, task)
    address, port = service_address(alloc, service, service["PortLabel"], fill)
    is_canary = canary(alloc)
    tags = (service["CanaryTags"] if is_canary and service["CanaryTags"] else service["Tags"]) or []
    meta = {**(service["Meta"] or {}), **((service["CanaryMeta"] or {}) if is_canary else {})}
    checks, expected, scripts = [], [], []
    for check in service["Checks"] or ():
        check_id = _check_id(own, check)
        checks.append({"CheckID": check_id, **_check(alloc, service, check, address, port, fill)})
        if check["OnUpdate"] != "ignore":
            expected.append(check_id)
        if check["Type"] == "script":
            scripts.append(_script(check_id, service, check, task, fill))
    body: Json = {
        "ID": own,
        "Name": fill(service["Name"]),
        "Tags": fill(list(tags)),
        "Address": address,
        "Port": port,
        "Meta": {"external-source": "nomad", **fill(meta)},
        "EnableTagOverride": service["EnableTagOverride"],
        "Checks": checks,
    }
    if service["Kind"]:
        body["Kind"] = service["Kind"]
    waited = {own: tuple(expected)}
    sidecar = (service["Connect"] or {}).get("SidecarService")
    if sidecar is not None:
        body["Connect"] = {"SidecarService": _sidecar(alloc, group, service, sidecar, port, fill)}
        if not sidecar.get("DisableDefaultTCPCheck"):
            waited[f"{own}-sidecar-proxy"] = (f"{own}-sidecar-listening",)
    elif (service["Connect"] or {}).get("Native"):
        body["Connect"] = {"Native": True}
    return Registered(body, waited, tuple(scripts))


def service_address(alloc: Json, service: Json, label: str, fill: Fill) -> tuple[str, int]:
    """Address and port that a label, or a literal port, of an allocation stands for."""
    given = fill(service["Address"]) if service["Address"] else ""
    for port in alloc["AllocatedResources"]["Shared"]["Ports"] or ():
        if port["Label"] == label:
            return given or port["HostIP"], int(port["Value"])
    ports = _stand_ins(alloc)
    if label.isdigit():
        return given or LOOPBACK, int(ports.get(emulation.own_port(label)) or label)
    return given or LOOPBACK, 0


def _check_id(owner: str, check: Json) -> str:
    text = json.dumps({**check, "service": owner}, sort_keys=True)
    return f"_nomad-check-{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}"


def _check(alloc: Json, service: Json, check: Json, address: str, port: int, fill: Fill) -> Json:
    if check["PortLabel"]:
        address, port = service_address(alloc, service, check["PortLabel"], fill)
    body: Json = {"Name": fill(check["Name"]), "Status": check["InitialStatus"]}
    interval, timeout = check.get("Interval") or 10 * SECOND, check.get("Timeout") or 5 * SECOND
    times = {"Interval": duration_text(interval), "Timeout": duration_text(timeout)}
    if check["Type"] == "http":
        scheme = check["Protocol"] or "http"
        path = fill(check["Path"])
        body |= {
            "HTTP": f"{scheme}://{address}:{port}{path if path.startswith('/') else f'/{path}'}",
            "Method": check["Method"],
            "Header": fill(check["Header"]),
            "Body": check["Body"],
            "TLSSkipVerify": check["TLSSkipVerify"],
            **times,
        }
    elif check["Type"] == "grpc":
        name = f"/{check['GRPCService']}" if check["GRPCService"] else ""
        body |= {"GRPC": f"{address}:{port}{name}", "GRPCUseTLS": check["GRPCUseTLS"], **times}
    elif check["Type"] == "script":
        body |= {"TTL": duration_text(interval + timeout + 5 * SECOND)}
    else:
        body |= {"TCP": f"{address}:{port}", **times}
    more = ("SuccessBeforePassing", "FailuresBeforeCritical")
    return body | {name: check[name] for name in more if check[name]}


def _script(check_id: str, service: Json, check: Json, task: str, fill: Fill) -> Script:
    command = (fill(check["Command"]), *map(str, fill(list(check["Args"] or ()))))
    interval, timeout = check.get("Interval") or 10 * SECOND, check.get("Timeout") or 5 * SECOND
    return Script(
        check_id, check["TaskName"] or service["TaskName"] or task, command, interval / SECOND, timeout / SECOND
    )


def _sidecar(alloc: Json, group: Json, service: Json, sidecar: Json, local_port: int, fill: Fill) -> Json:
    address, port = service_address(alloc, service, f"{PROXY_PREFIX}-{service['Name']}", fill)
    proxy = sidecar.get("Proxy") or {}
    config = {key: _listening(value, key, alloc, group) for key, value in (proxy.get("Config") or {}).items()}
    config |= {
        "bind_address": LOOPBACK,
        "bind_port": port,
        "envoy_stats_tags": [f"nomad.alloc_id={alloc['ID']}", f"nomad.group={alloc['TaskGroup']}"],
    }
    body: Json = {
        "Address": address,
        "Port": port,
        "Proxy": {
            "LocalServiceAddress": proxy.get("LocalServiceAddress") or LOOPBACK,
            "LocalServicePort": proxy.get("LocalServicePort") or local_port,
            "Config": fill(config),
            "Upstreams": [_upstream(one, alloc) for one in emulation.upstreams(sidecar)],
        },
        "Checks": [
            {
                "Name": "Connect Sidecar Aliasing " + service_id(alloc, service),
                "AliasService": service_id(alloc, service),
            }
        ],
    }
    if sidecar.get("Tags"):
        body["Tags"] = fill(sidecar["Tags"])
    if sidecar.get("Meta"):
        body["Meta"] = fill(sidecar["Meta"])
    if not sidecar.get("DisableDefaultTCPCheck"):
        listening = {"CheckID": f"{service_id(alloc, service)}-sidecar-listening", "Name": "Connect Sidecar Listening"}
        body["Checks"].append({**listening, "TCP": f"{address}:{port}", "Interval": "2s"})
    expose = proxy.get("Expose") or proxy.get("ExposeConfig") or {}
    if paths := expose.get("Paths") or expose.get("Path"):
        body["Proxy"]["Expose"] = {"Paths": list(_exposed(paths, alloc, service, fill))}
    return body


def _stand_ins(alloc: Json) -> dict[str, Any]:
    return dict((alloc.get("Embedded") or {}).get("Ports") or {})


def _upstream(upstream: Json, alloc: Json) -> Json:
    ports = _stand_ins(alloc)
    port = ports.get(emulation.upstream_port(upstream["DestinationName"])) or upstream["LocalBindPort"]
    kept = {key: value for key, value in upstream.items() if value not in (None, "")}
    return {**kept, "LocalBindAddress": LOOPBACK, "LocalBindPort": int(port)}


def _exposed(paths: list[Json], alloc: Json, service: Json, fill: Fill) -> Iterator[Json]:
    ports = _stand_ins(alloc)
    for one in paths:
        local = ports.get(emulation.own_port(one["LocalPathPort"])) or one["LocalPathPort"]
        _, listener = service_address(alloc, service, str(one["ListenerPort"]), fill)
        yield {**one, "LocalPathPort": int(local), "ListenerPort": listener}


def _listening(value: Any, key: str, alloc: Json, group: Json) -> Any:
    """An address at which Envoy itself listens in the instance's own network: here it is the port that leads there."""
    if not key.endswith("_bind_addr") or not isinstance(value, str):
        return value
    inside = value.rpartition(":")[2]
    for network in group["Networks"] or ():
        for port in network["DynamicPorts"] or ():
            if str(port["To"]) == inside:
                given = alloc["AllocatedResources"]["Shared"]["Ports"] or ()
                return next((f"{LOOPBACK}:{one['Value']}" for one in given if one["Label"] == port["Label"]), value)
    return value
