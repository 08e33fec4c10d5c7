"""What an operator configured once for a cluster: addresses, defaults, and how sidecars run."""

from typing import Literal

from hms_nomad.platform.forms import MountPath, Namespace
from hms_nomad.platform.model_images import ArtifactStore, Images
from hms_nomad.platform.model_proxies import Dns, Egress, Gateway, Sidecar, Tracing
from hms_nomad.sections.forms import DNS_LABEL
from hms_nomad.sections.section import Section, field


class PlatformError(Exception):
    """The platform's configuration does not allow what was asked for; the text says what would be right."""


class ServerAddress(Section):
    """Where one server answers and how its certificate is checked. Tokens never stand here."""

    address: str = field(description="URL with scheme and port, for example https://nomad.agency.gov:4646.")
    ca_file: str | None = field(
        default=None, description="PEM file of the authority that signed the server's certificate."
    )
    client_cert: str | None = field(
        default=None, description="PEM file of the client certificate, where the server asks for one."
    )
    client_key: str | None = field(default=None, description="PEM file of the client certificate's key.")
    tls_server_name: str | None = field(default=None, description="Name expected in the server's certificate.")
    token_file: str | None = field(default=None, description="File (mode 0600) whose only line is the token.")
    token_helper: tuple[str, ...] = field(
        default=(),
        description="Program and arguments that print the token; run without a shell, instead of a token_file.",
    )

    def contradiction(self) -> str:
        """A token has one source."""
        if self.token_helper and self.token_file:
            return "a token comes from token_helper or from token_file, not from both"
        return ""


_INSTANCES: int = field(default=1, ge=1, le=100, description="How many instances run.")


class Runnable(Section):
    """How a program of the platform runs: with ``image`` in a container, else ``command`` as a process of the node."""

    name: str = field(pattern=DNS_LABEL, description="Name of its job and of its service.")
    image: str | None = field(
        default=None, description="Image for the docker driver; a process of the node when absent."
    )
    command: str = field(pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH.")
    driver: Literal["exec", "raw_exec"] | None = field(
        default=None, description="Driver of the process; the platform's command_driver when absent."
    )
    node_pool: str | None = field(
        default=None, description="Node pool of its instances; the platform's own when absent."
    )
    cpu: int = field(default=100, ge=1, description="MHz reserved for an instance.")
    memory: int = field(default=128, ge=10, description="MiB reserved for an instance.")
    consul_token: bool = field(
        default=False, description="True where Consul asks for tokens: Nomad then gets one for the job's identity."
    )


class Autoscaler(Runnable):
    """nomad-autoscaler, which moves the counts of services (``hms-nomad platform install autoscaler``).

    Of several instances one is elected and scales; the others stand by.
    """

    name: str = field(default="hms-autoscaler", pattern=DNS_LABEL, description="Name of its job and of its service.")
    instances: int = field(default=2, ge=1, le=100, description="How many instances run; one is elected and scales.")
    command: str = field(
        default="nomad-autoscaler", pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH."
    )
    namespaces: tuple[Namespace, ...] = field(
        default=(), description="Nomad namespaces whose services it scales; the platform's own when empty."
    )


class Telemetry(Runnable):
    """Prometheus, which reads what all parts of the platform measure (``hms-nomad platform install telemetry``)."""

    name: str = field(default="hms-telemetry", pattern=DNS_LABEL, description="Name of its job and of its service.")
    instances: int = _INSTANCES
    command: str = field(
        default="prometheus", pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH."
    )
    cpu: int = field(default=200, ge=1, description="MHz reserved for an instance.")
    memory: int = field(default=512, ge=10, description="MiB reserved for an instance.")
    disk: int = field(default=2000, ge=100, description="MiB of disk for what it measured.")
    retention: str = field(default="15d", pattern=r"^[0-9]+[hdwy]$", description="How long measurements are kept.")
    every: str = field(default="15s", pattern=r"^[0-9]+[sm]$", description="Time between two measurements.")
    consul: str | None = field(
        default=None,
        pattern=r"^https?://[^/ ]+$",
        description="URL whose scheme and port all Consul servers share; the platform's own address when absent.",
    )
    ca_file: str | None = field(
        default=None,
        pattern=r"^/[A-Za-z0-9._/-]+$",
        description="PEM file on the nodes of the authority that signed Nomad's and Consul's certificates.",
    )
    runbooks: str = field(
        default="docs/telemetry.md",
        pattern=r"^[A-Za-z0-9:/._~%-]+$",
        description="Page of the runbooks; alerts link into it.",
    )


class OwnProgram(Runnable):
    """This program as a job: how it reaches the servers from the nodes."""

    command: str = field(
        default="hms-nomad", pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH."
    )
    consul: ServerAddress | None = field(
        default=None,
        description="Consul as the nodes reach it, with paths of the nodes; the platform's own when absent.",
    )


class RegistryEndpoint(OwnProgram):
    """The registry over HTTP, read-only, for programs in any language (``hms-nomad platform install registry``)."""

    name: str = field(default="hms-registry", pattern=DNS_LABEL, description="Name of its job and of its service.")
    instances: int = _INSTANCES
    port: int = field(default=8550, ge=1024, le=65535, description="Port on which each instance answers, one a node.")
    memory: int = field(default=256, ge=64, description="MiB reserved for an instance.")


class Rollouts(OwnProgram):
    """This program as a job, of which each instance drives one rollout to its end
    (``hms-nomad platform install rollouts``).
    """

    name: str = field(default="hms-rollouts", pattern=DNS_LABEL, description="Name of its job.")
    memory: int = field(default=256, ge=64, description="MiB reserved for an instance.")
    nomad: ServerAddress | None = field(
        default=None,
        description="Nomad as the nodes reach it, with paths of the nodes; the platform's own when absent.",
    )


class Audit(Section):
    """Where each change is recorded, one sealed line behind the other (``hms-nomad audit``)."""

    sink: Literal["consul", "file", "none"] = field(
        default="consul", description="consul (keys below hms-nomad/audit/), file, or none."
    )
    file: str | None = field(default=None, pattern=r"^/", description="Absolute path of the file, for the sink file.")

    def contradiction(self) -> str:
        """A path is for the sink file alone."""
        if (self.sink == "file") != (self.file is not None):
            return "the sink file needs a path in file, and only it takes one"
        return ""


class Secrets(Section):
    """Where the secrets of services are kept in Vault, and how jobs log in there."""

    kv: tuple[MountPath, ...] = field(
        default=("secret",), description="Mounts of the kind KV 2; other paths are read as they are."
    )
    pki: MountPath = field(default="pki", description="Mount that issues certificates for services.")
    login: MountPath = field(default="jwt-nomad", description="Mount of the way in for identities of jobs.")


class Platform(Section):
    """One cluster as the compiler and the clients see it."""

    name: str = "default"
    nomad: ServerAddress = ServerAddress(address="http://127.0.0.1:4646")
    consul: ServerAddress = ServerAddress(address="http://127.0.0.1:8500")
    vault: ServerAddress | None = None
    namespace: str = "default"
    region: str = "global"
    datacenters: tuple[str, ...] = ("*",)
    node_pool: str = "default"
    sidecar: Sidecar = Sidecar()
    dns: Dns | None = None
    gateway: Gateway | None = Gateway()
    egress: Egress | None = Egress()
    autoscaler: Autoscaler | None = Autoscaler()
    telemetry: Telemetry | None = Telemetry()
    rollouts: Rollouts | None = Rollouts()
    registry: RegistryEndpoint | None = RegistryEndpoint()
    tracing: Tracing | None = None
    images: Images = Images()
    artifacts: ArtifactStore | None = None
    secrets: Secrets = Secrets()
    command_driver: str = field(
        default="exec", description="Driver of services that name a command instead of an image."
    )
    bind_volumes: bool = field(
        default=False,
        description="True: containers may have directories of the node as volumes; Nomad's docker plugin must allow it "
        "too.",
    )
    mesh_domain: str = "mesh"
    uses_grant: bool = field(
        default=True,
        description="False: a declared use gives no right to call; the owner of the other side has to allow it.",
    )
    production: bool = False
    rules: tuple[str, ...] = field(
        default=(),
        description="Deploy rules: names of those that ship (baseline, production), or paths of files and directories.",
    )
    audit: Audit = Audit()
    development: bool = field(default=False, description="True for a stack that `dev up` made.")
