"""Session -> which rights of a role its tokens lack, asked for without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hms_nomad.clients.errors import DeniedError, ServerError
from hms_nomad.doctor.rights import CONSUL, VAULT, RightFacts, service_rights
from hms_nomad.workflows.session import Session

_PROBE = "hms-doctor"
_WRITERS = ("deployer", "operator")
_PLANNERS = ("planner", *_WRITERS)


def ask_rights(session: Session, role: str, service: str | None, reached: Mapping[str, bool]) -> RightFacts:
    """What the tokens of a session lack for ``role``; only servers that are ``reached`` are asked."""
    missing: dict[str, tuple[str, ...]] = {}
    not_run = []
    asked = 0
    for server, ask in (("nomad", _nomad), ("consul", _consul), ("vault", _vault)):
        if server not in reached:
            continue
        if not reached[server]:
            not_run.append(f"{server} cannot be asked")
            continue
        try:
            count, missing[server] = ask(session, role, service)
            asked += count
        except ServerError as error:
            not_run.append(str(error))
    return RightFacts(role, asked, missing, tuple(not_run))


def _nomad(session: Session, role: str, service: str | None) -> tuple[int, tuple[str, ...]]:
    del service
    nomad = session.nomad
    probes: list[tuple[str, Callable[[], object]]] = [
        ("list-jobs", nomad.list_jobs),
        ('node { policy = "read" }', nomad.ready_nodes),
        ('agent { policy = "read" }', nomad.version),
    ]
    if role in _PLANNERS:
        # What would be registered is only looked at; that takes the right to plan.
        probes.append(("plan-job", lambda: nomad.plan_job(_probe_job())))
    return len(probes), tuple(name for name, probe in probes if _denied(probe))


def _consul(session: Session, role: str, service: str | None) -> tuple[int, tuple[str, ...]]:
    if session.consul.own_token() is None:
        return 0, ()
    rights = [*CONSUL[role], *(service_rights(service) if service and role in _WRITERS else ())]
    allowed = session.consul.authorized(rights)
    lacks = [
        f"{one.resource}:{one.access}" + (f" on {one.segment}" if one.segment else "")
        for one, fine in zip(rights, allowed, strict=True)
        if not fine
    ]
    return len(rights), tuple(lacks)


def _vault(session: Session, role: str, service: str | None) -> tuple[int, tuple[str, ...]]:
    del service
    wanted = VAULT[role]
    if session.vault is None or not wanted or not session.vault.has_token:
        return 0, ()
    has = session.vault.capabilities(tuple(wanted))
    lacks = [f"{right} on {path}" for path, right in wanted.items() if not has[path] & {right, "root"}]
    return len(wanted), tuple(lacks)


def _denied(probe: Callable[[], object]) -> bool:
    try:
        probe()
    except DeniedError:
        return True
    return False


def _probe_job() -> dict[str, object]:
    task = {"Name": "app", "Driver": "raw_exec", "Config": {"command": "/bin/true"}}
    return {
        "ID": _PROBE,
        "Name": _PROBE,
        "Type": "batch",
        "Datacenters": ["*"],
        "TaskGroups": [{"Name": "app", "Count": 1, "Tasks": [task]}],
    }
