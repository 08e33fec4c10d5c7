"""Specs that say how they are built -> their images and archives, made where they are not there yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hms_nomad.apply.progress import Event, Report
from hms_nomad.build.errors import MissingImageError
from hms_nomad.build.signing import Signer
from hms_nomad.compile.desired import Evidence
from hms_nomad.compile.images import Pins, own_image
from hms_nomad.workflows.building.archive import Packed, build_archive, with_archive
from hms_nomad.workflows.building.build import BuildOptions, Built, build_image
from hms_nomad.workflows.building.making import known_evidence
from hms_nomad.workflows.building.registries import open_registries
from hms_nomad.workflows.building.signatures import digested, trusted_keys
from hms_nomad.workflows.planning.made import Made
from hms_nomad.workflows.planning.pins import pinned
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile


def built_where_missing(
    session: Session, files: Sequence[SpecFile], known: Pins, report: Report, *, build: bool, key: Signer | None
) -> Made:
    """Build and push what a registry does not have, on a development stack always; archives are packed in any case.

    Without ``build`` nothing is built or published. Raises as ``build_image``, ``build_archive`` and ``pinned``.
    """
    built: list[Built | Packed] = []
    ready: list[SpecFile] = []
    for file in files:
        if file.spec.build is not None and file.spec.command:
            packed = build_archive(session, file, report, publish=build)
            built.append(packed)
            ready.append(replace(file, spec=with_archive(file.spec, packed)))
        else:
            ready.append(file)
    pins = dict(known)
    for file in ready:
        image = own_image(file.spec, session.platform)
        if file.spec.build is None or image is None or image in pins or not build:
            continue
        if session.platform.development or not _is_there(session, file):
            one = build_image(session, file, BuildOptions(key=key), report)
            built.append(one)
            pins[image] = one.pin
        else:
            told = f"{image} is in its registry already; hms-nomad build builds it again"
            report(Event("build", told, {"image": image}))
    evidence = {one.pin: one.evidence for one in built if isinstance(one, Built) and one.pushed}
    return Made(tuple(ready), pins, tuple(built), evidence)


def earlier_evidence(
    session: Session, files: Sequence[SpecFile], known: Mapping[str, Evidence], key: Signer | None
) -> dict[str, Evidence]:
    """What the registry holds of the making of images that specs build, and that were built before this command."""
    pins = {session.pins.get(own_image(file.spec, session.platform) or "") for file in files if file.spec.build}
    earlier = sorted(pin for pin in pins if pin and pin not in known)
    if not earlier:
        return {}
    keys = (*trusted_keys(session), *((key.public,) if key else ()))
    found = {}
    with open_registries(session) as registries:
        for pin in earlier:
            if (reference := digested(pin)) is not None:
                found[pin] = known_evidence(registries.client(reference.registry), reference, keys)
    return found


def _is_there(session: Session, file: SpecFile) -> bool:
    try:
        return bool(pinned(session, [file.spec.changed(tasks={})]))
    except MissingImageError:
        return False
