"""What a service has in Vault: compared, written, and taken away when only earlier releases needed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hms_nomad.apply.vault_roles import remove_roles, stale_roles, vault_changes, write_vault
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.compile import compile_spec
from hms_nomad.plan.change import Action
from hms_nomad.platform.model import Platform, PlatformError, ServerAddress
from tests.unit.specs import spec

PLATFORM = Platform(vault=ServerAddress(address="https://vault:8200"))
SECRETS = {"A": "vault:secret/x#a", "tls": {"ref": "pki", "file": "tls.pem"}}


class FakeVault:
    """Policies and everything else by path, as far as these calls go."""

    def __init__(self) -> None:
        self.policies: dict[str, str] = {}
        self.data: dict[str, Mapping[str, Any]] = {}
        self.mounted = True

    def read_policy(self, name: str) -> str | None:
        return self.policies.get(name)

    def write_policy(self, name: str, policy: str) -> None:
        self.policies[name] = policy

    def delete_policy(self, name: str) -> None:
        del self.policies[name]

    def read(self, path: str) -> Mapping[str, Any] | None:
        return self.data.get(path)

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.mounted:
            raise NotFoundError("vault", f"write {path}", "https://vault:8200", "no handler for route", 404)
        # Vault answers fields that nobody asked for.
        self.data[path] = {**data, "token_ttl": 0}
        return {}

    def delete(self, path: str) -> None:
        del self.data[path]

    def list_keys(self, path: str) -> tuple[str, ...]:
        if path == "sys/policies/acl":
            return tuple(self.policies)
        return tuple(name.rpartition("/")[2] for name in self.data if name.rpartition("/")[0] == path)


def wanted(name: str = "receipt-svc", **secrets: Any) -> tuple[Mapping[str, Any], ...]:
    return compile_spec(spec(name=name, secrets=secrets or SECRETS), PLATFORM).vault


def laid(vault: FakeVault, *specs: tuple[Mapping[str, Any], ...]) -> None:
    for one in specs:
        write_vault(vault_changes(vault, one), vault, lambda _: None)  # type: ignore[arg-type]


def test_what_is_missing_is_made_once() -> None:
    vault = FakeVault()
    changes = vault_changes(vault, wanted())  # type: ignore[arg-type]
    assert [change.action for change in changes] == [Action.CREATE] * 3
    laid(vault, wanted())

    again = vault_changes(vault, wanted())  # type: ignore[arg-type]
    assert {change.action for change in again} == {Action.KEEP}


def test_what_somebody_widened_is_mended() -> None:
    vault = FakeVault()
    laid(vault, wanted())
    name = next(iter(vault.policies))
    vault.policies[name] += 'path "secret/*" { capabilities = ["read"] }\n'
    changed = [one for one in vault_changes(vault, wanted()) if one.action is not Action.KEEP]  # type: ignore[arg-type]

    assert [(one.kind, one.action) for one in changed] == [("vault policy", Action.UPDATE)]
    laid(vault, wanted())
    assert "secret/*" not in vault.policies[name]


def test_only_what_earlier_releases_of_this_service_had_is_taken_away() -> None:
    vault = FakeVault()
    old, new, other = wanted(A="vault:secret/old#a"), wanted(), wanted("receipt-svc-b")
    laid(vault, old, new, other)

    remove_roles(stale_roles(vault, PLATFORM, "receipt-svc", new), vault, lambda _: None)  # type: ignore[arg-type]

    left = {*vault.policies, *(name.rpartition("/")[2] for name in vault.data)}
    assert left == {str(one["name"]).rpartition("/")[2] for one in (*new, *other)}


def test_a_vault_that_was_not_prepared_is_an_error_that_says_how() -> None:
    vault = FakeVault()
    vault.mounted = False
    with pytest.raises(PlatformError, match="hms-nomad bootstrap"):
        laid(vault, wanted())
