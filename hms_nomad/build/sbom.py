"""An image and its packages -> a bill of materials in CycloneDX 1.6, the same bytes for the same image; and back.

https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from hms_nomad import __version__
from hms_nomad.build.packages import Package

MEDIA_TYPE = "application/vnd.cyclonedx+json"


class Described(Struct, frozen=True):
    """What a bill of materials is of: the image's name and version, the digest of its bytes, and its time in seconds
    since 1970.
    """

    name: str
    version: str
    digest: str
    time: int


def bill_of(image: Described, packages: Iterable[Package]) -> bytes:
    """The bill of materials in JSON. Everything in it follows from the image: no moment, no random number."""
    # Loaded only where something was built: it takes as long as a short command.
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    own = Component(
        name=image.name,
        version=image.version,
        type=ComponentType.CONTAINER,
        bom_ref=f"{image.name}@{image.digest}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest.removeprefix("sha256:"))],
    )
    tool = Component(name="hms-nomad", version=__version__, type=ComponentType.APPLICATION, bom_ref="hms-nomad")
    parts = [_component(package) for package in packages]
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{image.name}@{image.digest}"),
        metadata=BomMetaData(
            component=own,
            timestamp=datetime.fromtimestamp(image.time, UTC),
            tools=ToolRepository(components=[tool]),
        ),
        components=parts,
    )
    bom.register_dependency(own, parts)
    return str(JsonV1Dot6(bom).output_as_string(indent=1)).encode()


def parts_of(bill: bytes) -> tuple[Package, ...]:
    """The packages that a bill of materials lists, whoever made it. Raises ValueError for bytes that are none."""
    from packageurl import PackageURL

    body: Mapping[str, Any] = json.loads(bill)
    if body.get("bomFormat") != "CycloneDX":
        raise ValueError("it is no bill of materials in CycloneDX")
    found = set()
    for row in body.get("components") or ():
        try:
            purl = PackageURL.from_string(str(row.get("purl") or ""))
            kind, group = purl.type, purl.namespace or ""
        except ValueError:
            kind, group = str(row.get("type") or ""), str(row.get("group") or "")
        found.add(Package(kind, group, str(row.get("name") or ""), str(row.get("version") or ""), _license(row)))
    return tuple(sorted(found))


def _component(package: Package) -> Any:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    qualifiers = {"distro": package.distribution} if package.distribution else None
    purl = PackageURL(package.kind, package.group or None, package.name, package.version or None, qualifiers)
    return Component(
        name=package.name,
        version=package.version or None,
        group=package.group or None,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[LicenseFactory().make_from_string(package.license)] if package.license else (),
    )


def _license(row: Mapping[str, Any]) -> str:
    for one in row.get("licenses") or ():
        inner = one.get("license") or {}
        if said := one.get("expression") or inner.get("id") or inner.get("name"):
            return str(said)
    return ""
