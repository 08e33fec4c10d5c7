"""A job with its defaults -> what is wrong with it, in the words in which Nomad refuses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hms_nomad.dev.agent.periodic import schedules
from hms_nomad.dev.agent.templates import trouble_with
from hms_nomad.dev.agent.values import Json, duration_text

_TYPES = ("service", "batch", "system", "sysbatch")


def errors_of(job: Json) -> tuple[str, ...]:
    """Each thing that is wrong with the job; none for one that may be registered."""
    return tuple(_job_errors(job))


def joined(errors: Iterable[str]) -> str:
    """Errors as Nomad's servers write several of them."""
    listed = list(errors)
    count = "1 error" if len(listed) == 1 else f"{len(listed)} errors"
    lines = "".join(f"\t* {error}\n" for error in listed)
    return f"{count} occurred:\n{lines}\n"


def _job_errors(job: Json) -> Iterator[str]:
    if not job.get("ID"):
        yield "Missing job ID"
    elif " " in job["ID"] or "\0" in job["ID"]:
        yield "Job ID contains a space" if " " in job["ID"] else "Job ID contains a null character"
    if job["Type"] not in _TYPES:
        yield f'Invalid job type: "{job["Type"]}"'
    if not 1 <= int(job["Priority"]) <= 32767:
        yield "Job priority must be between [1, 32767]"
    if not job["TaskGroups"]:
        yield "Missing job task groups"
    seen: dict[str, int] = {}
    for number, group in enumerate(job["TaskGroups"], start=1):
        name = group.get("Name") or ""
        if not name:
            yield f"Job task group {number} missing name"
        elif name in seen:
            yield f"Job task group {number} redefines '{name}' from group {seen[name]}"
        seen.setdefault(name, number)
        if found := list(_group_errors(group, job)):
            yield f"Task group {name} validation failed: {joined(found)}"
    if job["Periodic"]:
        yield from _schedule_errors(job)
    if job["ParameterizedJob"] and job["Type"] not in ("batch", "sysbatch"):
        yield "Parameterized job can only be used with batch or sysbatch scheduler"


def _schedule_errors(job: Json) -> Iterator[str]:
    if job["Type"] not in ("batch", "sysbatch"):
        yield 'Periodic can only be used with "batch" or "sysbatch" scheduler'
    try:
        schedules(job["Periodic"])
    except ValueError as error:
        yield f"Invalid cron spec: {error}"


def _group_errors(group: Json, job: Json) -> Iterator[str]:
    if int(group["Count"]) < 0:
        yield "Task group count can't be negative"
    if not group["Tasks"]:
        yield "Missing tasks for task group"
    yield from _scaling_errors(group)
    if group["Update"]:
        yield from _update_errors(group["Update"], job)
    seen: set[str] = set()
    for number, task in enumerate(group["Tasks"], start=1):
        name = task.get("Name") or ""
        if not name:
            yield f"Task {number} missing name"
        elif name in seen:
            yield f"Task {number} redefines '{name}'"
        seen.add(name)
        if found := list(_task_errors(task)):
            yield f"Task {name} validation failed: {joined(found)}"


def _scaling_errors(group: Json) -> Iterator[str]:
    scaling = group["Scaling"]
    if not scaling:
        return
    least, most, count = int(scaling.get("Min") or 0), scaling.get("Max"), int(group["Count"])
    if most is None:
        yield "Scaling policy invalid: maximum count must be specified"
        return
    if least > int(most):
        yield "Scaling policy invalid: maximum count must not be less than minimum count"
    if count < least:
        yield "Scaling policy invalid: task group count must not be less than minimum count in scaling policy"
    if count > int(most):
        yield "Scaling policy invalid: task group count must not be greater than maximum count in scaling policy"


def _update_errors(update: Json, job: Json) -> Iterator[str]:
    if job["Type"] != "service":
        return
    if update["MaxParallel"] < 0:
        yield f"Max parallel can not be less than zero: {update['MaxParallel']} < 0"
    if update["Canary"] < 0:
        yield f"Canary count can not be less than zero: {update['Canary']} < 0"
    if update["AutoPromote"] and not update["Canary"]:
        yield "Auto Promote requires a Canary count greater than zero"
    pairs = (
        ("MinHealthyTime", "HealthyDeadline", "Minimum healthy time must be less than healthy deadline"),
        ("HealthyDeadline", "ProgressDeadline", "Healthy deadline must be less than progress deadline"),
    )
    for short, long, text in pairs:
        if update[long] and update[short] >= update[long]:
            yield f"{text}: {duration_text(update[short])} > {duration_text(update[long])}"


def _task_errors(task: Json) -> Iterator[str]:
    if not task.get("Driver"):
        yield "Missing task driver"
    if task["Vault"]:
        yield "the embedded agent has no Vault"
    if task["KillTimeout"] < 0:
        yield "KillTimeout must be a positive value"
    if task["Resources"]["MemoryMB"] < 10:
        yield f"minimum MemoryMB value is 10; got {task['Resources']['MemoryMB']}"
    for number, template in enumerate(task["Templates"] or (), start=1):
        found = list(_template_errors(template))
        if found:
            yield f"Template {number} validation failed: {joined(found)}"


def _template_errors(template: Json) -> Iterator[str]:
    if not template["SourcePath"] and not template["EmbeddedTmpl"]:
        yield "Must specify a source path or have an embedded template"
    if not template["DestPath"]:
        yield "Must specify a destination for the template"
    if trouble := trouble_with(template):
        yield trouble
    try:
        int(template["Perms"], 8)
    except ValueError:
        yield f'Failed to parse "{template["Perms"]}" as octal: invalid syntax'
    if template["ChangeMode"] == "signal" and not template["ChangeSignal"]:
        yield "Must specify signal value when change mode is signal"
