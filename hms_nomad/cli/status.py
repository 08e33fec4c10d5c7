"""``hms-nomad status``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import OptionalServiceArgument
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.output.locks import lock_document, orphan_lines, unfinished_document, work_lines
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.rollouts import present_lines
from hms_nomad.output.table import table
from hms_nomad.output.top import Figures, use_of
from hms_nomad.workflows.operating import lock as locks
from hms_nomad.workflows.operating import orphans as left
from hms_nomad.workflows.operating import status as workflow
from hms_nomad.workflows.operating import top
from hms_nomad.workflows.rollouts import present as rollouts
from hms_nomad.workflows.session import Session

app = new_app()

_COLORS = {
    "healthy": ("green",),
    "passing": ("green",),
    "deploying": ("cyan",),
    "degraded": ("yellow",),
    "warning": ("yellow",),
    "failed": ("red",),
    "critical": ("red",),
    "unregistered": ("red",),
    "stopped": ("dim",),
    "running": ("green",),
    "scheduled": ("green",),
    "pending": ("cyan",),
}


@command(app, "status", "hms-nomad status", "hms-nomad status receipt-svc", "hms-nomad status --output json")
def status(run: Run, name: OptionalServiceArgument = None) -> None:
    """Show what runs, and what is wrong with it.

    Without a name: all our services of the namespace, and what commands that died left behind. With one: its instances,
    their health checks, why one is not healthy, the rollout under way, who works on it, and what is left unfinished.
    """
    with run.session() as session:
        if name is None:
            services = workflow.list_status(session)
            orphans = left.find_orphans(session)
            body = {"services": services, "orphans": orphans}
            run.printer.show("status", body, lambda: (*_overview(run.printer, services), *orphan_lines(orphans)))
        else:
            _show_one(run, session, name)


def _show_one(run: Run, session: Session, name: str) -> None:
    work = locks.work_on(session, name)
    orphans = left.find_orphans(session, name)
    try:
        detail = workflow.service_status(session, name)
    except NotFoundError:
        # A first deploy that was broken off before the job was there.
        for line in work_lines(work.lock, orphans):
            run.printer.warn(line)
        raise
    figures = top.figures_of(session, name) if detail.summary.kind == "service" else None
    rolling = rollouts.present(session, name)
    body = {
        "service": detail,
        "figures": figures,
        "rollout": rolling.rollout if rolling else None,
        "weight": rolling.weight if rolling else None,
        "lock": lock_document(work.lock) if work.lock else None,
        "unfinished": [unfinished_document(one) for one in work.unfinished],
        "orphans": orphans,
    }
    driven = work.lock is not None and work.lock.alive
    lines = (*_detail(run.printer, detail, figures, rolling, driven), *work_lines(work.lock, orphans))
    run.printer.show("status", body, lambda: lines)


def _overview(printer: Printer, services: Sequence[workflow.ServiceState]) -> Iterator[str]:
    if not services:
        yield "no service of ours runs in this namespace; deploy one with: hms-nomad deploy SPEC"
        return
    columns = ("NAME", "VERSION", "RELEASE", "STATE", "HEALTHY", "SCALING", "DEPLOYMENT", "URL")
    rows = [
        (
            one.service,
            one.version,
            one.release,
            one.state,
            f"{one.healthy}/{one.desired}" if one.kind == "service" else "",
            f"{one.scaling['min']}-{one.scaling['max']}" if one.kind == "service" else one.schedule,
            one.deployment.status if one.deployment else "",
            one.url,
        )
        for one in services
    ]
    yield from table(printer, columns, rows, _COLORS)


def _detail(
    printer: Printer,
    detail: workflow.ServiceDetail,
    figures: Figures | None,
    rolling: rollouts.Present | None,
    driven: bool,
) -> Iterator[str]:
    one = detail.summary
    state = printer.style(one.state, *_COLORS.get(one.state, ()))
    yield f"{printer.style(one.service, 'bold')} {one.version} (release {one.release}): {state}"
    if one.kind == "service":
        yield f"URL         {one.url}"
        yield f"Instances   {one.healthy} of {one.desired} healthy, scaling {one.scaling['min']}-{one.scaling['max']}"
        if figures is not None and (use := use_of(figures)):
            yield f"Use         {use}"
    elif one.schedule:
        yield f"Schedule    {one.schedule}"
    if rolling is not None:
        yield from present_lines(one.service, rolling.rollout, rolling.weight, driven)
    if one.deployment and rolling is not None and one.deployment.status == "running":
        # Nomad's own words ask for a promotion by hand, which would go past the rollout.
        yield f"Deployment  {one.deployment.id[:8]} running: promoted by the rollout at its end"
    elif one.deployment:
        yield f"Deployment  {one.deployment.id[:8]} {one.deployment.status}: {inert(one.deployment.description)}"
    if detail.unplaced:
        yield f"Not placed  {inert(detail.unplaced)}"
    if not detail.instances:
        return
    yield ""
    columns = ("INSTANCE", "NODE", "STATUS", "HEALTH", "SIDECAR", "VERSION", "RELEASE", "ADDRESS")
    rows = [
        (
            each.allocation[:8],
            each.node,
            each.status,
            each.health,
            each.sidecar,
            f"{each.version} (canary)" if each.canary else each.version,
            each.release,
            each.address,
        )
        for each in detail.instances
    ]
    yield from table(printer, columns, rows, _COLORS)
    for each in detail.instances:
        if each.why:
            yield f"{each.allocation[:8]}: {inert(each.why)}"
