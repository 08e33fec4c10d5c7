"""Platform -> what services need before they can be deployed: planned, laid, and taken up again.

Everything is looked at first, so running it again finishes what was broken off and then changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hms_nomad.apply.authority import Servers
from hms_nomad.apply.foundation import delete_object, read_object, write_object
from hms_nomad.apply.foundation_vault import holds_secrets
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import ConflictError
from hms_nomad.compile.foundation import KV_MOUNT, BaseObject, Facts, RoleText, foundation, stanzas
from hms_nomad.plan.change import Action
from hms_nomad.plan.groundwork import Groundwork, Step, removable, removal_of, step_of
from hms_nomad.platform.context import load_platform
from hms_nomad.platform.jobspecs import list_policies, read_policy
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.session import Session, open_session

LOCK = "hms-bootstrap"
"""Under which name the foundation is locked and recorded, as a service is under its own."""


def plan_bootstrap(session: Session, services: str = "", jwks_url: str = "") -> Groundwork:
    """What is missing or differs. ``services`` is how the names of the deployers' services begin.

    ``jwks_url`` is where Consul and Vault reach Nomad's public keys; the platform's own address when empty. Raises
    ForeignObjectError for an object of somebody else that is in the way, PlatformError for a file that cannot be read.
    """
    facts = _facts(session, jwks_url)
    wanted = foundation(session.platform, facts, _policies(session.platform, services))
    servers = Servers(session.nomad, session.consul, session.vault)
    steps = tuple(step_of(one, read_object(servers, one)) for one in wanted)
    return Groundwork(steps, stanzas(facts), _notes(facts))


def apply_bootstrap(session: Session, groundwork: Groundwork, report: Report) -> Groundwork:
    """Make what a plan says, object by object. Raises ConflictError for one that changed since it was planned."""
    servers = Servers(session.nomad, session.consul, session.vault)
    if groundwork.effective:
        with guarded(session, LOCK, Intent("bootstrap"), report) as guard:
            for step in groundwork.effective:
                _unchanged(servers, step)
                write_object(servers, step.wanted, step.stored)
                guard.report(_event(step))
            guard.concluded("done")
    return groundwork


def prepare(context: str, report: Report) -> None:
    """Lay the foundation on the cluster of a context that has management tokens.

    Raises what ``plan_bootstrap`` and ``apply_bootstrap`` raise.
    """
    with open_session(load_platform(context)) as session:
        apply_bootstrap(session, plan_bootstrap(session), report)


def plan_undo(session: Session, services: str = "", jwks_url: str = "") -> Groundwork:
    """What undoing would remove, last things first: objects with our mark, but no mount that holds secrets."""
    facts = _facts(session, jwks_url)
    wanted = foundation(session.platform, facts, _policies(session.platform, services))
    servers = Servers(session.nomad, session.consul, session.vault)
    found = ((one, read_object(servers, one)) for one in reversed(wanted))
    steps = tuple(removal_of(one, stored, _why_kept(session, one)) for one, stored in found if removable(one, stored))
    return Groundwork(steps, {}, ())


def undo_bootstrap(session: Session, groundwork: Groundwork, report: Report) -> Groundwork:
    """Remove what a plan says. Raises ConflictError for an object that changed since."""
    servers = Servers(session.nomad, session.consul, session.vault)
    if groundwork.effective:
        with guarded(session, LOCK, Intent("bootstrap --undo"), report) as guard:
            for step in groundwork.effective:
                _unchanged(servers, step)
                if step.stored is not None:
                    delete_object(servers, step.wanted, step.stored)
                guard.report(_event(step))
            guard.concluded("done")
    return groundwork


def _facts(session: Session, jwks_url: str) -> Facts:
    platform, agent = session.platform, session.consul.agent()
    vault = platform.vault
    return Facts(
        jwks_url=jwks_url or f"{platform.nomad.address}/.well-known/jwks.json",
        jwks_ca=_read(platform.nomad.ca_file),
        nomad_acl=session.nomad.own_token() is not None,
        consul_acl=agent.acl,
        vault=session.vault is not None,
        allows_by_default=agent.allows_by_default,
        vault_address=vault.address if vault else "",
        vault_ca_file=(vault.ca_file or "") if vault else "",
    )


def _read(file: str | None) -> str:
    if file is None:
        return ""
    try:
        return Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise PlatformError(f"nomad.ca_file {file} cannot be read ({type(error).__name__})") from None


def _policies(platform: Platform, services: str) -> tuple[RoleText, ...]:
    settings = {
        "namespace": platform.namespace,
        "services": services,
        "gateway": platform.gateway.name if platform.gateway else "hms-gateway",
        "egress": platform.egress.name if platform.egress else "hms-egress",
    }
    return tuple(
        RoleText(one.server, one.role, read_policy(one.server, one.role, settings).text) for one in list_policies()
    )


def _notes(facts: Facts) -> tuple[str, ...]:
    notes = []
    if not facts.consul_acl:
        notes.append("Consul asks for no tokens: policies, roles and the way in for jobs are left out there")
    if not facts.nomad_acl:
        notes.append("Nomad asks for no tokens: policies are left out there")
    if not facts.vault:
        notes.append("the context names no Vault: secrets, certificates and the mesh's authority are left out")
    return tuple(notes)


def _why_kept(session: Session, wanted: BaseObject) -> str:
    keeps = wanted.kind == "vault mount" and wanted.name == KV_MOUNT
    return "it holds secrets" if keeps and session.vault and holds_secrets(session.vault, KV_MOUNT) else ""


def _unchanged(servers: Servers, step: Step) -> None:
    wanted = step.wanted
    if read_object(servers, wanted) != step.stored:
        vault = servers.vault.address if servers.vault else ""
        address = {"nomad": servers.nomad.address, "consul": servers.consul.address, "vault": vault}[wanted.server]
        operation = f"write {wanted.kind} {wanted.name}"
        raise ConflictError(wanted.server, operation, address, "it changed since it was read")


def _event(step: Step) -> Event:
    change = step.change
    words = {Action.CREATE: "made", Action.UPDATE: "changed", Action.DELETE: "removed"}[change.action]
    facts: dict[str, Sequence[str] | str] = {"kind": change.kind, "name": change.name, "action": str(change.action)}
    return Event("apply", f"{words} {change.kind} {change.name}", facts)
