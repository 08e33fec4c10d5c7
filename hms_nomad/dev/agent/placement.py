"""A group and the node -> does it fit, which ports does it get, or why not. Nothing is written."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence

from hms_nomad.dev.agent.changes import group_of
from hms_nomad.dev.agent.instances import ended
from hms_nomad.dev.agent.values import Json
from hms_nomad.patterns import lazy_pattern

LOOPBACK = "127.0.0.1"
_WILDCARD = lazy_pattern(r"[^*]+|\*")
_NUMBER = lazy_pattern(r"\d+")


def resources_of(group: Json) -> tuple[int, int]:
    """MHz and MiB that one instance reserves."""
    tasks = [task["Resources"] for task in group["Tasks"]]
    return sum(int(one["CPU"]) for one in tasks), sum(int(one["MemoryMB"]) for one in tasks)


def refusal(job: Json, group: Json, node: Json, allocs: Iterable[Json]) -> Json | None:
    """Why the node does not take one more instance, as Nomad's metrics of a placement say it; None where it does."""
    metric: Json = {
        "NodesEvaluated": 0,
        "NodesFiltered": 0,
        "NodesInPool": 1,
        "NodesExhausted": 0,
        "NodesAvailable": {node["Datacenter"]: 0},
        "ClassFiltered": None,
        "ConstraintFiltered": None,
        "ClassExhausted": None,
        "DimensionExhausted": None,
        "QuotaExhausted": None,
        "CoalescedFailures": 0,
    }
    takes_work = node["Status"] == "ready" and node["SchedulingEligibility"] == "eligible"
    if not takes_work or job["NodePool"] not in ("default", "all") or not _in_datacenters(job, node):
        return metric
    metric |= {"NodesEvaluated": 1, "NodesAvailable": {node["Datacenter"]: 1}}
    if constraint := _unmet(job, group, node):
        return {**metric, "NodesFiltered": 1, "ConstraintFiltered": {constraint: 1}}
    if dimension := _exhausted(group, node, allocs):
        return {**metric, "NodesExhausted": 1, "DimensionExhausted": {dimension: 1}}
    return None


def _in_datacenters(job: Json, node: Json) -> bool:
    return any(_matches(pattern, node["Datacenter"]) for pattern in job["Datacenters"])


def _matches(pattern: str, text: str) -> bool:
    parts = _WILDCARD.findall(pattern)
    return bool(re.fullmatch("".join(".*" if part == "*" else re.escape(part) for part in parts), text))


def _unmet(job: Json, group: Json, node: Json) -> str:
    """The first constraint that the node does not meet, as Nomad names it, or nothing."""
    drivers = {task["Driver"] for task in group["Tasks"]}
    if any(not (node["Drivers"].get(name) or {}).get("Healthy") for name in drivers):
        return "missing drivers"
    if group["Volumes"]:
        return "missing compatible host volumes"
    tasks = [constraint for task in group["Tasks"] for constraint in task.get("Constraints") or ()]
    for constraint in [*(job["Constraints"] or ()), *(group["Constraints"] or ()), *tasks]:
        left, right = constraint.get("LTarget") or "", constraint.get("RTarget") or ""
        operand = constraint.get("Operand") or "="
        if not _holds(_value(left, node), operand, _value(right, node) or ""):
            return f"{left} {operand} {right}".strip()
    return ""


def _value(target: str, node: Json) -> str | None:
    if not target.startswith("${"):
        return target
    name = target[2:-1]
    known = {
        "node.unique.id": node["ID"],
        "node.unique.name": node["Name"],
        "node.datacenter": node["Datacenter"],
        "node.class": node["NodeClass"],
        "node.pool": node["NodePool"],
        "node.region": "global",
    }
    if name in known:
        return str(known[name])
    kind, _, key = name.partition(".")
    found = {"attr": node["Attributes"], "meta": node["Meta"]}.get(kind, {}).get(key)
    return None if found is None else str(found)


def _holds(value: str | None, operand: str, right: str) -> bool:  # noqa: PLR0911
    if operand in ("distinct_hosts", "distinct_property"):
        return True
    if operand in ("!=", "not"):
        return value != right
    if operand == "is_set":
        return value is not None
    if operand == "is_not_set":
        return value is None
    if value is None:
        return False
    if operand in ("=", "==", "is"):
        return value == right
    if operand == "regexp":
        return bool(re.search(right, value))
    if operand in ("version", "semver"):
        return _version_holds(value, right)
    if operand in ("set_contains", "set_contains_all"):
        return {part.strip() for part in right.split(",")} <= {part.strip() for part in value.split(",")}
    if operand == "set_contains_any":
        return bool({part.strip() for part in right.split(",")} & {part.strip() for part in value.split(",")})
    left_key, right_key = _orderable(value, right)
    return {
        "<": left_key < right_key,
        "<=": left_key <= right_key,
        ">": left_key > right_key,
        ">=": left_key >= right_key,
    }.get(operand, False)


def _orderable(left: str, right: str) -> tuple[tuple[float, str], tuple[float, str]]:
    try:
        return (float(left), ""), (float(right), "")
    except ValueError:
        return (0.0, left), (0.0, right)


def _version_holds(value: str, wish: str) -> bool:
    own = _version(value)
    for part in wish.split(","):
        text = part.strip()
        operand = text.rstrip("0123456789.-+abcdefghijklmnopqrstuvwxyz ") or "="
        other = _version(text.removeprefix(operand))
        holds = {
            "=": own == other,
            "!=": own != other,
            ">": own > other,
            ">=": own >= other,
            "<": own < other,
            "<=": own <= other,
            "~>": own >= other
            and own[: max(1, len(_NUMBER.findall(text)) - 1)] == other[: max(1, len(_NUMBER.findall(text)) - 1)],
        }
        if not holds.get(operand.strip(), False):
            return False
    return True


def _version(text: str) -> tuple[int, ...]:
    numbers = [int(number) for number in _NUMBER.findall(text.partition("-")[0])]
    return tuple([*numbers, 0, 0, 0][:3])


def _exhausted(group: Json, node: Json, allocs: Iterable[Json]) -> str:
    used_cpu = used_memory = 0
    for alloc in allocs:
        own = group_of(alloc["Job"], alloc["TaskGroup"]) if alloc.get("Job") and not ended(alloc) else None
        if own is not None:
            cpu, memory = resources_of(own)
            used_cpu, used_memory = used_cpu + cpu, used_memory + memory
    cpu, memory = resources_of(group)
    total = node["NodeResources"]
    if used_memory + memory > total["Memory"]["MemoryMB"]:
        return "memory"
    return "cpu" if used_cpu + cpu > total["Cpu"]["CpuShares"] else ""


class Ports:
    """Hands out ports of this machine that nothing listens on."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._next = first

    def assign(self, group: Json, taken: set[int], held: set[int]) -> list[Json] | str:
        """The ports that the group's networks ask for, or which one cannot be had; ``taken`` grows by them.

        ``held`` are those of instances that run, some of which may be about to stop.

        No network of the instance's own is made, so for groups in bridge mode a port is the same inside and outside.
        """
        found: list[Json] = []
        for network in group["Networks"] or ():
            for port in network["ReservedPorts"] or ():
                value = int(port["Value"])
                shared = bool(port.get("IgnoreCollision"))
                if not shared and (value in taken or (value not in held and not free(value, LOOPBACK))):
                    return f"reserved port collision {port['Label']}={value}"
                taken.add(value)
                found.append(_port(port, value, network))
            for port in network["DynamicPorts"] or ():
                found.append(_port(port, self.one(taken, held), network))
        return found

    def one(self, taken: set[int], held: set[int]) -> int:
        """One more port. Raises OSError when none is left."""
        for _ in range(self._first, self._last + 1):
            port = self._next
            self._next = self._first if port == self._last else port + 1
            if port not in taken and port not in held and free(port):
                taken.add(port)
                return port
        raise OSError(f"no port from {self._first} to {self._last} is free")


def taken_ports(allocs: Sequence[Json]) -> set[int]:
    """The ports of allocations that have not ended."""
    found: set[int] = set()
    for alloc in allocs:
        if not ended(alloc):
            found |= {int(port["Value"]) for port in alloc["AllocatedResources"]["Shared"]["Ports"] or ()}
            found |= set((alloc.get("Embedded") or {}).get("Ports", {}).values())
    return found


def free(port: int, address: str = "") -> bool:
    """True when nothing listens on the port of an address of this machine, or of any."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _port(wanted: Json, value: int, network: Json) -> Json:
    own = int(wanted["To"]) if network["Mode"] == "host" else 0
    return {
        "Label": wanted["Label"],
        "Value": value,
        "To": own if own > 0 else value,
        "HostIP": LOOPBACK,
        "IgnoreCollision": False,
    }
