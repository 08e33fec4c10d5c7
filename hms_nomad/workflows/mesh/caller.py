"""Session -> an identity in the mesh for this command, and the instances of services that it can call with it."""

from __future__ import annotations

import getpass
import re
import ssl
from collections.abc import Sequence

from msgspec import Struct

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import AclRight, CaRoot, Instance, LeafCertificate
from hms_nomad.clients.errors import DeniedError, NotFoundError, UnavailableError
from hms_nomad.clients.http_call import Target, mesh_context
from hms_nomad.workflows.session import Session

OPERATOR_PREFIX = "hms-operator-"
"""How the names of people's identities begin; policies give the right to them by it."""

_LONGEST_NAME = 63


class Caller(Struct, frozen=True):
    """Who calls: a service's certificate, as its sidecar would show it, and the roots that the mesh trusts."""

    leaf: LeafCertificate
    roots: tuple[CaRoot, ...]

    @classmethod
    def of(cls, session: Session, name: str | None = None) -> Caller:
        """The identity ``name``, by default this user's own. The right to it is service:write on the name.

        Raises DeniedError without that right, UnavailableError where the mesh is switched off, and the other errors of
        ``hms_nomad.clients.errors``.
        """
        who = name or operator_name()
        _check_right(session.consul, who)
        leaf = session.consul.leaf_certificate(who)
        roots = session.consul.ca_roots()
        if not roots:
            raise UnavailableError(
                "consul", "read the mesh's root certificates", session.consul.address, "the mesh is switched off"
            )
        return cls(leaf, roots)

    def context_for(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """TLS settings that show this identity and offer ``protocols`` in the handshake (ALPN names)."""
        return mesh_context(self.leaf, self.roots, protocols)

    def identity_of(self, service: str) -> str:
        """The SPIFFE id that an instance of ``service`` must prove: it is in the same trust domain and datacenter."""
        return f"{self.leaf.spiffe_id.rpartition('/svc/')[0]}/svc/{service}"

    def server_name_of(self, service: str) -> str:
        """The name that Consul's proxies send in a handshake with an instance of ``service``."""
        domain, _, path = self.leaf.spiffe_id.removeprefix("spiffe://").partition("/")
        datacenter = path.split("/")[3]
        return f"{service}.default.{datacenter}.internal.{domain}"


def _check_right(consul: ConsulClient, name: str) -> None:
    """An agent of Consul hands out a certificate that it holds already without looking at the token, so this does."""
    (may,) = consul.authorized([AclRight("service", "write", name)])
    if not may:
        detail = f"the token lacks service:write on {name}"
        raise DeniedError("consul", f"read the certificate of {name}", consul.address, detail, 403)


def operator_name() -> str:
    """The identity of whoever runs this command, such as "hms-operator-jane"."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    clean = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-") or "unknown"
    return f"{OPERATOR_PREFIX}{clean}"[:_LONGEST_NAME].rstrip("-")


def target_of(service: str, sidecar: Instance, caller: Caller) -> Target:
    """An instance as the other side of a connection: its sidecar's address, and who it must prove to be."""
    return Target(service, sidecar.address, sidecar.port, caller.identity_of(service), caller.server_name_of(service))


def targets(session: Session, service: str, caller: Caller, release: str | None = None) -> tuple[Target, ...]:
    """The healthy instances of a service that callers in the mesh would reach, or those of one release.

    Raises NotFoundError for a service without any instance, UnavailableError when none is healthy or of that release.
    """
    healthy = session.consul.instances(service, passing=True, connect=True).value
    if not healthy:
        if not session.consul.instances(service, connect=True).value:
            detail = f"{service} has no instance in the mesh; see hms-nomad registry list"
            raise NotFoundError("consul", f"find {service}", session.consul.address, detail, 404)
        raise UnavailableError(service, "be called", session.consul.address, "no instance of it is healthy")
    if release is not None:
        chosen = [one for one in healthy if one.meta.get("release") == release]
        if not chosen:
            known = ", ".join(sorted({one.meta.get("release", "") for one in healthy} - {""})) or "none"
            detail = f"no healthy instance is of release {release}; there are: {known}"
            raise UnavailableError(service, "be called", session.consul.address, detail)
    else:
        resolver = session.consul.read_entry("service-resolver", service)
        stable = resolver.body.get("DefaultSubset") if resolver else None
        chosen = [one for one in healthy if one.meta.get("release") == stable] or list(healthy)
    return tuple(target_of(service, one, caller) for one in chosen)
