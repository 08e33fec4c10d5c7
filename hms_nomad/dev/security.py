"""A stack's directory -> what makes it secure: its authority, gossip keys and tokens, each in a file of its own (0600).

The secrets are chosen here and handed to the servers, so that a stack that was broken off finds them again.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from hms_nomad.dev.authority import Authority, ensure_authority
from hms_nomad.platform.private import write_private

_NAMES: Mapping[str, Sequence[str]] = {
    "consul": ("server.dc1.consul",),
    "nomad": ("server.global.nomad", "client.global.nomad"),
    "vault": ("vault.hms",),
}
_GOSSIP_BYTES = 32


class Security(Struct, frozen=True):
    """The authority of a secure stack, and the directory of its tokens and keys."""

    authority: Authority
    directory: Path

    @property
    def ca_file(self) -> str:
        """What every client verifies the servers with."""
        return str(self.authority.ca_file)

    def gossip_key(self, server: str) -> str:
        """The key that a server's gossip is encrypted with (32 bytes in Base64)."""
        return self._kept(
            f"{server}-gossip", lambda: base64.b64encode(secrets.token_bytes(_GOSSIP_BYTES)).decode("ascii")
        )

    def token(self, name: str) -> str:
        """The secret of a token that we choose, such as "consul-management" (a UUID)."""
        return self._kept(name, lambda: str(uuid.uuid4()))

    def token_file(self, name: str) -> Path:
        """The file whose only line is a token."""
        return self.directory / name

    def stored(self, name: str) -> str:
        """A token that a server chose and that was kept, or ""."""
        try:
            return self.token_file(name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def keep(self, name: str, token: str) -> None:
        """Keep a token that a server chose."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.token_file(name), f"{token}\n")

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        if not (value := self.stored(name)):
            value = make()
            self.keep(name, value)
        return value


def ensure_security(state_dir: Path) -> Security:
    """The authority with certificates of all servers, and the place of the tokens. Raises StackError."""
    ensure_authority(state_dir / "tls", _NAMES)
    return security_of(state_dir)


def security_of(state_dir: Path) -> Security:
    """The same, with whatever of it is there."""
    return Security(Authority(state_dir / "tls"), state_dir / "tokens")
