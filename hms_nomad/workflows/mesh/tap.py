"""``mesh tap``: the requests of a service as they come, from the access logs of its sidecars, gateway or egress."""

from __future__ import annotations

import time
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.progress import Report
from hms_nomad.compile.access_log import Request, read_request
from hms_nomad.compile.proxy_job import EGRESS_KIND
from hms_nomad.platform.model import PlatformError
from hms_nomad.workflows.operating.logs import LogOptions, follow_logs
from hms_nomad.workflows.platform.access_log import ON, access_log_state
from hms_nomad.workflows.platform.egress import TASK as PROXY_TASK
from hms_nomad.workflows.session import Session

SIDECAR = "connect-proxy-"


class TapOptions(Struct, frozen=True):
    """Which requests are shown, and how long.

    ``outgoing`` shows what the service calls instead of who calls it. ``statuses`` are like "503" or "5xx", ``path`` is
    how paths begin, ``caller`` a service, or an address where somebody came from outside. ``denied`` shows only what
    the mesh refused. ``seconds`` and ``limit`` end it (None: they do not).
    """

    outgoing: bool = False
    statuses: tuple[str, ...] = ()
    method: str = ""
    path: str = ""
    caller: str = ""
    request_id: str = ""
    denied: bool = False
    seconds: float | None = None
    limit: int | None = None


class Tapped(Struct, frozen=True):
    """A request, and the instance (allocation) whose proxy told of it."""

    allocation: str
    request: Request


def tap(session: Session, name: str, options: TapOptions, report: Report) -> Iterator[Tapped]:
    """The requests that end from now on, of all instances, also of those that start later.

    Envoy writes its log once a second. Ends when the service is stopped. Raises PlatformError where the proxies write
    no such log, NotFoundError when there is no such service, and the other errors of ``hms_nomad.clients.errors``.
    """
    if (state := access_log_state(session).state) != ON:
        how = "writes no access log" if state == "off" else "writes an access log that somebody else described"
        raise PlatformError(f"the mesh {how}; switch it on with: hms-nomad platform access-log on")
    job, task, gateway = _where(session, name)
    until = None if options.seconds is None else time.monotonic() + options.seconds
    lines = follow_logs(session, job, LogOptions(tail=0, streams=("stdout",), task=task, until=until), report)
    shown = 0
    for line in lines:
        request = read_request(line.text, outgoing=options.outgoing or gateway)
        if request is None or name not in (job, request.callee) or not wanted(request, options):
            continue
        if options.outgoing and task != PROXY_TASK:
            # A caller's own sidecar is not told who it is.
            request = replace(request, caller=name)
        yield Tapped(line.allocation, request)
        shown += 1
        if shown == options.limit:
            return


def wanted(request: Request, options: TapOptions) -> bool:
    """Whether a request is among those that shall be shown."""
    status = str(request.status or "")
    return (
        (not options.statuses or any(status == one or f"{status[:1]}xx" == one for one in options.statuses))
        and (not options.method or request.method == options.method)
        and (request.path or "").startswith(options.path)
        and options.caller in ("", request.caller, request.caller_id, request.source.rpartition(":")[0])
        and options.request_id in ("", request.request_id)
        and (request.denied or not options.denied)
    )


def _where(session: Session, name: str) -> tuple[str, str, bool]:
    """The job and the task in whose output the requests stand, and whether these come in from outside."""
    platform = session.platform
    if platform.gateway is not None and name == platform.gateway.name:
        return name, PROXY_TASK, True
    if platform.egress is not None:
        egress = platform.egress.name
        entry = session.consul.read_entry(EGRESS_KIND, egress)
        links = {str(link["Name"]) for link in entry.body.get("Services") or ()} if entry else set()
        if name == egress or name in links:
            return egress, PROXY_TASK, False
    return name, f"{SIDECAR}{name}", False
