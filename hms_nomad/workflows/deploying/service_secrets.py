"""What a service may read in Vault -> part of its plan, of its deploy, and of its end.

What reads and writes there is loaded for services that have secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hms_nomad.apply.progress import Report
from hms_nomad.compile.desired import Desired
from hms_nomad.compile.secrets import PREFIX
from hms_nomad.plan.change import Change, Plan
from hms_nomad.plan.observed import ObservedJob
from hms_nomad.platform.model import PlatformError
from hms_nomad.workflows.session import Session


def with_secrets(session: Session, desired: Desired, plan: Plan) -> Plan:
    """The plan with the service's policy and roles in Vault, which are written first.

    Raises PlatformError where the context names no Vault, and the errors of ``hms_nomad.clients.errors``.
    """
    if not desired.vault:
        return plan
    if session.vault is None:
        raise PlatformError(f"{desired.service} has secrets in Vault, and the context names none")
    from hms_nomad.apply.vault_roles import vault_changes

    return replace(plan, changes=(*vault_changes(session.vault, desired.vault), *plan.changes))


def write_secrets(session: Session, desired: Desired, plan: Plan, report: Report) -> None:
    """Write what ``with_secrets`` put into the plan. Raises as ``write_vault``."""
    if desired.vault:
        from hms_nomad.apply.vault_roles import write_vault

        write_vault(plan.changes, session.vault, report)


def reads_vault(job: ObservedJob | None) -> bool:
    """Whether a job as it is stored logs in to Vault by a role that we made."""
    return job is not None and any(str(role).startswith(PREFIX) for role in _roles(job.body))


def tidy(session: Session, desired: Desired, before: ObservedJob | None, report: Report) -> None:
    """After a deploy: what only earlier releases might read is nobody's any more."""
    if session.vault is not None and (desired.vault or reads_vault(before)):
        from hms_nomad.apply.vault_roles import remove_roles, stale_roles

        stale = stale_roles(session.vault, session.platform, desired.service, desired.vault)
        remove_roles(stale, session.vault, report)


def all_roles(session: Session, service: str, job: ObservedJob | None) -> tuple[Change, ...]:
    """The removal of everything that a service has in Vault."""
    if session.vault is None or not reads_vault(job):
        return ()
    from hms_nomad.apply.vault_roles import stale_roles

    return tuple(stale_roles(session.vault, session.platform, service, ()))


def _roles(job: Mapping[str, Any]) -> list[Any]:
    tasks = [task for group in job.get("TaskGroups") or () for task in group.get("Tasks") or ()]
    return [(task.get("Vault") or {}).get("Role") for task in tasks]
