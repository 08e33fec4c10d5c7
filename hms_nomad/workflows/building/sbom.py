"""``sbom``: a service -> the bills of materials of the images that run, as their registry keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hms_nomad.build.packages import Package
from hms_nomad.build.referrers import documents
from hms_nomad.build.sbom import MEDIA_TYPE, parts_of
from hms_nomad.clients.errors import InvalidRequestError, NotFoundError
from hms_nomad.clients.oci import RegistryClient, digest_of
from hms_nomad.rollout.release import Release
from hms_nomad.spec.image import Reference
from hms_nomad.workflows.building.registries import open_registries
from hms_nomad.workflows.building.signatures import digested
from hms_nomad.workflows.rollouts.history import history
from hms_nomad.workflows.session import Session

_MEND = "hms-nomad build makes one"


@dataclass(frozen=True, slots=True)
class Bill:
    """The bill of materials of one image: its digest, what it lists, and its own bytes."""

    service: str
    image: str
    digest: str
    packages: tuple[Package, ...]
    document: bytes = field(repr=False)


def bill_of_service(session: Session, name: str, number: int | None = None) -> Bill:
    """The bill of what serves, or of an earlier release by its number: the one that the release kept.

    Raises NotFoundError where no release or no bill is known, and the errors of ``hms_nomad.clients.errors``, which
    name the registry.
    """
    found = history(session, name)
    wanted = number if number is not None else found.current
    release = next((one for one in found.releases if one.number == wanted), None)
    if release is None:
        what = f"release {number} of {name}" if number is not None else f"release of {name} that serves"
        raise NotFoundError("consul", f"find the packages of {name}", session.consul.address, f"there is no {what}")
    pin, reference = _own_image(session, name, release)
    with open_registries(session) as registries:
        client = registries.client(reference.registry)
        kept = release.evidence[pin].bill if pin in release.evidence else ""
        document = _read(client, reference, kept)
    try:
        return Bill(name, pin, digest_of(document), parts_of(document), document)
    except ValueError as error:
        raise InvalidRequestError("registry", f"read the packages of {pin}", client.address, str(error)) from None


def _own_image(session: Session, name: str, release: Release) -> tuple[str, Reference]:
    """The image that was built where the release knows one, else the only one that it pinned."""
    pins = [*release.evidence, *release.images.values()]
    for pin in pins:
        if (reference := digested(pin)) is not None:
            return pin, reference
    detail = f"release {release.number} runs no image by a digest in a registry"
    raise NotFoundError("registry", f"find the packages of {name}", session.platform.images.registry or "-", detail)


def _read(client: RegistryClient, reference: Reference, kept: str) -> bytes:
    there = documents(client, reference.repository, reference.digest, MEDIA_TYPE)
    chosen = next((one for one in there if not kept or digest_of(one) == kept), None)
    if chosen is None:
        detail = f"the bill {kept}, which the release kept, is not there" if kept else f"there is none; {_MEND}"
        raise NotFoundError("registry", f"read the bill of materials of {reference.name}", client.address, detail)
    return chosen
