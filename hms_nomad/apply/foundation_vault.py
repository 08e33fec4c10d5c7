"""Objects of the foundation that stand in Vault -> the calls that read, write and remove them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.errors import InvalidRequestError, NotFoundError
from hms_nomad.clients.vault import VaultClient
from hms_nomad.compile.desired import OWNER_MARK
from hms_nomad.compile.foundation import BaseObject
from hms_nomad.compile.secrets import ROLE_KIND
from hms_nomad.plan.groundwork import Stored


def read_in_vault(vault: VaultClient, wanted: BaseObject) -> Stored | None:
    """What Vault holds under the name of ``wanted``, or None."""
    name = wanted.name
    match wanted.kind:
        case "vault mount":
            return _listed(vault, "sys/mounts", name)
        case "vault login":
            return _listed(vault, "sys/auth", name)
        case "vault login keys":
            login = _listed(vault, "sys/auth", name)
            body = vault.read(f"auth/{name}/config") if login else None
            return Stored(body, login.ours) if login and body else None
        case "vault authority":
            return _authority(vault, wanted)
        case "vault role" | "vault pki role":
            return _role(vault, wanted)
        case _:
            text = vault.read_policy(name)
            return None if text is None else Stored({"policy": text}, text.startswith(f"# {OWNER_MARK}\n"))


def write_in_vault(vault: VaultClient, wanted: BaseObject, stored: Stored | None) -> None:
    """Create an object in Vault, or replace what is stored of it."""
    name, body = wanted.name, wanted.body
    match wanted.kind:
        case "vault mount" if stored is None:
            vault.write(f"sys/mounts/{name}", body)
        case "vault mount":
            vault.write(f"sys/mounts/{name}/tune", {"description": body["description"], **body.get("config", {})})
        case "vault login":
            vault.write(f"sys/auth/{name}", body)
        case "vault login keys":
            vault.write(f"auth/{name}/config", body)
        case "vault authority":
            _make_authority(vault, name, body)
        case "vault role" | "vault pki role":
            vault.write(_path(wanted), body)
        case _:
            vault.write_policy(name, str(body["policy"]))


def delete_in_vault(vault: VaultClient, wanted: BaseObject) -> None:
    """Remove an object of ours from Vault; keys and certificates go with their mounts."""
    match wanted.kind:
        case "vault mount":
            vault.delete(f"sys/mounts/{wanted.name}")
        case "vault login":
            vault.delete(f"sys/auth/{wanted.name}")
        case "vault role" | "vault pki role":
            vault.delete(_path(wanted))
        case "vault policy":
            vault.delete_policy(wanted.name)


def holds_secrets(vault: VaultClient, mount: str) -> bool:
    """Whether a KV mount holds anything, of which undoing would rob others."""
    return bool(vault.list_keys(f"{mount}/metadata"))


def _role(vault: VaultClient, wanted: BaseObject) -> Stored | None:
    """A role, which has no place for a mark: it is ours where the policy of its name is."""
    try:
        body = vault.read(_path(wanted))
    except (InvalidRequestError, NotFoundError):
        return None
    text = vault.read_policy(wanted.name.rpartition("/")[2]) or ""
    return None if body is None else Stored(body, text.startswith(f"# {OWNER_MARK}\n"))


def _path(role: BaseObject) -> str:
    return f"auth/{role.name}" if role.kind == ROLE_KIND else role.name


def _listed(vault: VaultClient, path: str, name: str) -> Stored | None:
    """A mount out of the list of all: asking for a single one that is not there is an error like many others."""
    row = (vault.read(path) or {}).get(f"{name}/")
    return None if row is None else Stored(row, OWNER_MARK in str(row.get("description")))


def _authority(vault: VaultClient, wanted: BaseObject) -> Stored | None:
    mount = _listed(vault, "sys/mounts", wanted.name)
    if mount is None:
        return None
    try:
        found = vault.read(f"{wanted.name}/cert/ca") or {}
    except (InvalidRequestError, NotFoundError):
        return None
    # What a certificate was asked for cannot be read back; one that is there is as it was made.
    return Stored(wanted.body, mount.ours) if found.get("certificate") else None


def _make_authority(vault: VaultClient, mount: str, body: Mapping[str, Any]) -> None:
    words = {"common_name": body["common_name"], "ttl": f"{body['ttl']}s", "key_type": "ec", "key_bits": 256}
    parent = body.get("signed_by")
    if parent is None:
        vault.write(f"{mount}/root/generate/internal", words)
        return
    request = vault.write(f"{mount}/intermediate/generate/internal", words)
    signed = vault.write(
        f"{parent}/root/sign-intermediate",
        {"csr": request["csr"], "common_name": words["common_name"], "ttl": words["ttl"], "format": "pem_bundle"},
    )
    chain = f"{signed['certificate']}\n{signed['issuing_ca']}"
    vault.write(f"{mount}/intermediate/set-signed", {"certificate": chain})
