"""Names of images as people write them -> registry, repository, tag and digest; pure."""

from __future__ import annotations

import re

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

_REPOSITORY = lazy_pattern(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*")
_REGISTRY = lazy_pattern(r"[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-f:]+\](?::[0-9]+)?")
_TAG = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = lazy_pattern(r"sha256:[0-9a-f]{64}")
_HUB = "docker.io"


class Reference(Struct, frozen=True):
    """An image's name in its parts. ``name`` is what stands before tag and digest, as it was written.

    ``registry`` is the host that holds it (docker.io where none is named); ``tag`` and ``digest`` are empty when the
    name has none.
    """

    name: str
    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def named_registry(self) -> bool:
        """True when the name says where the image lies."""
        return self.name != self.repository and self.name != self.repository.removeprefix("library/")

    def pinned(self, digest: str) -> str:
        """The name of exactly these bytes."""
        return f"{self.name}@{digest}"


def is_image_id(image: str) -> bool:
    """True for the id of an image in an engine, which names bytes and no registry."""
    return _DIGEST.fullmatch(image) is not None


def parse_image(image: str) -> Reference:
    """The parts of an image's name (https://docs.docker.com/reference/cli/docker/image/tag/). Raises ValueError."""
    rest, at, digest = image.partition("@")
    head, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{head}{slash}{last}"
    first, slash, path = name.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry = first if named else _HUB
    repository = path if named else name
    if not named and "/" not in name:
        repository = f"library/{name}"
    if not (_REGISTRY.fullmatch(registry) and _REPOSITORY.fullmatch(repository)) or (tag and not _TAG.fullmatch(tag)):
        raise ValueError(f"{image!r} is no name of an image")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{image!r} has no digest of the form sha256: and 64 hex digits")
    return Reference(name, registry, repository, tag, digest)


def tag_of(version: str) -> str:
    """A version as a tag of an image, which has fewer characters to choose from."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", version).lstrip(".-")[:128] or "unversioned"
