"""The calls on Vault (or OpenBao) that only whoever sets it up makes: first keys and unsealing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hms_nomad.clients.vault import VaultClient


@dataclass(frozen=True, slots=True)
class VaultKeys:
    """What a new Vault answers once and never again; neither ever shows in a ``repr``."""

    unseal_keys: tuple[str, ...] = field(repr=False)
    root_token: str = field(repr=False)


class VaultOperator(VaultClient):
    """Setting up one server. All raise the errors of ``hms_nomad.clients.errors``."""

    def initialize(self, shares: int = 1, threshold: int = 1) -> VaultKeys:
        """Make a new server's keys, of which ``threshold`` out of ``shares`` unseal it.

        API: https://developer.hashicorp.com/vault/api-docs/system/init#start-initialization
        """
        body = self._transport.write(
            "initialize it",
            lambda: self._hvac.sys.initialize(secret_shares=shares, secret_threshold=threshold),
        )
        return VaultKeys(tuple(body["keys_base64"]), str(body["root_token"]))

    def unseal(self, keys: Sequence[str]) -> bool:
        """Give keys until it is unsealed; False when they were not enough.

        API: https://developer.hashicorp.com/vault/api-docs/system/unseal
        """
        return any(self._submit(key) for key in keys)

    def _submit(self, key: str) -> bool:
        body = self._transport.write("unseal it", lambda: self._hvac.sys.submit_unseal_key(key=key))
        return not body["sealed"]
