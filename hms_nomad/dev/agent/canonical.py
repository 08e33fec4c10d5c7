"""A job as somebody sent it -> the job as Nomad keeps it: defaults filled in, a task for each Connect sidecar added."""

from __future__ import annotations

import copy
from typing import Any

from hms_nomad.dev.agent.values import SECOND, Json

_MINUTE, _HOUR = 60 * SECOND, 3600 * SECOND
PROXY_PREFIX = "connect-proxy"
"""How the task and the port of a sidecar begin; the name of its service follows."""

_UPDATE: Json = {
    "Stagger": 30 * SECOND,
    "MaxParallel": 1,
    "HealthCheck": "checks",
    "MinHealthyTime": 10 * SECOND,
    "HealthyDeadline": 5 * _MINUTE,
    "ProgressDeadline": 10 * _MINUTE,
    "AutoRevert": False,
    "AutoPromote": False,
    "Canary": 0,
}
_RESTART: dict[bool, Json] = {
    False: {"Attempts": 2, "Interval": 30 * _MINUTE, "Delay": 15 * SECOND, "Mode": "fail", "RenderTemplates": False},
    True: {"Attempts": 3, "Interval": 24 * _HOUR, "Delay": 15 * SECOND, "Mode": "fail", "RenderTemplates": False},
}
_RESCHEDULE: dict[bool, Json] = {
    False: {
        "Attempts": 0,
        "Interval": 0,
        "Delay": 30 * SECOND,
        "DelayFunction": "exponential",
        "MaxDelay": _HOUR,
        "Unlimited": True,
    },
    True: {
        "Attempts": 1,
        "Interval": 24 * _HOUR,
        "Delay": 5 * SECOND,
        "DelayFunction": "constant",
        "MaxDelay": 0,
        "Unlimited": False,
    },
}
_JOB: Json = {
    "Type": "service",
    "Namespace": "default",
    "Region": "global",
    "Priority": 50,
    "AllAtOnce": False,
    "NodePool": "default",
    "Meta": None,
    "Stop": False,
    "Constraints": None,
    "Affinities": None,
    "Spreads": None,
    "Periodic": None,
    "ParameterizedJob": None,
    "Dispatched": False,
    "Payload": None,
    "ParentID": "",
    "VersionTag": None,
    "StatusDescription": "",
    "Status": "",
}
_GROUP: Json = {
    "Constraints": None,
    "Affinities": None,
    "Spreads": None,
    "Networks": None,
    "Services": None,
    "Meta": None,
    "Scaling": None,
    "ShutdownDelay": None,
    "Volumes": None,
}
_TASK: Json = {
    "User": "",
    "Config": None,
    "Env": None,
    "Services": None,
    "Constraints": None,
    "Meta": None,
    "KillTimeout": 5 * SECOND,
    "KillSignal": "",
    "ShutdownDelay": 0,
    "Templates": None,
    "Artifacts": None,
    "Leader": False,
    "Kind": "",
    "Lifecycle": None,
    "DispatchPayload": None,
    "Vault": None,
    "Consul": None,
    "VolumeMounts": None,
}
_TEMPLATE: Json = {
    "SourcePath": "",
    "DestPath": "",
    "EmbeddedTmpl": "",
    "ChangeMode": "restart",
    "ChangeSignal": "",
    "Splay": 5 * SECOND,
    "Perms": "0644",
    "LeftDelim": "{{",
    "RightDelim": "}}",
    "Envvars": False,
    "ErrMissingKey": False,
}
_SERVICE: Json = {
    "Provider": "consul",
    "PortLabel": "",
    "Address": "",
    "AddressMode": "auto",
    "Tags": None,
    "CanaryTags": None,
    "Meta": None,
    "CanaryMeta": None,
    "Checks": None,
    "Connect": None,
    "OnUpdate": "require_healthy",
    "EnableTagOverride": False,
    "Kind": "",
    "TaskName": "",
}
_CHECK: Json = {
    "Type": "",
    "Command": "",
    "Args": None,
    "Path": "",
    "Protocol": "",
    "PortLabel": "",
    "Method": "",
    "Header": None,
    "Body": "",
    "InitialStatus": "",
    "TLSSkipVerify": False,
    "GRPCService": "",
    "GRPCUseTLS": False,
    "TaskName": "",
    "OnUpdate": "require_healthy",
    "SuccessBeforePassing": 0,
    "FailuresBeforeCritical": 0,
}


def canonical(sent: Json) -> Json:
    """The job with every default filled in. ``sent`` stays as it is."""
    job = filled(_JOB, copy.deepcopy(sent))
    job["Name"] = job.get("Name") or job.get("ID") or ""
    job["Datacenters"] = job.get("Datacenters") or ["*"]
    batch = job["Type"] in ("batch", "sysbatch")
    if not job.get("Update"):
        job["Update"] = dict(_UPDATE) if job["Type"] == "service" else None
    else:
        job["Update"] = filled(_UPDATE, job["Update"])
    job["TaskGroups"] = [_group(job, group, batch=batch) for group in job.get("TaskGroups") or ()]
    if job["ParameterizedJob"]:
        job["ParameterizedJob"] = filled(
            {"Payload": "optional", "MetaRequired": None, "MetaOptional": None}, job["ParameterizedJob"]
        )
    if job["Periodic"]:
        job["Periodic"] = filled(
            {"Enabled": True, "SpecType": "cron", "TimeZone": "UTC", "ProhibitOverlap": False}, job["Periodic"]
        )
    return job


def filled(defaults: Json, given: Json) -> Json:
    """``given`` with the defaults of what it leaves out or leaves null."""
    return {**defaults, **{key: value for key, value in given.items() if value is not None}}


def _group(job: Json, given: Json, *, batch: bool) -> Json:
    group = filled(_GROUP, given)
    group["Count"] = given["Count"] if given.get("Count") is not None else _count(group)
    group["RestartPolicy"] = filled(_RESTART[batch], given.get("RestartPolicy") or {})
    if job["Type"] in ("service", "batch"):
        group["ReschedulePolicy"] = filled(_RESCHEDULE[batch], given.get("ReschedulePolicy") or {})
    disk = {"Sticky": False, "Migrate": False, "SizeMB": 300}
    group["EphemeralDisk"] = filled(disk, given.get("EphemeralDisk") or {})
    group["Update"] = filled(job["Update"], given.get("Update") or {}) if job["Update"] else None
    group["Services"] = [_service(one, group, job) for one in given.get("Services") or ()] or None
    group["Networks"] = [_network(one) for one in given.get("Networks") or ()] or None
    tasks = [_task(task, group, job) for task in given.get("Tasks") or ()]
    group["Tasks"] = tasks
    if group["Scaling"]:
        group["Scaling"] = {
            **filled({"Type": "horizontal", "Enabled": True, "Policy": None}, group["Scaling"]),
            "Min": group["Scaling"].get("Min") if group["Scaling"].get("Min") is not None else group["Count"],
        }
    for service in group["Services"] or ():
        _add_sidecar(group, service)
    return group


def _count(group: Json) -> int:
    minimum = (group.get("Scaling") or {}).get("Min")
    return int(minimum) if minimum is not None else 1


def _network(given: Json) -> Json:
    network = filled({"Mode": "host", "DynamicPorts": None, "ReservedPorts": None, "Hostname": "", "DNS": None}, given)
    for kind in ("DynamicPorts", "ReservedPorts"):
        ports = [filled({"Value": 0, "To": 0, "HostNetwork": "default"}, port) for port in network[kind] or ()]
        network[kind] = ports or None
    return network


def _task(given: Json, group: Json, job: Json) -> Json:
    task = filled(_TASK, given)
    task["LogConfig"] = filled({"MaxFiles": 10, "MaxFileSizeMB": 10, "Disabled": False}, given.get("LogConfig") or {})
    resources = {"CPU": 100, "Cores": 0, "MemoryMB": 300, "MemoryMaxMB": 0, "DiskMB": 0}
    task["Resources"] = filled(resources, given.get("Resources") or {})
    task["RestartPolicy"] = filled(group["RestartPolicy"], given.get("RestartPolicy") or {})
    task["Templates"] = [filled(_TEMPLATE, one) for one in given.get("Templates") or ()] or None
    task["Services"] = [_service(one, group, job, task["Name"]) for one in given.get("Services") or ()] or None
    return task


def _service(given: Json, group: Json, job: Json, task: str = "") -> Json:
    service = filled(_SERVICE, given)
    parts = [str(job.get("ID")), str(group.get("Name")), *([task] if task else [])]
    service["Name"] = service.get("Name") or "-".join(parts)
    service["TaskName"] = service["TaskName"] or task
    service["Checks"] = [_check(one, service) for one in service["Checks"] or ()] or None
    return service


def _check(given: Json, service: Json) -> Json:
    check = filled(_CHECK, given)
    check["Name"] = check.get("Name") or f'service: "{service["Name"]}" check'
    return check


def _add_sidecar(group: Json, service: Json) -> None:
    """The sidecar's task and port, as Nomad's own admission adds them; twice changes nothing."""
    connect: Any = service["Connect"]
    if not connect or connect.get("SidecarService") is None:
        return
    name = f"{PROXY_PREFIX}-{service['Name']}"
    wanted = connect.get("SidecarTask") or {}
    if all(task["Name"] != name for task in group["Tasks"]):
        base: Json = {
            "Name": name,
            "Kind": f"{PROXY_PREFIX}:{service['Name']}",
            "Driver": wanted.get("Driver") or "docker",
            "ShutdownDelay": wanted.get("ShutdownDelay") or 5 * SECOND,
            "Lifecycle": {"Hook": "prestart", "Sidecar": True},
            "Resources": filled({"CPU": 250, "MemoryMB": 128}, wanted.get("Resources") or {}),
            "LogConfig": filled({"MaxFiles": 2, "MaxFileSizeMB": 2}, wanted.get("LogConfig") or {}),
        }
        more = {key: value for key, value in wanted.items() if key not in base and value is not None}
        group["Tasks"].append(_task({**more, **base}, group, {"ID": ""}))
    networks = group["Networks"] or [_network({"Mode": "bridge"})]
    group["Networks"] = networks
    ports = networks[0]["DynamicPorts"] or []
    if all(port["Label"] != name for port in ports):
        networks[0]["DynamicPorts"] = [*ports, {"Label": name, "Value": 0, "To": -1, "HostNetwork": "default"}]
