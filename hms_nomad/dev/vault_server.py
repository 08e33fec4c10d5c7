"""Ports and directories -> the stack's Vault or OpenBao: initialized and unsealed by us, authority of the mesh.

The keys lie in the state directory (0600): this Vault guards a development stack, not secrets of anybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.vault_operator import VaultKeys, VaultOperator
from hms_nomad.compile.foundation import CONNECT_PATHS, CONNECT_POLICY, marked
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.consul_agent import LOOPBACK
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.security import Security
from hms_nomad.dev.server import Server, config_file
from hms_nomad.dev.settings import Ports
from hms_nomad.platform.jobspecs import read_policy
from hms_nomad.platform.private import write_private

_TOKEN_PERIOD_SECONDS = 365 * 24 * 3600


def vault_server(
    binary: Binary, ports: Ports, directory: Path, environment: Mapping[str, str], security: Security | None = None
) -> Server:
    """The Vault of a stack."""
    return Server(
        name="vault",
        binary=binary,
        address=f"{'https' if security else 'http'}://{LOOPBACK}:{ports.vault_api}",
        directory=directory,
        arguments=("server", "-config", str(config_file(directory))),
        config=vault_config(ports, directory / "data", security),
        environment=environment,
        ca_file=security.ca_file if security else "",
    )


def vault_config(ports: Ports, data_dir: Path, security: Security | None = None) -> dict[str, Any]:
    """The server's configuration (https://developer.hashicorp.com/vault/docs/configuration)."""
    tls: dict[str, Any] = {"tls_disable": True}
    if security:
        pair = security.authority.pair("vault")
        tls = {"tls_cert_file": str(pair.certificate), "tls_key_file": str(pair.key)}
    return {
        "storage": {"file": {"path": str(data_dir)}},
        "listener": [
            {
                "tcp": {
                    "address": f"{LOOPBACK}:{ports.vault_api}",
                    "cluster_address": f"{LOOPBACK}:{ports.vault_cluster}",
                    **tls,
                }
            }
        ],
        "api_addr": f"{'https' if security else 'http'}://{LOOPBACK}:{ports.vault_api}",
        "disable_mlock": True,
        "ui": True,
    }


def token_file(directory: Path) -> Path:
    """The file whose only line is the token of a stack's Vault."""
    return directory / "token"


def lacks_answer(server: Server) -> str:
    """What keeps a Vault from answering at all, or nothing; a sealed one answers."""
    VaultOperator(Connection(address=server.address, ca_file=server.ca_file or None, retry_seconds=0)).health()
    return ""


def open_vault(address: str, directory: Path, ca_file: str = "") -> VaultOperator:
    """Initialize a new Vault, unseal it where it is sealed, and answer a client with its token.

    Raises StackError when the keys are gone.
    """
    where = Connection(address=address, ca_file=ca_file or None)
    client = VaultOperator(where)
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
    return VaultOperator(replace(where, token=keys.root_token))


def lacks_activity(client: VaultOperator) -> str:
    """What keeps an unsealed Vault from taking writes, or nothing: for a moment it is only a standby of itself."""
    state = client.health()
    return "it is sealed" if state.sealed else "it is not active yet" if state.standby else ""


def become_authority(vault: VaultOperator, consul: ConsulClient, ca_file: str = "") -> bool:
    """Make Vault's PKI the authority of the mesh's certificates; False when it is already.

    Consul makes the two mounts itself, with a token that may do nothing else.
    """
    current = consul.ca_configuration()
    if current.provider == "vault" and current.config.get("Address") == vault.address:
        return False
    vault.write_policy(CONNECT_POLICY, marked(read_policy("vault", "connect-ca", {}).text))
    consul.set_ca_configuration(
        "vault",
        {
            "Address": vault.address,
            "Token": vault.create_token([CONNECT_POLICY], _TOKEN_PERIOD_SECONDS),
            **CONNECT_PATHS,
            **({"CAFile": ca_file} if ca_file else {}),
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
