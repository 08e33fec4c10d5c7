"""The image that a spec names -> the one that goes into the job: with its registry, and pinned where that is known."""

from __future__ import annotations

from collections.abc import Mapping

from hms_nomad.platform.model import Platform
from hms_nomad.spec.image import is_image_id, parse_image, tag_of
from hms_nomad.spec.model import Spec

Pins = Mapping[str, str]
"""Names of images to the names of exactly these bytes: NAME@sha256:..., or an id in an engine."""

NO_PINS: Pins = {}


def own_image(spec: Spec, platform: Platform) -> str | None:
    """The image of the service itself, as it is pulled; None where it runs a command.

    One that is built gets the platform's registry where it names none, and the version as its tag.
    """
    if spec.image is None or spec.build is None or is_image_id(spec.image):
        return spec.image
    reference = parse_image(spec.image)
    if reference.digest:
        return spec.image
    registry = platform.images.registry
    home = f"{registry}/" if registry and not reference.named_registry else ""
    return f"{home}{reference.name}:{reference.tag or tag_of(spec.version)}"


def images_of(spec: Spec, platform: Platform) -> tuple[str, ...]:
    """All images that a spec runs, that of the service first, each once."""
    own = own_image(spec, platform)
    named = [own, *(task.image for _, task in sorted(spec.tasks.items()))]
    return tuple(dict.fromkeys(image for image in named if image))
