"""An instance's task -> its directories, its variables, and texts with ``${...}`` filled in as Nomad fills them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.changes import group_of
from hms_nomad.dev.agent.instances import number_of
from hms_nomad.dev.agent.placement import LOOPBACK
from hms_nomad.dev.agent.values import Json
from hms_nomad.patterns import lazy_pattern

_REFERENCE = lazy_pattern(r"\$\{([a-zA-Z0-9_.\-/]+)\}")
_UNUSUAL = lazy_pattern(r"[^a-zA-Z0-9_]")
# Of the agent's own variables a task sees what any program of this machine may.
_DENIED = ("CONSUL_TOKEN", "CONSUL_HTTP_TOKEN", "VAULT_TOKEN", "NOMAD_TOKEN", "AWS_", "GOOGLE_APPLICATION_CREDENTIALS")


class Directories(Struct, frozen=True):
    """Where an allocation keeps its files: ``root`` holds ``alloc`` and a directory for each task."""

    root: Path

    @property
    def shared(self) -> Path:
        """What all tasks share."""
        return self.root / "alloc"

    @property
    def logs(self) -> Path:
        """The output of all tasks."""
        return self.shared / "logs"

    def task(self, name: str) -> Path:
        """The directory in which a task runs."""
        return self.root / name

    def make(self, tasks: list[str]) -> None:
        """Make them all."""
        for name in ("logs", "tmp", "data"):
            (self.shared / name).mkdir(parents=True, exist_ok=True)
        for task in tasks:
            for name in ("local", "tmp"):
                (self.task(task) / name).mkdir(parents=True, exist_ok=True)
            (self.task(task) / "secrets").mkdir(mode=0o700, exist_ok=True)


class TaskEnvironment:
    """The variables of one task of one allocation, and what references in its texts stand for."""

    def __init__(self, alloc: Json, task: Json, node: Json, directories: Directories, mark: Mapping[str, str]) -> None:
        """``mark`` are variables by which the processes of the whole stack are known."""
        self.alloc, self.task, self.node, self.directories = alloc, task, node, directories
        self.group: Json = group_of(alloc["Job"], alloc["TaskGroup"]) or {}
        self.ports: dict[str, int] = dict((alloc.get("Embedded") or {}).get("Ports") or {})
        self._own = self._nomads()
        self.extra: dict[str, str] = {}
        self.fetched = False
        given = {name: self.fill(str(value)) for name, value in (task["Env"] or {}).items()}
        self._given = emulation.environment(given, self.group, self.ports)
        self._mark = dict(mark)

    def variables(self, *, whole: bool = True) -> dict[str, str]:
        """All variables; with ``whole`` those of this machine too, on which processes run but containers do not."""
        machine = {name: value for name, value in os.environ.items() if not name.startswith(_DENIED)} if whole else {}
        own = {name: value for name, value in self._own.items() if "-" not in name or not whole}
        return {**machine, **self._mark, **own, **self.extra, **self._given}

    def on_machine(self, path: str) -> str:
        """A path of a job as this machine has it: a task in a container knows its directories by other names."""
        folder = self.directories.task(self.task["Name"])
        own = {
            "${NOMAD_ALLOC_DIR}": self.directories.shared,
            "${NOMAD_TASK_DIR}": folder / "local",
            "${NOMAD_SECRETS_DIR}": folder / "secrets",
        }
        for reference, directory in own.items():
            path = path.replace(reference, str(directory))
        return self.fill(path)

    def fill(self, text: str) -> str:
        """A text with its references replaced; unknown ones stay."""
        return _REFERENCE.sub(self._replaced, text) if "${" in text else text

    def fill_all(self, value: Any) -> Any:
        """The same for all texts in a value of JSON."""
        if isinstance(value, str):
            return self.fill(value)
        if isinstance(value, list):
            return [self.fill_all(one) for one in value]
        if isinstance(value, dict):
            return {key: self.fill_all(one) for key, one in value.items()}
        return value

    def _replaced(self, match: re.Match[str]) -> str:
        name = match[1]
        if name in self._own:
            return self._own[name]
        known: dict[str, Any] = {
            "node.unique.id": self.node["ID"],
            "node.unique.name": self.node["Name"],
            "node.datacenter": self.node["Datacenter"],
            "node.class": self.node["NodeClass"],
            "node.pool": self.node["NodePool"],
            "node.region": "global",
        }
        kind, _, key = name.partition(".")
        found = known.get(name, {"attr": self.node["Attributes"], "meta": self.node["Meta"]}.get(kind, {}).get(key))
        if found is None and kind == "env":
            found = os.environ.get(key)
        return match[0] if found is None else str(found)

    def _nomads(self) -> dict[str, str]:
        alloc, task, job = self.alloc, self.task, self.alloc["Job"]
        folder = self.directories.task(task["Name"])
        container = task["Driver"] == "docker"
        found = {
            "NOMAD_ALLOC_DIR": "/alloc" if container else str(self.directories.shared),
            "NOMAD_TASK_DIR": "/local" if container else str(folder / "local"),
            "NOMAD_SECRETS_DIR": "/secrets" if container else str(folder / "secrets"),
            "NOMAD_ALLOC_ID": alloc["ID"],
            "NOMAD_SHORT_ALLOC_ID": alloc["ID"][:8],
            "NOMAD_ALLOC_NAME": alloc["Name"],
            "NOMAD_ALLOC_INDEX": str(number_of(alloc)),
            "NOMAD_GROUP_NAME": alloc["TaskGroup"],
            "NOMAD_TASK_NAME": task["Name"],
            "NOMAD_JOB_ID": job["ID"],
            "NOMAD_JOB_NAME": job["Name"],
            "NOMAD_NAMESPACE": alloc["Namespace"],
            "NOMAD_DC": self.node["Datacenter"],
            "NOMAD_REGION": job["Region"],
            "NOMAD_CPU_LIMIT": str(task["Resources"]["CPU"]),
            "NOMAD_MEMORY_LIMIT": str(task["Resources"]["MemoryMB"]),
        }
        if job["ParentID"]:
            found["NOMAD_JOB_PARENT_ID"] = job["ParentID"]
        for port in alloc["AllocatedResources"]["Shared"]["Ports"] or ():
            label, value, address = port["Label"], str(port["Value"]), port["HostIP"]
            inside = str(port["To"])
            for name, text in (
                ("IP", address),
                ("PORT", inside),
                ("ADDR", f"{address}:{value}"),
                ("ALLOC_PORT", inside),
                ("HOST_IP", address),
                ("HOST_PORT", value),
                ("HOST_ADDR", f"{address}:{value}"),
            ):
                found |= _both(f"NOMAD_{name}_{label}", text)
        for name, text in self._meta().items():
            found |= _both(f"NOMAD_META_{name}", str(text))
            found[f"NOMAD_META_{_UNUSUAL.sub('_', name).upper()}"] = str(text)
        return found | self._upstreams()

    def _meta(self) -> Json:
        job = self.alloc["Job"]
        return {**(job["Meta"] or {}), **(self.group.get("Meta") or {}), **(self.task["Meta"] or {})}

    def _upstreams(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for service in self.group.get("Services") or ():
            admin = self.ports.get(emulation.admin_port(service["Name"]))
            if admin:
                found |= _both(f"NOMAD_ENVOY_ADMIN_ADDR_{service['Name']}", f"{LOOPBACK}:{admin}")
            for upstream in emulation.upstreams((service["Connect"] or {}).get("SidecarService") or {}):
                name = upstream["DestinationName"]
                port = str(self.ports.get(emulation.upstream_port(name)) or upstream["LocalBindPort"])
                for kind, text in (("IP", LOOPBACK), ("PORT", port), ("ADDR", f"{LOOPBACK}:{port}")):
                    found |= _both(f"NOMAD_UPSTREAM_{kind}_{name}", text)
        return found


def _both(name: str, value: str) -> dict[str, str]:
    """A variable under its own name, by which texts refer to it, and under one that a shell can read."""
    return {name: value, _UNUSUAL.sub("_", name): value}
