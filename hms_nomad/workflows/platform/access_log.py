"""``platform access-log``: whether the proxies of the mesh write down each call, which the feed of events reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.compile.access_log import DEFAULTS_KIND, DEFAULTS_NAME, access_logs, is_access_log
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.session import Session

_LOGS = "AccessLogs"
_OFF = {"Enabled": False}
ON, OFF, OTHER = "on", "off", "other"


class AccessLog(Struct, frozen=True):
    """Whether calls are written down: "on", "off", or "other" for a setting that is not ours."""

    state: str
    changed: bool = False


def access_log_state(session: Session) -> AccessLog:
    """How it is. Raises the errors of ``hms_nomad.clients.errors``."""
    stored = session.consul.read_entry(DEFAULTS_KIND, DEFAULTS_NAME)
    return AccessLog(_state(stored.body if stored else {}))


def set_access_log(session: Session, report: Report, *, on: bool) -> AccessLog:
    """Let all proxies of the mesh write down each call, or stop them; the other defaults of proxies stay as they are.

    The proxies take it over at once, without a restart. Raises ForeignObjectError where somebody else set an access
    log, and the errors of ``hms_nomad.clients.errors``.
    """
    with guarded(session, DEFAULTS_NAME, Intent("platform access-log"), report) as run:
        return run.concluded(_set(session, run.report, on=on))


def _set(session: Session, report: Report, *, on: bool) -> AccessLog:
    wanted = ON if on else OFF
    stored = session.consul.read_entry(DEFAULTS_KIND, DEFAULTS_NAME)
    before: Mapping[str, Any] = stored.body if stored else {}
    state = _state(before)
    if state == wanted and (not on or _is_current(before)):
        return AccessLog(state)
    if state == OTHER:
        raise ForeignObjectError("the access log in proxy-defaults", DEFAULTS_NAME)
    kept = {key: value for key, value in before.items() if key != _LOGS and value not in (None, {}, "")}
    if stored is None:
        kept = {"Kind": DEFAULTS_KIND, "Name": DEFAULTS_NAME, "Meta": {OWNER_KEY: OWNER}}
    index = stored.modify_index if stored else 0
    if not on and (before.get("Meta") or {}).get(OWNER_KEY) == OWNER and kept.keys() <= {"Kind", "Name", "Meta"}:
        session.consul.delete_entry(DEFAULTS_KIND, DEFAULTS_NAME, index)
    else:
        session.consul.write_entry({**kept, _LOGS: access_logs()} if on else kept, index)
    report(Event("apply", f"access log of all proxies {wanted}", {"kind": DEFAULTS_KIND, "state": wanted}))
    return AccessLog(wanted, changed=True)


def _state(body: Mapping[str, Any]) -> str:
    logs = {key: value for key, value in (body.get(_LOGS) or {}).items() if value not in (None, "")}
    if not logs.get("Enabled"):
        return OFF
    return ON if is_access_log(logs) else OTHER


def _is_current(body: Mapping[str, Any]) -> bool:
    logs, ours = body.get(_LOGS) or {}, access_logs()
    return {key: logs.get(key) for key in ours} == ours
