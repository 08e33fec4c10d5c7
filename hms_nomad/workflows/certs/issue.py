"""A name -> a certificate with its key, in files: for the mesh from Consul, for applications from Vault."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from hms_nomad.apply.authority import Servers, vault_of
from hms_nomad.clients.certificates import Certificate, read_pem
from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.workflows.mesh.caller import Caller
from hms_nomad.workflows.session import Session

_FILES = ("certificate.pem", "key.pem", "ca.pem")


class Issued(Struct, frozen=True):
    """A certificate and the files that it was written to: itself with its chain, its key (0600), what to trust."""

    certificate: Certificate
    files: tuple[Path, ...]


class Wish(Struct, frozen=True):
    """What Vault is asked for: by which ``role`` of its PKI, with which further names, and for how long ("": the role
    decides)."""

    role: str
    also: tuple[str, ...] = ()
    ttl: str = ""


def issue(session: Session, name: str, wish: Wish | None, directory: Path) -> Issued:
    """A certificate written below ``directory``: without ``wish`` the identity of the service ``name`` in the mesh.

    Raises InvalidRequestError for a directory that holds such files already, DeniedError without the right to the
    name, and the other errors of ``hms_nomad.clients.errors``.
    """
    files = tuple(directory / name for name in _FILES)
    for file in files:
        if file.exists():
            raise InvalidRequestError("this machine", "write a certificate", str(file), "it exists already")
    chain, key, trusted = _of_mesh(session, name) if wish is None else _of_vault(session, name, wish)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file, text in zip(files, (chain, key, trusted), strict=True):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text.rstrip("\n") + "\n")
    return Issued(read_pem(chain)[0], files)


def _of_mesh(session: Session, name: str) -> tuple[str, str, str]:
    caller = Caller.of(session, name)
    return caller.leaf.certificate_pem, caller.leaf.key_pem, "\n".join(root.pem.strip() for root in caller.roots)


def _of_vault(session: Session, name: str, wish: Wish) -> tuple[str, str, str]:
    vault = vault_of(Servers(session.nomad, session.consul, session.vault))
    asked = {"common_name": name, "alt_names": ",".join(wish.also)} | ({"ttl": wish.ttl} if wish.ttl else {})
    made = vault.write(f"{session.platform.secrets.pki}/issue/{wish.role}", asked)
    chain = [str(one).strip() for one in made.get("ca_chain") or (made["issuing_ca"],)]
    # What signed itself is known to whoever trusts it, and has no place in a chain.
    between = [one for one in chain if read_pem(one)[0].subject != read_pem(one)[0].issuer]
    return "\n".join([str(made["certificate"]).strip(), *between]), str(made["private_key"]), "\n".join(chain)
