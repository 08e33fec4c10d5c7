"""How deploys ended -> the chapter's lines, the report of a failure, the word after an interruption, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from hms_nomad.apply.failure import Failure
from hms_nomad.apply.progress import Event
from hms_nomad.output.plans import plan_document
from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.change import Plan

_PLAIN_CAUSES = frozenset({"D600", "D607", "D613", "D614", "D615"})


class Deployed(Protocol):
    """What is printed of a deploy: the fields of ``hms_nomad.workflows.deploying.deploy.DeployOutcome``."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def changed(self) -> bool: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def release(self) -> str: ...  # noqa: D102
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def instances(self) -> int: ...  # noqa: D102
    @property
    def scaling(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def plan(self) -> Plan: ...  # noqa: D102
    @property
    def failure(self) -> Failure | None: ...  # noqa: D102
    @property
    def deployment(self) -> str | None: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def number(self) -> int | None: ...  # noqa: D102
    @property
    def hint(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def driver(self) -> str: ...  # noqa: D102


def deploy_lines(printer: Printer, ended: Deployed, image: str | None) -> Iterator[str]:
    """What stdout says of a deploy that did not fail (chapter 12, section 3.2)."""
    tick = printer.style("✓", "green")
    if ended.kind == "external":
        word = "is in the mesh already: nothing to change" if ended.status == "unchanged" else "is in the mesh"
        yield f"{tick} {ended.service} {ended.version} {word}"
        yield f"Service URL: {ended.url}"
        return
    if ended.kind != "service":
        yield f"{tick} {_job_line(ended)}"
        return
    if ended.status == "unchanged":
        yield f"{tick} {ended.service} {ended.version} runs already: nothing to change"
    elif ended.status == "waiting":
        yield f"{tick} {ended.service} {ended.version} is healthy and has no traffic yet"
        yield f"Preview: hms-nomad connect {ended.service} --release {ended.release}"
        yield f"Next: {ended.hint}"
    elif ended.status == "detached" and ended.driver:
        yield f"{tick} {ended.service} {ended.version} registered; the cluster drives its rollout as {ended.driver}"
        yield f"Next: {ended.hint}"
    elif ended.status == "detached" and ended.hint:
        yield f"{tick} {ended.service} {ended.version} registered; its traffic does not move by itself"
        yield f"Next: {ended.hint}"
    elif ended.status == "detached":
        yield f"{tick} {ended.service} {ended.version} registered; Nomad goes on with the deployment"
        yield f"Follow it with: hms-nomad status {ended.service}"
    else:
        yield f"{tick} {_what_came(ended, image)}"
        yield f"{tick} Registered in service mesh"
        yield f"{tick} Auto-scaler set ({ended.scaling['min']}-{ended.scaling['max']})"
    yield f"Service URL: {ended.url}"


def failure_lines(printer: Printer, ended: Deployed) -> Iterator[str]:
    """Why a deploy failed, so that no other command has to be asked."""
    failure = ended.failure
    reason = inert(failure.reason) if failure else "the deployment failed"
    yield f"{printer.style_note('error:', 'red')} {ended.service} {ended.version} was not deployed: {reason}"
    if failure is None:
        return
    yield from evidence_lines(failure)
    if ended.kind != "external":
        yield f"  next: {_next_command(ended, failure)}"


def evidence_lines(failure: Failure) -> Iterator[str]:
    """What a failed deployment left behind: the instance, its last events and lines, and the answers of its checks."""
    if failure.allocation:
        yield f"  instance {failure.allocation[:8]}, task {failure.task or 'unknown'}"
    for title, lines in (("events", failure.events), ("last lines", failure.lines), ("checks", failure.checks)):
        if lines:
            yield f"  {title}:"
            yield from (f"    {inert(line)}" for line in lines)
    yield from _cause(failure.events)


def _cause(events: Sequence[str]) -> Iterator[str]:
    """What the doctor would call it, where that says more than the events themselves; most deploys need no doctor."""
    from hms_nomad.doctor.finding import CODES
    from hms_nomad.doctor.known_answers import decoded

    found = (decoded(event) for event in events)
    if cause := next((code for code in found if code not in _PLAIN_CAUSES), ""):
        yield f"  {cause}: {CODES[cause].means}: {CODES[cause].hint}"


def deploy_document(ended: Deployed, file: str) -> dict[str, Any]:
    """A deploy for machines; the plan without its bodies."""
    return {
        "service": ended.service,
        "file": file,
        "status": ended.status,
        "changed": ended.changed,
        "version": ended.version,
        "release": ended.release,
        "url": ended.url,
        "instances": ended.instances,
        "scaling": dict(ended.scaling),
        "deployment": ended.deployment,
        "number": ended.number,
        "hint": ended.hint,
        "kind": ended.kind,
        "driver": ended.driver,
        "warnings": ended.warnings,
        "plan": plan_document(ended.plan),
        "failure": ended.failure,
    }


def interrupted_line(service: str, events: Sequence[Event]) -> str:
    """What an interrupted deploy did and what it did not, from the events until then."""
    applied = [event for event in events if event.kind == "apply"]
    if rolled := [event for event in events if event.kind == "rollout"]:
        done = ", ".join(event.message for event in applied) or "nothing"
        return (
            f"interrupted at: {rolled[-1].message}; done: {done}; not done: the rest of the rollout; traffic stays "
            f"where it is until the same command goes on, or hms-nomad abort {service} takes it back"
        )
    planned = next((int(event.data.get("changes") or 0) for event in events if event.kind == "plan"), None)
    if planned is None:
        return f"interrupted before anything of {service} was looked at; nothing was changed"
    if not applied and not any(event.kind == "deployment" for event in events):
        return f"interrupted; nothing of {service} was changed; {planned} changes are left for the same command"
    done = ", ".join(event.message for event in applied) or "nothing was written"
    if any(event.data.get("kind") == "job" for event in applied) or planned == 0 or len(applied) >= planned:
        return (
            f"interrupted; done: {done}; not done: waiting until {service} is healthy; Nomad goes on without this "
            f"command, see hms-nomad status {service}"
        )
    return (
        f"interrupted; done: {done}; not done: {planned - len(applied)} of {planned} changes, the job among them; "
        "what ran before runs on, and the same command finishes the work"
    )


def _job_line(ended: Deployed) -> str:
    name = f"{ended.service} {ended.version}"
    if ended.status == "unchanged":
        return (
            f"{name} is scheduled already: nothing to change" if ended.kind == "periodic" else f"{name} has run already"
        )
    if ended.kind == "periodic":
        return f"{name} scheduled; its runs: hms-nomad status {ended.service}"
    if ended.status == "detached":
        return f"{name} registered; follow it with: hms-nomad logs {ended.service} --follow"
    return f"{name} ran to its end; its output: hms-nomad logs {ended.service}"


def _what_came(ended: Deployed, image: str | None) -> str:
    if ended.plan.release_before == ended.release and not ended.plan.unfinished:
        return "Instances that differed replaced" if ended.plan.replaces else "No instance replaced"
    return "Image pulled" if image else "Command started"


def _next_command(ended: Deployed, failure: Failure) -> str:
    if failure.allocation:
        return f"hms-nomad logs {ended.service} --alloc {failure.allocation[:8]}"
    return f"hms-nomad status {ended.service}"
