"""How what runs is made from the sources beside the spec: an image, or an archive for a process."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hms_nomad.spec.section import FilePath, Section

Language = Literal["python", "node", "go", "java", "static"]
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Platform = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$")]

IMAGE_ONLY = ("dockerfile", "language", "entry", "target", "args", "platforms", "cache")
"""Fields that only an image has; an archive is packed as it stands."""


class Build(Section):
    """How the image is built, or for a `command` the archive is packed, by `hms-nomad build` and `deploy`."""

    context: FilePath | None = Field(
        None, description="Directory with the sources, relative to the spec's own; that one when absent."
    )
    dockerfile: FilePath | None = Field(
        None, description="Dockerfile in that directory; the one named Dockerfile, or one made for the language."
    )
    language: Language | None = Field(
        None, description="Language of the sources, for the Dockerfile that is made; found out when absent."
    )
    entry: tuple[str, ...] = Field(
        (), description="Program and arguments in the image whose Dockerfile is made.", examples=[["python3", "app.py"]]
    )
    target: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")] | None = Field(
        None, description="Stage of the Dockerfile to build; the last one when absent."
    )
    args: dict[ArgumentName, str] = Field(
        {},
        description="Build arguments. They stay readable in the image: never secrets.",
        examples=[{"PROFILE": "small"}],
    )
    platforms: tuple[Platform, ...] = Field(
        (),
        description="Platforms to build for; the engine's own when empty.",
        examples=[["linux/amd64", "linux/arm64"]],
    )
    cache: bool = Field(True, description="False: every step is run anew.")
    exclude: tuple[str, ...] = Field(
        (), description="Patterns of files that are left out, besides those of .dockerignore.", examples=[["tests/**"]]
    )
