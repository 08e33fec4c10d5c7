"""How what runs is made from the sources beside the spec: an image, or an archive for a process."""

from typing import Annotated, Literal

from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import FilePath

Language = Literal["python", "node", "go", "java", "static"]
ArgumentName = Annotated[str, Limits(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Platform = Annotated[str, Limits(pattern=r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$")]

IMAGE_ONLY = ("dockerfile", "language", "entry", "target", "args", "platforms", "cache")
"""Fields that only an image has; an archive is packed as it stands."""


class Build(Section):
    """How the image is built, or for a `command` the archive is packed, by `hms-nomad build` and `deploy`."""

    context: FilePath | None = field(
        default=None, description="Directory with the sources, relative to the spec's own; that one when absent."
    )
    dockerfile: FilePath | None = field(
        default=None,
        description="Dockerfile in that directory; the one named Dockerfile, or one made for the language.",
    )
    language: Language | None = field(
        default=None, description="Language of the sources, for the Dockerfile that is made; found out when absent."
    )
    entry: tuple[str, ...] = field(
        default=(),
        description="Program and arguments in the image whose Dockerfile is made.",
        examples=[["python3", "app.py"]],
    )
    target: Annotated[str, Limits(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")] | None = field(
        default=None, description="Stage of the Dockerfile to build; the last one when absent."
    )
    args: dict[ArgumentName, str] = field(
        default={},
        description="Build arguments. They stay readable in the image: never secrets.",
        examples=[{"PROFILE": "small"}],
    )
    platforms: tuple[Platform, ...] = field(
        default=(),
        description="Platforms to build for; the engine's own when empty.",
        examples=[["linux/amd64", "linux/arm64"]],
    )
    cache: bool = field(default=True, description="False: every step is run anew.")
    exclude: tuple[str, ...] = field(
        default=(),
        description="Patterns of files that are left out, besides those of .dockerignore.",
        examples=[["tests/**"]],
    )
