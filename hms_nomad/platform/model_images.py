"""What an operator configured once for images and archives: where they come from, and where they are published."""

from hms_nomad.sections.section import Section, field


class RegistryAccess(Section):
    """How one registry of images is reached, where that is not by https with a public certificate."""

    address: str | None = field(
        default=None, pattern=r"^https?://[^/ @]+$", description="URL of its API, where that is not https://HOST."
    )
    ca_file: str | None = field(default=None, description="PEM file of the authority that signed its certificate.")
    timeout: int = field(default=60, ge=1, le=3600, description="Longest wait for its next bytes, in seconds.")
    vault: str | None = field(
        default=None,
        pattern=r"^[^\s/][^\s]*$",
        description="Path in Vault of a secret with username and password, as specs write it (MOUNT/NAME); the Docker "
        "configuration of whoever runs the command when absent.",
    )


class Images(Section):
    """Where images come from, and what the Dockerfiles that are made begin with."""

    registry: str | None = field(
        default=None,
        pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$",
        description="Registry, with a path below it as it may be, for built images whose name says none.",
    )
    registries: dict[str, RegistryAccess] = field(
        default={}, description="Registries by their host as names of images say it."
    )
    pin: bool = field(default=True, description="False: a tag goes into the job as it is, and may move.")
    bases: dict[str, str] = field(
        default={},
        description="Base images by language: python, node, go, java, and java-run for the second stage of java.",
    )


class ArtifactStore(Section):
    """Where archives of services that are no containers are published; nodes fetch them from there by checksum."""

    url: str = field(pattern=r"^https?://[^/ @]+(/[^ ]*)?$", description="URL below which archives lie, taken by PUT.")
    fetch: str | None = field(
        default=None,
        pattern=r"^https?://[^/ @]+(/[^ ]*)?$",
        description="The same place as nodes see it; url when absent.",
    )
    ca_file: str | None = field(default=None, description="PEM file of the authority that signed its certificate.")
    s3_region: str | None = field(
        default=None,
        pattern=r"^[a-z0-9-]+$",
        description="Region of an S3 bucket: requests are then signed with the keys in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY.",
    )
