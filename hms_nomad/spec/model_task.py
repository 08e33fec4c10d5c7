"""What a task is given besides its program: files, templates, artifacts, volumes; and the tasks beside the service."""

from typing import Annotated, Literal

from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import AbsolutePath, Duration, FilePath, Mode, ServiceName, User
from hms_nomad.spec.model_secret import SIGNAL as SIGNAL  # noqa: PLC0414 - offered here too
from hms_nomad.spec.model_secret import Secret, SecretName

URL = r"^https?://[^\s/]+"
CHECKSUM = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"
VOLUME = r"^[A-Za-z0-9_./-]{1,128}$"
ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"


class File(Section):
    """A file that arrives byte for byte: nothing in it is replaced, whatever it contains."""

    content: str | None = field(default=None, description="What the file holds.")
    source: FilePath | None = field(
        default=None, description="File with the content, relative to the spec's own directory and within it."
    )
    mode: Mode = field(default="0644", description="Rights, in octal digits.")
    base64: bool = field(
        default=False, description="True: content is Base64; a source that is no UTF-8 text is sent that way by itself."
    )


class Template(Section):
    """A file that Nomad renders when the task starts, and anew when a value in it changes.

    The language is that of Nomad's templates: `{{ env "NOMAD_ALLOC_ID" }}`, `{{ key "path" }}`,
    `{{ with nomadVar "path" }}{{ .name }}{{ end }}` and so on.
    """

    content: str | None = field(default=None, description="The template's text.")
    source: FilePath | None = field(
        default=None, description="File with the text, relative to the spec's own directory and within it."
    )
    mode: Mode = field(default="0644", description="Rights, in octal digits.")
    change: Literal["restart", "signal", "none"] = field(
        default="restart", description="What happens to the task when the rendered text changes."
    )
    signal: Annotated[str, Limits(pattern=SIGNAL)] | None = field(
        default=None, description="Signal to send where change is signal.", examples=["SIGHUP"]
    )
    splay: Duration = field(
        default="5s", description="A random wait up to this long, so that not all instances react at the same time."
    )


class Artifact(Section):
    """A file or an archive that the node fetches before the task starts; archives are unpacked."""

    source: Annotated[str, Limits(pattern=URL, max_length=2000)] = field(
        description="Web address of the file.", examples=["https://files.gov/receipt-1.0.tar.gz"]
    )
    checksum: Annotated[str, Limits(pattern=CHECKSUM)] = field(
        description="What its bytes must come to: sha256: or sha512: and hex digits.", examples=["sha256:" + "0" * 64]
    )
    destination: FilePath | None = field(
        default=None, description="Directory below local/ that gets it; local/ itself when absent.", examples=["app"]
    )
    unpack: bool = field(default=True, description="False: an archive stays as it is.")


class Volume(Section):
    """A directory that outlives the instances."""

    kind: Literal["host", "csi", "bind"] = field(
        default="host",
        description="host: a volume that the node's configuration or Nomad declares; csi: a registered CSI volume; "
        "bind: a directory of the node in a container, where the platform allows it.",
    )
    source: Annotated[str, Limits(pattern=VOLUME)] = field(
        description="Name of the volume; for bind the node's directory.", examples=["receipts"]
    )
    path: AbsolutePath = field(description="Directory at which the service sees it.", examples=["/data"])
    read_only: bool = field(default=False, description="True: nobody writes to it.")
    access: Literal[
        "single-node-reader-only", "single-node-writer", "single-node-single-writer", "single-node-multi-writer",
        "multi-node-reader-only", "multi-node-single-writer", "multi-node-multi-writer",
    ] | None = field(
        default=None,
        description="How it may be used at the same time, one of those that it was made for; needed for csi, and for "
        "host where it was made for another than single-node-writer.",
    )  # fmt: skip
    attachment: Literal["file-system", "block-device"] | None = field(
        default=None, description="How it appears; file-system when absent."
    )


class Resources(Section):
    """What one instance reserves."""

    cpu: int = field(default=100, ge=1, description="MHz of processor time.")
    memory: int = field(default=128, ge=10, description="MiB of memory.")
    memory_max: int | None = field(
        default=None, ge=10, description="MiB up to which the instance may grow where the node allows it."
    )


class SideTask(Section):
    """A helper in the same instance: it shares the network, the dependencies and the life of the service."""

    hook: Literal["prestart", "sidecar", "poststop"] = field(
        description="prestart: runs to its end before the service starts; sidecar: runs beside it, restarted when it "
        "ends; poststop: runs after it has stopped.",
        examples=["prestart"],
    )
    image: str | None = field(default=None, description="Container image.", examples=["ghcr.io/gov/migrate:1.0"])
    command: tuple[str, ...] = field(
        default=(), description="Program and arguments, instead of an image.", examples=[["bin/migrate", "up"]]
    )
    args: tuple[str, ...] = field(default=(), description="Arguments for the image's entrypoint.")
    driver: Literal["docker", "exec", "raw_exec"] | None = field(
        default=None, description="How it runs; as for the service when absent."
    )
    user: User | None = field(default=None, description="User (and group) that it runs as.", examples=["10001"])
    env: dict[str, str] = field(default={}, description="Environment variables.")
    secrets: dict[SecretName, Secret] = field(default={}, description="Secrets by name, for this helper alone.")
    resources: Resources = field(default=Resources(), description="What it reserves beside the service.")
    files: dict[FilePath, File] = field(default={}, description="Files by their path below local/.")
    templates: dict[FilePath, Template] = field(default={}, description="Rendered files by their path below local/.")
    artifacts: tuple[Artifact, ...] = field(default=(), description="What the node fetches first.")
    mounts: dict[ServiceName, AbsolutePath] = field(
        default={},
        description="Volumes of the service that it sees too, with the directory.",
        examples=[{"data": "/data"}],
    )
