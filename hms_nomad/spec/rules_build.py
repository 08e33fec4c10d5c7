"""Rules about how images and archives are made (HMS29x), all of them errors."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import quoted
from hms_nomad.spec.image import is_image_id, parse_image
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_build import IMAGE_ONLY
from hms_nomad.spec.registry import Hit, check
from hms_nomad.spec.rules_security import looks_secret


@check(
    "HMS290",
    Level.ERROR,
    "A build argument that looks like a secret",
    reads=("build",),
    fix="give it to the running service by Vault; a build fetches from a registry with the engine's own credentials",
    example="build: {args: {NPM_TOKEN: abc}}",
)
def secret_build_argument(spec: Spec) -> Iterator[Hit]:
    """Build arguments stay in the image's history: whoever may pull the image reads them."""
    for name, value in spec.build.args.items() if spec.build else ():
        if looks_secret(name, value):
            yield Hit(("build", "args", name), f"build.args.{name} looks like a secret")


@check(
    "HMS291",
    Level.ERROR,
    "A field of image builds where an archive is packed",
    reads=("build", "command"),
    fix="remove it, or name an image instead of a command",
    example="command: [python3, app.py]\nbuild: {target: final}",
)
def image_field_for_archive(spec: Spec) -> Iterator[Hit]:
    """A service with a command is no container: its files are packed as they stand, and nothing is run for that."""
    if spec.build is not None and spec.command:
        for name in sorted(spec.build.given & set(IMAGE_ONLY)):
            yield Hit(("build", name), f"build.{name} has no meaning for an archive", at_key=True)


@check(
    "HMS292",
    Level.ERROR,
    "A digest for an image that is built",
    reads=("build", "image"),
    fix="name the image by its tag; the deploy finds the digest",
    example="image: ghcr.io/gov/receipt@sha256:"
    "0000000000000000000000000000000000000000000000000000000000000000\nbuild: {}",
)
def digest_of_built_image(spec: Spec) -> Iterator[Hit]:
    """The digest comes out of the build; one that is written down can only be that of another image."""
    if spec.build is not None and spec.image is not None and ("@" in spec.image or is_image_id(spec.image)):
        yield Hit(("image",), f"image {quoted(spec.image)} is built and has a digest already")


@check(
    "HMS293",
    Level.ERROR,
    "A Dockerfile that is both given and made",
    reads=("build",),
    fix="keep the dockerfile, or let one be made and write it out with: hms-nomad build --eject",
    example="build: {dockerfile: Dockerfile.prod, language: python}",
)
def dockerfile_given_and_made(spec: Spec) -> Iterator[Hit]:
    """Language and entry say what is written into a Dockerfile that is made; a given one is built as it is."""
    if spec.build is not None and spec.build.dockerfile is not None:
        for name in ("language", "entry"):
            if getattr(spec.build, name):
                yield Hit(("build", name), f"build.{name} has no meaning beside build.dockerfile", at_key=True)


@check(
    "HMS294",
    Level.ERROR,
    "A name that no registry takes",
    reads=("build", "image"),
    fix="write registry/name:tag in lower-case letters",
    example="image: ghcr.io/Gov/receipt:1.0\nbuild: {}",
)
def unpushable_name(spec: Spec) -> Iterator[Hit]:
    """The image is pushed under its name, so the name must be one that registries accept."""
    if spec.build is not None and spec.image is not None:
        try:
            parse_image(spec.image)
        except ValueError:
            yield Hit(("image",), f"{quoted(spec.image)} is no name that an image can be pushed under")
