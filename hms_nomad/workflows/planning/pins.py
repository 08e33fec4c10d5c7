"""Images that specs name by tags -> the digests that these tags stand for now, resolved once for a command.

What goes into the job is the digest: a tag that is moved later, before the apply or between two
instances' starts, changes nothing of what runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hms_nomad.build.errors import MissingImageError
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.compile.images import NO_PINS, Pins, images_of
from hms_nomad.platform.model import Platform
from hms_nomad.spec.image import Reference, is_image_id, parse_image
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.session import Session

if TYPE_CHECKING:
    from hms_nomad.build.engine import ContainerEngine
    from hms_nomad.workflows.building.registries import Registries


def pinned(session: Session, specs: Iterable[Spec], given: Pins = NO_PINS, *, lenient: bool = False) -> dict[str, str]:
    """What the images of specs stand for; ``given`` are known already and not asked for again.

    ``lenient`` leaves out images that their registry does not have. Raises MissingImageError, ContextError, and the
    errors of ``hms_nomad.clients.errors``, which name the registry.
    """
    platform = session.platform
    names = dict.fromkeys(image for spec in specs for image in images_of(spec, platform))
    pins = {name: given[name] for name in names if name in given}
    asked = [(name, found) for name in names if name not in given and (found := tagged(name, platform))]
    if not asked:
        return pins
    # Most commands name digests, or know the pins already: registries and engines are loaded where they are asked.
    from hms_nomad.build.engine import find_engine
    from hms_nomad.workflows.building.registries import open_registries

    engine = find_engine() if platform.development else None
    with open_registries(session) as registries:

        def resolve(one: tuple[str, Reference]) -> str | None:
            return _resolved(registries, engine, platform, *one, lenient=lenient)

        for (name, _), pin in zip(asked, side_by_side(resolve, asked), strict=True):
            if pin is not None:
                pins[name] = pin
    return pins


def belongs_to(platform: Platform, reference: Reference) -> bool:
    """Whether an image lies in the platform's own registry."""
    registry = platform.images.registry
    return registry is not None and reference.registry == registry.partition("/")[0]


def tagged(name: str, platform: Platform) -> Reference | None:
    """The reference of an image whose digest has to be asked for; None where there is nothing to ask."""
    if not platform.images.pin or is_image_id(name):
        return None
    try:
        reference = parse_image(name)
    except ValueError:
        # An expression of Nomad's, such as ${meta.registry}/name: only the node knows what it means.
        return None
    return None if reference.digest else reference


def _resolved(
    registries: Registries,
    engine: ContainerEngine | None,
    platform: Platform,
    name: str,
    reference: Reference,
    *,
    lenient: bool,
) -> str | None:
    """On a development stack an image that only its engine knows is named by its id there."""
    local = engine.image(name) if engine else None
    known = next((one for one in local.digests if one.startswith(f"{reference.name}@")), "") if local else ""
    if local and not known and not belongs_to(platform, reference):
        return local.id
    client = registries.client(reference.registry)
    try:
        digest = client.resolve(reference.repository, reference.tag or "latest")
    except UnavailableError:
        if not known:
            raise
        return known
    if digest is not None:
        return reference.pinned(digest)
    if lenient:
        return None
    raise MissingImageError(name, f"the registry {client.address}")
