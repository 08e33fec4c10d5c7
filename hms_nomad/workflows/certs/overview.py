"""Session -> the certificates of a cluster: authorities, servers and sidecars, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from hms_nomad.clients.certificates import Certificate, read_pem, shown_by
from hms_nomad.clients.consul_types import CaConfiguration, CaRoot
from hms_nomad.clients.errors import ServerError
from hms_nomad.compile.foundation import ROOT_MOUNT
from hms_nomad.workflows.mesh.overview import SidecarState, mesh_status
from hms_nomad.workflows.session import Session, connection_to

RENEWAL_FROM = 0.6
RENEWAL_UNTIL = 0.9
"""Between these shares of its life an agent of Consul replaces the certificate of a service."""

_INTERMEDIATE_RENEWAL = 0.5
_HOURLY = timedelta(hours=2)
_SOON = timedelta(days=14)
_MESH = "mesh"
_APPLICATIONS = "applications"


class Held(Struct, frozen=True):
    """A certificate and its place: ``use`` is mesh, applications or the name of a server, ``kind`` is root,
    intermediate or server.

    ``active`` says whether it is the one in use; ``renewal`` is when it is renewed by itself, None for what an operator
    has to renew. A certificate that could not be read is None, and ``problem`` says why.
    """

    use: str
    kind: str
    active: bool
    certificate: Certificate | None
    renewal: datetime | None = None
    problem: str = ""


class Leaf(Struct, frozen=True):
    """The certificate of an instance's sidecar; times are in UTC and None where it could not be read.

    It is replaced by itself between ``renewal`` and ``renewal_until``. ``current`` says whether the authority in use
    signed it, None where that is unknown.
    """

    sidecar: SidecarState
    renewal: datetime | None
    renewal_until: datetime | None
    current: bool | None


class CertsView(Struct, frozen=True):
    """Everything that ``certs status`` shows; ``provider`` signs for the mesh ("" where the token may not know)."""

    provider: str
    held: tuple[Held, ...]
    leaves: tuple[Leaf, ...]


class Problem(Struct, frozen=True):
    """What is wrong with one certificate, and what would mend it."""

    what: str
    detail: str
    fix: str


def certs_status(session: Session, name: str | None = None) -> CertsView:
    """The certificates of a cluster; with ``name`` the sidecars of that service alone.

    Raises the errors of ``hms_nomad.clients.errors`` of Consul; what others do not tell stands in the answer.
    """
    roots = session.consul.ca_roots()
    configuration = _configuration(session)
    held = [*_mesh(roots), *_applications(session), *_servers(session)]
    leaves = tuple(_leaf(one, roots) for one in mesh_status(session, name))
    return CertsView(configuration.provider if configuration else "", tuple(held), leaves)


def certs_verify(session: Session, now: datetime, name: str | None = None) -> tuple[CertsView, tuple[Problem, ...]]:
    """The same, with all that is wrong: signatures, times, identities, and whether Vault and Consul agree."""
    view = certs_status(session, name)
    roots = session.consul.ca_roots()
    problems = [
        *_wrong_in_chains(view.held),
        *_wrong_in_signing(session, roots),
        *(problem for one in view.held for problem in _wrong_in_time(one, now)),
        *(problem for leaf in view.leaves for problem in _wrong_in_leaf(leaf, now)),
    ]
    return view, tuple(problems)


def active_root(roots: Sequence[CaRoot]) -> CaRoot | None:
    """The root by which leaves are signed now."""
    return next((root for root in roots if root.active), None)


def _configuration(session: Session) -> CaConfiguration | None:
    try:
        return session.consul.ca_configuration()
    except ServerError:
        return None


def _mesh(roots: Sequence[CaRoot]) -> Iterator[Held]:
    for root in sorted(roots, key=lambda one: not one.active):
        chain = read_pem(root.pem)
        yield Held(_MESH, "root", root.active, chain[0])
        if not root.active:
            continue
        for pem in root.intermediates:
            for one in read_pem(pem):
                signs = one.key_id == root.signing_key_id
                # The others let sidecars that only know an earlier root trust this one.
                yield Held(
                    _MESH,
                    "intermediate" if signs else "cross-signed",
                    signs,
                    one,
                    renewal=one.at(_INTERMEDIATE_RENEWAL) if signs else None,
                )


def _applications(session: Session) -> Iterator[Held]:
    """The authorities in Vault that sign for applications, where the platform has them."""
    vault = session.vault
    if vault is None:
        return
    for mount, kind in ((ROOT_MOUNT, "root"), (session.platform.secrets.pki, "intermediate")):
        try:
            found = (vault.read(f"{mount}/cert/ca") or {}).get("certificate")
        except ServerError as error:
            yield Held(_APPLICATIONS, kind, active=True, certificate=None, problem=error.detail)
            continue
        if found:
            yield Held(_APPLICATIONS, kind, active=True, certificate=read_pem(str(found))[0])


def _servers(session: Session) -> Iterator[Held]:
    platform = session.platform
    for name, where in (("nomad", platform.nomad), ("consul", platform.consul), ("vault", platform.vault)):
        if where is None or not where.address.startswith("https://"):
            continue
        try:
            yield Held(name, "server", active=True, certificate=shown_by(name, connection_to(where)))
        except ServerError as error:
            yield Held(name, "server", active=True, certificate=None, problem=error.detail)


def _leaf(state: SidecarState, roots: Sequence[CaRoot]) -> Leaf:
    root = active_root(roots)
    current = state.signer == root.signing_key_id if root and state.signer else None
    if state.issued is None or state.expires is None:
        return Leaf(state, None, None, current)
    life = state.expires - state.issued
    return Leaf(state, state.issued + life * RENEWAL_FROM, state.issued + life * RENEWAL_UNTIL, current)


def _wrong_in_chains(held: Sequence[Held]) -> Iterator[Problem]:
    for use in (_MESH, _APPLICATIONS):
        chain = [one for one in held if one.use == use and one.active]
        root = next((one.certificate for one in chain if one.kind == "root"), None)
        for one in chain:
            if one.kind == "intermediate" and one.certificate and root and not one.certificate.signed_by(root):
                fix = "hms-nomad certs rotate root" if use == _MESH else "hms-nomad bootstrap --apply"
                yield Problem(f"{use} intermediate", "the root in use did not sign it", fix)
    if not any(one.use == _MESH and one.active and one.kind == "root" for one in held):
        yield Problem("mesh root", "there is no active root certificate", "hms-nomad doctor")


def _wrong_in_signing(session: Session, roots: Sequence[CaRoot]) -> Iterator[Problem]:
    """Whether Vault signs with the certificate that Consul hands out: else new leaves have no whole chain."""
    root, configuration = active_root(roots), _configuration(session)
    if root is None or configuration is None or configuration.provider != "vault" or session.vault is None:
        return
    mount = str(configuration.config.get("IntermediatePKIPath", "")).strip("/")
    try:
        found: Any = (session.vault.read(f"{mount}/cert/ca") or {}).get("certificate")
    except ServerError:
        return
    if found and read_pem(str(found))[0].key_id != root.signing_key_id:
        detail = f"Vault signs at {mount} with another certificate than Consul hands out"
        yield Problem("mesh intermediate", detail, "restart the servers of Consul, the leader last")


def _wrong_in_time(one: Held, now: datetime) -> Iterator[Problem]:
    what = f"{one.use} {one.kind}" if one.kind != "server" else f"certificate of {one.use}"
    if one.certificate is None:
        yield Problem(what, one.problem, "see the server's own log and the ca_file of the context")
        return
    if not one.active:
        return
    ends = one.certificate.expires
    fix = "hms-nomad certs rotate root" if one.use == _MESH else "renew it"
    if ends <= now:
        yield Problem(what, f"it ended on {ends:%Y-%m-%d %H:%M} UTC", fix)
    elif one.renewal is not None and one.renewal + _HOURLY < now:
        detail = f"Consul should have renewed it on {one.renewal:%Y-%m-%d %H:%M} UTC"
        yield Problem(what, detail, "see Consul's log; hms-nomad certs rotate intermediate")
    elif ends - now < min(_SOON, one.certificate.lifetime / 4):
        yield Problem(what, f"it ends on {ends:%Y-%m-%d %H:%M} UTC", fix)


def _wrong_in_leaf(leaf: Leaf, now: datetime) -> Iterator[Problem]:
    state = leaf.sidecar
    what = f"{state.service} {state.allocation[:8] or state.address}"
    for problem in state.problems:
        yield Problem(what, problem, "hms-nomad doctor --service " + state.service)
    if state.expires is not None and state.expires <= now:
        yield Problem(what, f"it ended on {state.expires:%Y-%m-%d %H:%M} UTC", "restart its sidecar")
    elif leaf.renewal_until is not None and leaf.renewal_until < now:
        detail = f"Consul should have renewed it before {leaf.renewal_until:%Y-%m-%d %H:%M} UTC"
        yield Problem(what, detail, "see the log of Consul's agent on its node")
    if leaf.current is False:
        yield Problem(what, "an earlier authority signed it", "wait half a minute; else restart Consul's agent there")


def certificate_document(one: Certificate) -> dict[str, Any]:
    """A certificate for machines; times are ISO 8601 in UTC."""
    fields = {field.name: getattr(one, field.name) for field in dataclasses.fields(one) if field.name != "parsed"}
    return fields | {"issued": one.issued.isoformat(), "expires": one.expires.isoformat()}
