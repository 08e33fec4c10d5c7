"""Ports and directories -> the stack's Vault or OpenBao: initialized and unsealed by us, authority of the mesh.

The keys lie in the state directory (0600): this Vault guards a development stack, not secrets of anybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.vault_operator import VaultKeys, VaultOperator
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.consul_agent import LOOPBACK
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.server import Server, config_file
from hms_nomad.dev.settings import Ports
from hms_nomad.dev.state import write_private

ROOT_PATH = "connect-root/"
"""Mount of the mesh's root certificate."""

INTERMEDIATE_PATH = "connect-intermediate/"
"""Mount of the certificate that signs the leaves of sidecars."""

_POLICY_NAME = "hms-connect-ca"
# What Consul's provider needs when it makes the mounts itself
# (https://developer.hashicorp.com/consul/docs/secure-mesh/certificate/ca/vault).
_POLICY = """
path "sys/mounts/connect-root" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/mounts/connect-intermediate" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/mounts/connect-root/tune" { capabilities = ["update"] }
path "sys/mounts/connect-intermediate/tune" { capabilities = ["update"] }
path "connect-root/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "connect-root/" { capabilities = ["read"] }
path "connect-intermediate/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
"""
_TOKEN_PERIOD_SECONDS = 365 * 24 * 3600


def vault_server(binary: Binary, ports: Ports, directory: Path, environment: Mapping[str, str]) -> Server:
    """The Vault of a stack."""
    return Server(
        name="vault",
        binary=binary,
        address=f"http://{LOOPBACK}:{ports.vault_api}",
        directory=directory,
        arguments=("server", "-config", str(config_file(directory))),
        config=vault_config(ports, directory / "data"),
        environment=environment,
    )


def vault_config(ports: Ports, data_dir: Path) -> dict[str, Any]:
    """The server's configuration (https://developer.hashicorp.com/vault/docs/configuration)."""
    return {
        "storage": {"file": {"path": str(data_dir)}},
        "listener": [
            {
                "tcp": {
                    "address": f"{LOOPBACK}:{ports.vault_api}",
                    "cluster_address": f"{LOOPBACK}:{ports.vault_cluster}",
                    "tls_disable": True,
                }
            }
        ],
        "api_addr": f"http://{LOOPBACK}:{ports.vault_api}",
        "disable_mlock": True,
        "ui": True,
    }


def token_file(directory: Path) -> Path:
    """The file whose only line is the token of a stack's Vault."""
    return directory / "token"


def lacks_answer(address: str) -> str:
    """What keeps a Vault from answering at all, or nothing; a sealed one answers."""
    VaultOperator(Connection(address=address, retry_seconds=0)).health()
    return ""


def open_vault(address: str, directory: Path) -> VaultOperator:
    """Initialize a new Vault, unseal it where it is sealed, and answer a client with its token.

    Raises StackError when the keys are gone.
    """
    client = VaultOperator(Connection(address=address))
    state = client.health()
    keys = _stored_keys(directory)
    if not state.initialized:
        keys = client.initialize()
        _store_keys(directory, keys)
        state = client.health()
    if keys is None:
        raise StackError(
            f"the keys of the stack's Vault are not in {directory} any more", "take the stack down and bring it up anew"
        )
    if state.sealed and not client.unseal(keys.unseal_keys):
        raise StackError("the stack's Vault stays sealed with the keys that it gave", "take the stack down")
    return VaultOperator(Connection(address=address, token=keys.root_token))


def lacks_activity(client: VaultOperator) -> str:
    """What keeps an unsealed Vault from taking writes, or nothing: for a moment it is only a standby of itself."""
    state = client.health()
    return "it is sealed" if state.sealed else "it is not active yet" if state.standby else ""


def become_authority(vault: VaultOperator, consul: ConsulClient) -> bool:
    """Make Vault's PKI the authority of the mesh's certificates; False when it is already.

    Consul makes the two mounts itself, with a token that may do nothing else.
    """
    current = consul.ca_configuration()
    if current.provider == "vault" and current.config.get("Address") == vault.address:
        return False
    vault.write_policy(_POLICY_NAME, _POLICY)
    consul.set_ca_configuration(
        "vault",
        {
            "Address": vault.address,
            "Token": vault.create_token([_POLICY_NAME], _TOKEN_PERIOD_SECONDS),
            "RootPKIPath": ROOT_PATH,
            "IntermediatePKIPath": INTERMEDIATE_PATH,
        },
    )
    return True


def _stored_keys(directory: Path) -> VaultKeys | None:
    try:
        body = json.loads((directory / "keys.json").read_text(encoding="utf-8"))
        return VaultKeys(tuple(body["unseal_keys"]), body["root_token"])
    except FileNotFoundError:
        return None


def _store_keys(directory: Path, keys: VaultKeys) -> None:
    body = {"unseal_keys": list(keys.unseal_keys), "root_token": keys.root_token}
    write_private(directory / "keys.json", json.dumps(body) + "\n")
    write_private(token_file(directory), f"{keys.root_token}\n")
