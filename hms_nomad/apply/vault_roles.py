"""A service's policy and roles in Vault -> what differs from them there, and the calls that write and remove them.

Vault writes none of these by compare-and-set. Their names hold a hash of what they say, so two writers write the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.compile.secrets import PKI_KIND, POLICY_KIND, ROLE_KIND, role_stem
from hms_nomad.plan.change import Action, Change, FieldChange
from hms_nomad.plan.groundwork import differences
from hms_nomad.platform.model import Platform, PlatformError

if TYPE_CHECKING:
    from hms_nomad.clients.vault import VaultClient

_KINDS = (POLICY_KIND, ROLE_KIND, PKI_KIND)
_VERBS = {Action.CREATE: "created", Action.UPDATE: "updated", Action.DELETE: "deleted"}


def vault_changes(vault: VaultClient, wanted: Sequence[Mapping[str, Any]]) -> tuple[Change, ...]:
    """What must change so that Vault holds ``wanted`` (``Desired.vault``), kept objects included."""
    return tuple(_change(vault, str(one["kind"]), str(one["name"]), one["body"]) for one in wanted)


def write_vault(changes: Iterable[Change], vault: VaultClient | None, report: Report) -> None:
    """Write the roles and policies among ``changes``. Raises PlatformError where Vault was not prepared for jobs."""
    for change in changes:
        if change.kind not in _KINDS or change.action is Action.KEEP or change.body is None or vault is None:
            continue
        try:
            if change.kind == POLICY_KIND:
                vault.write_policy(change.name, str(change.body["policy"]))
            else:
                vault.write(_path(change.kind, change.name), change.body)
        except NotFoundError:
            mount = change.name.partition("/")[0]
            raise PlatformError(f"Vault has nothing at {mount}; prepare it with: hms-nomad bootstrap --apply") from None
        report(_applied(change))


def stale_roles(
    vault: VaultClient, platform: Platform, service: str, keep: Sequence[Mapping[str, Any]]
) -> list[Change]:
    """The removal of everything that earlier releases of a service had in Vault, but for what ``keep`` names."""
    stem, kept = role_stem(platform.namespace, service), {str(one["name"]).rpartition("/")[2] for one in keep}
    login, pki = f"{platform.secrets.login}/role", f"{platform.secrets.pki}/roles"
    places = (
        (ROLE_KIND, f"auth/{login}", f"{login}/"),
        (PKI_KIND, pki, f"{pki}/"),
        (POLICY_KIND, "sys/policies/acl", ""),
    )
    return [
        Change(kind, f"{prefix}{name}", Action.DELETE, (), None, 0)
        for kind, listed, prefix in places
        for name in vault.list_keys(listed)
        if name.startswith(stem) and name not in kept
    ]


def remove_roles(changes: Iterable[Change], vault: VaultClient, report: Report) -> None:
    """Remove what ``stale_roles`` found: roles first, then the policies that they name."""
    for change in changes:
        if change.kind == POLICY_KIND:
            vault.delete_policy(change.name)
        else:
            vault.delete(_path(change.kind, change.name))
        report(_applied(change))


def _change(vault: VaultClient, kind: str, name: str, body: Mapping[str, Any]) -> Change:
    stored = _stored(vault, kind, name)
    if stored is None:
        fields = tuple(FieldChange(key, None, value) for key, value in body.items())
        return Change(kind, name, Action.CREATE, fields, body, 0)
    fields = differences(stored, body)
    return Change(kind, name, Action.UPDATE if fields else Action.KEEP, fields, body, 0)


def _stored(vault: VaultClient, kind: str, name: str) -> Mapping[str, Any] | None:
    if kind == POLICY_KIND:
        text = vault.read_policy(name)
        return None if text is None else {"policy": text}
    return vault.read(_path(kind, name))


def _path(kind: str, name: str) -> str:
    return f"auth/{name}" if kind == ROLE_KIND else name


def _applied(change: Change) -> Event:
    facts = {"kind": change.kind, "name": change.name, "action": str(change.action)}
    return Event("apply", f"{change.kind} {change.name} {_VERBS[change.action]}", facts)
