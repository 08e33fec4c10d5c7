"""A running Nomad job -> the draft of a spec that stands for the same, and what of the job it cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hms_nomad.compile.desired import OWNER_KEY
from hms_nomad.patterns import lazy_pattern
from hms_nomad.workflows.init.draft import CannotConvertError, Draft, label_of, literal
from hms_nomad.workflows.init.task import TaskConversion

_SECOND = 1_000_000_000
_MESH = lazy_pattern(r"connect-|gateway")
_ATTRIBUTE = lazy_pattern(r"\$\{((?:attr|meta|node|device)\.[A-Za-z0-9_.-]+)\}\Z")
_OURS = frozenset({OWNER_KEY, "release", "digest", "version", "attempt", "kind", "owner"})
_HOOKS = {("prestart", False): "prestart", ("prestart", True): "sidecar", ("poststop", False): "poststop"}

# Ports of the sidecar and of what it answers in its own right.
_OWN_PORT = lazy_pattern(r"connect-proxy-|probe-|(metrics|health)\Z")
_KNOWN_OF_GROUPS = frozenset(
    {
        *("Name", "Count", "Update", "Constraints", "Affinities", "Spreads", "Scaling", "RestartPolicy", "Tasks"),
        *("ReschedulePolicy", "EphemeralDisk", "Meta", "Networks", "Services", "Volumes", "ShutdownDelay", "Migrate"),
    }
)
_KNOWN_OF_JOBS = frozenset(
    {
        *("ID", "Name", "Type", "Namespace", "Region", "Priority", "Datacenters", "NodePool", "Constraints", "UI"),
        *("Affinities", "Spreads", "TaskGroups", "Update", "Periodic", "ParameterizedJob", "Meta", "Status", "Stable"),
        # What Nomad keeps of every job.
        *("StatusDescription", "Version", "SubmitTime", "CreateIndex", "ModifyIndex", "JobModifyIndex", "Stop"),
        *("VersionTag", "NomadTokenID", "ParentID", "Dispatched", "DispatchIdempotencyToken", "Payload"),
    }
)


def draft_of_job(job: Mapping[str, Any], group_name: str = "") -> Draft:
    """The draft for a job struct as Nomad stores it (Nomad API, ``GET /v1/job/:id``).

    ``group_name`` chooses one of several groups. Raises CannotConvertError for what no spec can describe: a system job,
    a gateway, a driver that the platform does not run.
    """
    return _Conversion(job, group_name).draft()


class _Conversion:
    def __init__(self, job: Mapping[str, Any], group_name: str) -> None:
        self._job = job
        self._left: list[str] = []
        self._hatch: dict[str, dict[str, Any]] = {}
        self._group = self._chosen_group(group_name)
        self._tasks = [task for task in self._group.get("Tasks") or () if not _MESH.match(task.get("Kind") or "")]
        self._batch = job.get("Type") == "batch"
        self._of_task = TaskConversion(self._left)

    def draft(self) -> Draft:
        if self._job.get("Type") not in ("service", "batch"):
            raise CannotConvertError(f"a {self._job.get('Type')} job runs on every node, which no spec describes")
        main = self._main_task()
        services: Sequence[Mapping[str, Any]] = self._group.get("Services") or main.get("Services") or ({},)
        service = services[0]
        fields: dict[str, Any] = {
            "name": self._name(),
            "version": self._version(main, service),
            **({"kind": "job"} if self._batch else {}),
            **self._of_task.program(main, "task", self._to_hatch),
        }
        fields |= self._called(service)
        if self._batch:
            fields |= self._schedule()
        else:
            fields |= self._reached(service)
            fields["actions"] = {
                label_of(str(one.get("Name"))): {"command": [one.get("Command") or "", *(one.get("Args") or ())]}
                for one in main.get("Actions") or ()
            }
        fields |= self._volumes(main)
        fields |= self._helpers(main)
        fields |= self._placement(main)
        fields |= self._people()
        self._rest(main)
        if self._hatch:
            fields["nomad"] = self._hatch
        return Draft(
            literal({key: value for key, value in fields.items() if value not in ({}, [], None)}), self._all_left()
        )

    def _all_left(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._left))

    def _chosen_group(self, name: str) -> Mapping[str, Any]:
        groups: Sequence[Mapping[str, Any]] = self._job.get("TaskGroups") or ()
        chosen = next((group for group in groups if group.get("Name") == name), None) if name else None
        if name and chosen is None:
            raise CannotConvertError(
                f"there is no group {name!r}; there is {', '.join(str(g['Name']) for g in groups)}"
            )
        if not groups:
            raise CannotConvertError("the job has no groups")
        chosen = chosen or next((group for group in groups if group.get("Services")), groups[0])
        self._left += [f"group {group['Name']}: one spec is one group" for group in groups if group is not chosen]
        return chosen

    def _main_task(self) -> Mapping[str, Any]:
        mains = [task for task in self._tasks if not task.get("Lifecycle")]
        if not mains:
            raise CannotConvertError("the job has no task of its own, only gateways or helpers")
        return next((task for task in mains if task.get("Leader")), mains[0])

    def _name(self) -> str:
        wanted = str(self._job.get("ID") or "")
        name = label_of(wanted)
        if name != wanted:
            self._left.append(f"the name {wanted}: services have DNS labels, so this one is {name}")
        return name

    def _version(self, task: Mapping[str, Any], service: Mapping[str, Any]) -> str:
        said = (service.get("Meta") or {}).get("version") or (self._job.get("Meta") or {}).get("version")
        image = str((task.get("Config") or {}).get("image") or "").partition("@")[0]
        return str(said or image.rpartition("/")[2].partition(":")[2] or "1.0.0")

    def _called(self, service: Mapping[str, Any]) -> dict[str, Any]:
        """The services that it calls."""
        if (service.get("Connect") or {}).get("Gateway"):
            raise CannotConvertError("the job is a gateway, which the platform brings itself")
        uses = [label_of(str(one.get("DestinationName"))) for one in _proxy(service).get("Upstreams") or ()]
        if uses:
            self._left.append("the local ports of its upstreams: each dependency is now http://NAME.mesh")
        return {"uses": sorted(set(uses))}

    def _reached(self, service: Mapping[str, Any]) -> dict[str, Any]:
        """Port, protocol, health, scaling and dependencies of a service."""
        fields: dict[str, Any] = {"port": self._port(service)}
        count = int(self._group.get("Count") or 1)
        scaling = self._group.get("Scaling") or {}
        least = int(scaling.get("Min") or count)
        fields["scaling"] = {"min": least, "max": max(int(scaling.get("Max") or count), least, 1)}
        if scaling.get("Policy") and (self._job.get("Meta") or {}).get(OWNER_KEY) is None:
            self._left.append("the scaling policy; scaling.cpu and its neighbours say when instances are added")
        fields |= self._health(service)
        protocol = (_proxy(service).get("Config") or {}).get("protocol")
        if protocol in ("http2", "grpc", "tcp"):
            fields["protocol"] = protocol
        if self._group.get("ShutdownDelay"):
            fields["rollout"] = {"drain": f"{max(int(self._group['ShutdownDelay']) // _SECOND, 0)}s"}
        if service and label_of(str(service.get("Name"))) != self._name():
            self._left.append(f"the service's name {service.get('Name')}: callers find it as {self._name()}")
        if service.get("Tags") or service.get("CanaryTags"):
            self._left.append(
                f"the service's tags {', '.join([*(service.get('Tags') or ()), *(service.get('CanaryTags') or ())])}"
            )
        more = [str(one.get("Name")) for one in (self._group.get("Services") or ())[1:]]
        self._left += [f"the further service {name}: one spec is one service" for name in more]
        self._left.append("update, restart and reschedule blocks: the rollout of the spec stands for them")
        if (self._job.get("Meta") or {}).get(OWNER_KEY):
            self._left.append("routes, rights and probes: they stand in Consul, not in the job")
        return fields

    def _port(self, service: Mapping[str, Any]) -> int:
        label = str(service.get("PortLabel") or "")
        if label.isdigit():
            return int(label)
        for network in self._group.get("Networks") or ():
            ports = [*(network.get("DynamicPorts") or ()), *(network.get("ReservedPorts") or ())]
            ports = [port for port in ports if not _OWN_PORT.match(str(port.get("Label")))]
            for port in sorted(ports, key=lambda one: one.get("Label") != label):
                if port.get("Value") and port in (network.get("ReservedPorts") or ()):
                    self._left.append(f"the fixed port {port['Value']} of the node: services are reached by the mesh")
                if port.get("To") or port.get("Value"):
                    return int(port.get("To") or port["Value"])
        self._left.append("the port: Nomad chose it; 8080 stands here, and the variable PORT tells the program")
        return 8080

    def _health(self, service: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for check in service.get("Checks") or ():
            kind = {"script": "command"}.get(check.get("Type"), check.get("Type"))
            times = {name: f"{max(int(check.get(key) or _SECOND) // _SECOND, 1)}s"
                     for name, key in (("interval", "Interval"), ("timeout", "Timeout"))}  # fmt: skip
            if fields or kind not in ("http", "grpc", "command"):
                self._left.append(f"the {check.get('Type')} check {check.get('Name') or ''}".rstrip())
            elif kind == "http":
                fields["health"] = {"path": check.get("Path") or "/", **times}
            elif kind == "grpc":
                fields["health"] = {"kind": "grpc", "service": check.get("GRPCService") or None, **times}
            else:
                words = [check.get("Command") or "", *(check.get("Args") or ())]
                fields["health"] = {"kind": "command", "command": words, **times}
        return fields

    def _schedule(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if periodic := self._job.get("Periodic"):
            times = [*(periodic.get("Specs") or ()), *([periodic["Spec"]] if periodic.get("Spec") else ())]
            fields["schedule"] = {
                "cron": times[0] if times else "",
                "timezone": periodic.get("TimeZone") or "UTC",
                "overlap": not periodic.get("ProhibitOverlap"),
            }
            self._left += [f"the further time {each}: a job has one" for each in times[1:]]
        if self._job.get("ParameterizedJob"):
            self._left.append("its parameters: a job of a spec takes none")
        policy = self._group.get("RestartPolicy") or {}
        delay = max(int(policy.get("Delay") or _SECOND) // _SECOND, 1)
        fields["attempts"] = {"most": min(int(policy.get("Attempts") or 0) + 1, 100), "delay": f"{delay}s"}
        self._left.append("the reschedule block: a run that failed is started again by the next deploy")
        return fields

    def _volumes(self, main: Mapping[str, Any]) -> dict[str, Any]:
        claims = self._group.get("Volumes") or {}
        mounted = {mount.get("Volume") for task in self._tasks for mount in task.get("VolumeMounts") or ()}
        self._left += [f"the volume {name}, which no task mounts" for name in claims if name not in mounted]
        found = {}
        for mount in main.get("VolumeMounts") or ():
            claim = claims.get(mount.get("Volume")) or {}
            if claim.get("Type") not in ("host", "csi") or claim.get("PerAlloc"):
                self._left.append(f"the volume {mount.get('Volume')}")
                continue
            one = {
                "kind": claim["Type"],
                "source": claim.get("Source"),
                "path": str(mount.get("Destination") or "").rstrip("/"),
                "read_only": bool(claim.get("ReadOnly")),
            }
            modes = {"access": claim.get("AccessMode"), "attachment": claim.get("AttachmentMode")}
            one |= {name: value for name, value in modes.items() if value}
            found[label_of(str(mount.get("Volume")))] = one
        return {"volumes": found}

    def _helpers(self, main: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for task in self._tasks:
            if task is main:
                continue
            cycle = task.get("Lifecycle")
            hook = _HOOKS.get((cycle.get("Hook"), bool(cycle.get("Sidecar")))) if cycle else "sidecar"
            name = label_of(str(task.get("Name")))
            if hook is None:
                self._left.append(f"the task {task.get('Name')}, which runs by a hook that helpers do not have")
                continue
            if not cycle:
                self._left.append(
                    f"the task {task.get('Name')} as an equal: it is a helper now, restarted when it ends"
                )

            def other(key: str, value: Mapping[str, Any], name: str = name) -> None:
                self._left.extend(f"task {name}: {key}.{setting}" for setting in value)

            mounts = {
                label_of(str(mount.get("Volume"))): str(mount.get("Destination") or "").rstrip("/")
                for mount in task.get("VolumeMounts") or ()
            }
            try:
                found[name] = {"hook": hook, **self._of_task.program(task, "task", other)}
                if mounts:
                    found[name]["mounts"] = mounts
            except CannotConvertError as error:
                self._left.append(str(error))
        return {"tasks": found}

    def _placement(self, main: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if (datacenters := list(self._job.get("Datacenters") or ())) and datacenters != ["*"]:
            fields["datacenters"] = datacenters
        if self._job.get("NodePool") not in (None, "", "default"):
            fields["node_pool"] = self._job["NodePool"]
        constraints = []
        for one in [c for part in (self._job, self._group, main) for c in part.get("Constraints") or ()]:
            attribute = _ATTRIBUTE.match(str(one.get("LTarget") or ""))
            if one.get("Operand") == "distinct_hosts":
                fields["distinct_hosts"] = True
            elif attribute and not attribute.group(1).startswith(
                ("attr.consul", "attr.vault", "attr.nomad", "attr.plugins.cni")
            ):
                kept = {"attribute": attribute.group(1), "operator": one.get("Operand") or "="}
                constraints.append(kept | ({"value": one["RTarget"]} if one.get("RTarget") else {}))
            elif not attribute:
                self._left.append(f"the constraint on {one.get('LTarget')}")
        if constraints:
            fields["constraints"] = constraints
        spreads = [s for part in (self._job, self._group) for s in part.get("Spreads") or ()]
        if spreads:
            fields["spread"] = [
                {
                    "attribute": str(one.get("Attribute") or "").strip("${}"),
                    "weight": one.get("Weight") or 50,
                    "targets": {t["Value"]: t["Percent"] for t in one.get("SpreadTarget") or ()},
                }
                for one in spreads
            ]
        return {"placement": fields}

    def _people(self) -> dict[str, Any]:
        services: Sequence[Mapping[str, Any]] = self._group.get("Services") or ({},)
        service = services[0]
        owner = (self._job.get("Meta") or {}).get("owner") or (service.get("Meta") or {}).get("owner")
        interface = self._job.get("UI") or {}
        fields: dict[str, Any] = {"owner": owner}
        fields["description"] = str(interface.get("Description") or "").removesuffix(f"Owner: {owner}").strip() or None
        fields["links"] = {
            str(one.get("Label")): one.get("Url") or one.get("URL") for one in interface.get("Links") or ()
        }
        return fields

    def _to_hatch(self, key: str, value: Mapping[str, Any]) -> None:
        if value:
            self._hatch.setdefault("task", {})[key] = dict(value)

    def _rest(self, main: Mapping[str, Any]) -> None:
        """What has no field but a place in the escape hatch."""
        parts: tuple[tuple[str, Mapping[str, Any]], ...] = (("job", self._job), ("group", self._group), ("task", main))
        for part, source in parts:
            if meta := {key: value for key, value in (source.get("Meta") or {}).items() if key not in _OURS}:
                self._hatch.setdefault(part, {})["Meta"] = meta
        if self._job.get("Priority") not in (None, 0, 50):
            self._hatch.setdefault("job", {})["Priority"] = self._job["Priority"]
        if main.get("KillTimeout") not in (None, 0, 5 * _SECOND, 30 * _SECOND):
            self._hatch.setdefault("task", {})["KillTimeout"] = main["KillTimeout"]
        if main.get("KillSignal"):
            self._hatch.setdefault("task", {})["KillSignal"] = main["KillSignal"]
        affinities = [a for part in (self._job, self._group, main) for a in part.get("Affinities") or ()]
        if affinities:
            self._hatch.setdefault("group", {})["Affinities"] = affinities
        disk = self._group.get("EphemeralDisk") or {}
        if disk.get("SizeMB") not in (None, 0, 300) or disk.get("Sticky") or disk.get("Migrate"):
            self._hatch.setdefault("group", {})["EphemeralDisk"] = dict(disk)
        logs = main.get("LogConfig") or {}
        if (logs.get("MaxFiles", 10), logs.get("MaxFileSizeMB", 10)) not in {(10, 10), (5, 10)}:
            self._hatch.setdefault("task", {})["LogConfig"] = dict(logs)
        self._left += [f"the job's {key}" for key, value in self._job.items() if value and key not in _KNOWN_OF_JOBS]
        self._left += [
            f"the group's {key}" for key, value in self._group.items() if value and key not in _KNOWN_OF_GROUPS
        ]
        self._networks()

    def _networks(self) -> None:
        labels = [
            str(port.get("Label"))
            for network in self._group.get("Networks") or ()
            for port in [*(network.get("DynamicPorts") or ()), *(network.get("ReservedPorts") or ())]
            if not _OWN_PORT.match(str(port.get("Label")))
        ]
        self._left += [f"the further port {label}: one service has one port" for label in labels[1:]]
        for network in self._group.get("Networks") or ():
            if network.get("DNS"):
                self._left.append("the network's DNS settings")
            if network.get("Mode") == "host":
                self._left.append("the network of the host: the spec's instances have one of their own")


def _proxy(service: Mapping[str, Any]) -> Mapping[str, Any]:
    sidecar = (service.get("Connect") or {}).get("SidecarService") or {}
    proxy: Mapping[str, Any] = sidecar.get("Proxy") or {}
    return proxy
