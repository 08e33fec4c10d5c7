"""What may go wrong while something is built, each with what would be right."""

from __future__ import annotations


class BuildError(Exception):
    """The build failed: by its Dockerfile, its sources, or a step; the text holds the engine's own last words."""


class NoEngineError(Exception):
    """Nothing on this machine can build or look at images."""

    def __init__(self) -> None:
        super().__init__(
            "no container engine answers at DOCKER_HOST or at the sockets of Docker and Podman; start one, or build "
            "where one runs"
        )


class MissingImageError(Exception):
    """A registry has no image of that name; ``image`` is the name."""

    def __init__(self, image: str, where: str) -> None:
        super().__init__(f"{where} has no image {image}; push it there, or let the spec build it (build: {{}})")
        self.image = image


class KeyFileError(ValueError):
    """A key cannot be used; the text says what would be right and holds nothing of the key."""


class SigningError(Exception):
    """Whatever holds the key did not sign; the text says why."""
