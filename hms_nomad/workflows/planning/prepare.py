"""Specs as they were read -> specs that can be compiled: built where they say so, their images pinned to digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.progress import Report
from hms_nomad.compile.images import NO_PINS, Pins, images_of, own_image
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.planning.made import Made
from hms_nomad.workflows.planning.pins import pinned, tagged
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile

if TYPE_CHECKING:
    from hms_nomad.build.signing import Signer
    from hms_nomad.workflows.building.archive import Packed
    from hms_nomad.workflows.building.build import Built


class Prepared(Struct, frozen=True):
    """What a plan or a deploy works on: a session that knows the pins, the specs, and what was built for them.

    ``unbuilt`` are images that a deploy would have to build first.
    """

    session: Session
    files: tuple[SpecFile, ...]
    built: tuple[Built | Packed, ...] = ()
    unbuilt: tuple[str, ...] = ()


def prepare(
    session: Session,
    files: Sequence[SpecFile],
    report: Report,
    *,
    build: bool,
    known: Pins = NO_PINS,
    key: Signer | None = None,
) -> Prepared:
    """Make ready what a command is about to plan or deploy; servers of the platform are changed by nothing of it.

    With ``build`` what a spec builds is built and pushed where the registry does not have it; on a development stack
    always, since steps that ran before cost nothing. ``known`` are pins that count already, ``key`` signs the
    services' own images. Raises DeployDeniedError for images that a rule wants signed, KeyFileError, and as
    ``build_image``, ``build_archive`` and ``pinned``.
    """
    if _takes_long(session.platform, files, known, key):
        # Whoever cannot reach Nomad builds and asks nothing. Else the first call that is needed tells it as well.
        session.nomad.leader()
    if any(file.spec.build is not None for file in files):
        # Loads all that builds, which most commands do without.
        from hms_nomad.workflows.building.builds import built_where_missing, earlier_evidence

        made = built_where_missing(session, files, known, report, build=build, key=key)
    else:
        made = Made(tuple(files), dict(known))
    ready = made.files
    specs = [file.spec for file in ready]
    made_here = {own_image(spec, session.platform) for spec in specs if spec.build is not None}
    # Without building, an image that is not there yet is no error: the plan of a first deploy.
    found = pinned(session, [spec for spec in specs if spec.build is None], made.pins)
    found |= pinned(
        session, [spec for spec in specs if spec.build is not None], {**made.pins, **found}, lenient=not build
    )
    unbuilt = tuple(sorted(image for image in made_here if image and image not in found))
    session = replace(session, pins=found)
    evidence = dict(made.evidence)
    if key is not None or session.platform.rules:
        # Loads what checks signatures, which most commands do without.
        from hms_nomad.workflows.building.signatures import refuse_unsigned, sign_images

        if key is not None:
            # What was built here is signed already.
            others = [file for file in ready if found.get(own_image(file.spec, session.platform) or "") not in evidence]
            sign_images(session, others, key, report)
        refuse_unsigned(session, ready, () if build else unbuilt)
    if made_here and (build or known):
        evidence |= earlier_evidence(session, ready, evidence, key)
    session = replace(session, evidence=evidence)
    return Prepared(session, ready, made.built, () if build else unbuilt)


def _takes_long(platform: Platform, files: Sequence[SpecFile], known: Pins, key: Signer | None) -> bool:
    """Whether anything is built, signed, checked, or asked of a registry."""
    images = (image for file in files for image in images_of(file.spec, platform))
    building = any(file.spec.build is not None for file in files)
    return (
        building
        or key is not None
        or bool(platform.rules)
        or any(image not in known and tagged(image, platform) for image in images)
    )
