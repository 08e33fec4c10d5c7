"""What an operator configured once for a cluster: addresses, defaults, and how sidecars run."""

from typing import Annotated, Literal, Self

from pydantic import Field, IPvAnyAddress, StringConstraints, model_validator

from hms_nomad.platform.model_images import ArtifactStore, Images
from hms_nomad.platform.section import Section

_LABEL = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_DNS_NAME = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_RATE = r"^[1-9][0-9]{0,6}/[smh]$"
_Namespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,128}$|^\*$")]


class PlatformError(Exception):
    """The platform's configuration does not allow what was asked for; the text says what would be right."""


class ServerAddress(Section):
    """Where one server answers and how its certificate is checked. Tokens never stand here."""

    address: str = Field(description="URL with scheme and port, for example https://nomad.agency.gov:4646.")
    ca_file: str | None = Field(None, description="PEM file of the authority that signed the server's certificate.")
    client_cert: str | None = Field(
        None, description="PEM file of the client certificate, where the server asks for one."
    )
    client_key: str | None = Field(None, description="PEM file of the client certificate's key.")
    tls_server_name: str | None = Field(None, description="Name expected in the server's certificate.")
    token_file: str | None = Field(None, description="File (mode 0600) whose only line is the token.")
    token_helper: tuple[str, ...] = Field(
        (), description="Program and arguments that print the token; run without a shell, instead of a token_file."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.token_helper and self.token_file:
            raise ValueError("a token comes from token_helper or from token_file, not from both")
        return self


class Sidecar(Section):
    """How the Connect sidecars (Envoy) run on this platform."""

    driver: str = Field("docker", description="docker, exec or raw_exec.")
    image: str | None = Field(None, description="Envoy image for the docker driver; Nomad's own default when absent.")
    command: str = Field("/usr/local/bin/envoy", description="Envoy binary for the exec and raw_exec drivers.")
    cpu: int = Field(100, description="MHz reserved for a sidecar.")
    memory: int = Field(128, description="MiB reserved for a sidecar.")
    retries_at_once: int = Field(
        1024, ge=3, le=65535, description="Requests that a sidecar, or the gateway, sends again at once to a service."
    )
    transparent_proxy: bool = Field(
        False,
        description="True: whatever an instance sends or gets goes through its sidecar, also past its name. All nodes "
        "need Consul's CNI plugin, and sidecars another account than root.",
    )


class Dns(Section):
    """What instances have in their resolv.conf, in place of what their node has."""

    servers: tuple[IPvAnyAddress, ...] = Field(min_length=1, max_length=3, description="Addresses of name servers.")
    searches: tuple[Annotated[str, StringConstraints(pattern=_DNS_NAME, max_length=253)], ...] = Field(
        (), max_length=6, description="Domains that are tried behind a short name."
    )
    options: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9:-]+$")], ...] = Field(
        (), description="Options as resolv.conf has them, for example ndots:2."
    )


class Proxy(Section):
    """What the proxies of the platform have in common: Envoy in the node's own network, one instance a node, listening
    on the same port everywhere.
    """

    name: str = Field(pattern=_LABEL, description="Name of its job, of its service and of its config entry.")
    port: int = Field(ge=1, le=65535, description="Port on which each instance listens.")
    instances: int = Field(1, ge=1, le=1000, description="How many instances run, each on a node of its own.")
    node_pool: str | None = Field(None, description="Node pool of its instances; the platform's own when absent.")
    consul_grpc: str | None = Field(
        None,
        pattern=r"^[^:/ ]+:[0-9]+$",
        description="HOST:PORT of Consul's gRPC on each node; by default the port that Nomad found, on 127.0.0.1.",
    )
    cpu: int = Field(200, ge=1, description="MHz reserved for an instance.")
    memory: int = Field(128, ge=10, description="MiB reserved for an instance.")
    drain: str = Field(
        "20s",
        pattern=r"^[0-9]+[sm]$",
        description="How long an instance that stops may go on with what it answers. It needs bash beside Envoy; with "
        "0s it needs nothing, and cuts connections.",
    )


class GatewayTls(Section):
    """TLS at the gateway, with certificates that Vault issues and that are renewed while it runs."""

    names: tuple[Annotated[str, StringConstraints(pattern=_DNS_NAME, max_length=253)], ...] = Field(
        min_length=1, description="Names of hosts in the certificate; the first is its common name."
    )
    issuer: str = Field(
        "pki/issue/hms-gateway",
        pattern=r"^[A-Za-z0-9_/-]+$",
        description="Path of Vault's PKI that issues it: MOUNT/issue/ROLE.",
    )
    ttl: str = Field("72h", pattern=r"^[0-9]+[smh]$", description="How long a certificate holds.")
    vault_role: str = Field(
        "hms-gateway",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Role by which the job logs in to Vault with its workload identity.",
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authority that probes from here trust; that of this machine when absent."
    )


class JwtProvider(Section):
    """Who issues tokens that services may ask for, and the keys by which sidecars check them."""

    name: str = Field(pattern=_LABEL, description="Name by which specs speak of it.")
    issuer: str = Field(min_length=1, description="What its tokens say as iss.")
    audiences: tuple[str, ...] = Field((), description="What its tokens may say as aud; anything when empty.")
    jwks_url: str | None = Field(None, pattern=r"^https?://", description="URL of its keys, asked by the sidecars.")
    jwks: str | None = Field(None, pattern=r"^\s*\{", description="Its keys themselves, as JSON (JWKS).")

    @model_validator(mode="after")
    def _keyed(self) -> Self:
        if (self.jwks_url is None) == (self.jwks is None):
            raise ValueError("its keys come from jwks_url or stand in jwks: name one of the two")
        return self


class Gateway(Proxy):
    """The API gateway through which the outside reaches routes with ``public: true``
    (``hms-nomad platform install gateway``).
    """

    name: str = Field(
        "hms-gateway", pattern=_LABEL, description="Name of its job, of its service and of its config entry."
    )
    port: int = Field(8080, ge=1, le=65535, description="Port on which each instance listens.")
    instances: int = Field(1, ge=1, le=1000, description="How many instances run, per_node of them on a node.")
    per_node: int = Field(
        1,
        ge=1,
        le=16,
        description="How many instances one node may run; they share its port, and the kernel gives each connection to "
        "one of them.",
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="URL under which the outside reaches it, where a load balancer or a name stands in front.",
    )
    tls: GatewayTls | None = Field(None, description="TLS at the gateway itself; plain HTTP when absent.")
    access_log: bool = Field(True, description="A line of JSON on its stdout for each request.")
    jwt: tuple[JwtProvider, ...] = Field((), description="Whose tokens services may ask for.")
    limit: str | None = Field(
        None,
        pattern=_RATE,
        description="Requests that one instance takes, such as 500/s or 1000/m; more get 429. No limit when absent.",
    )

    @property
    def scheme(self) -> str:
        """What its listener speaks: http or https."""
        return "https" if self.tls else "http"


class Egress(Proxy):
    """The way out of the mesh to external services, such as databases (``hms-nomad platform install egress``)."""

    name: str = Field(
        "hms-egress", pattern=_LABEL, description="Name of its job, of its service and of its config entry."
    )
    port: int = Field(8443, ge=1, le=65535, description="Port on which each instance listens for callers' sidecars.")


class Tracing(Section):
    """Where proxies send what they know of each request, as spans of OpenTelemetry."""

    otlp: str = Field(
        pattern=r"^http://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[^ ?#]*$",
        description="URL of the collector for OTLP by HTTP, as the nodes reach it: http://HOST:4318/v1/traces.",
    )
    sample: float = Field(
        10.0, ge=0, le=100, description="Percent of traces that are recorded; a trace is recorded whole or not at all."
    )


class Runnable(Section):
    """How a program of the platform runs: with ``image`` in a container, else ``command`` as a process of the node."""

    name: str = Field(pattern=_LABEL, description="Name of its job and of its service.")
    image: str | None = Field(None, description="Image for the docker driver; a process of the node when absent.")
    command: str = Field(pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH.")
    driver: Literal["exec", "raw_exec"] | None = Field(
        None, description="Driver of the process; the platform's command_driver when absent."
    )
    node_pool: str | None = Field(None, description="Node pool of its instances; the platform's own when absent.")
    cpu: int = Field(100, ge=1, description="MHz reserved for an instance.")
    memory: int = Field(128, ge=10, description="MiB reserved for an instance.")


class Program(Runnable):
    """A program of the platform that always runs."""

    instances: int = Field(1, ge=1, le=100, description="How many instances run.")


class Autoscaler(Program):
    """nomad-autoscaler, which moves the counts of services (``hms-nomad platform install autoscaler``).

    Of several instances one is elected and scales; the others stand by.
    """

    name: str = Field("hms-autoscaler", pattern=_LABEL, description="Name of its job and of its service.")
    instances: int = Field(2, ge=1, le=100, description="How many instances run; one is elected and scales.")
    command: str = Field(
        "nomad-autoscaler", pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH."
    )
    namespaces: tuple[_Namespace, ...] = Field(
        (), description="Nomad namespaces whose services it scales; the platform's own when empty."
    )
    consul_token: bool = Field(
        False, description="True where Consul asks for tokens: Nomad then gets one for the job's identity."
    )


class Telemetry(Program):
    """Prometheus, which reads what all parts of the platform measure (``hms-nomad platform install telemetry``)."""

    name: str = Field("hms-telemetry", pattern=_LABEL, description="Name of its job and of its service.")
    command: str = Field(
        "prometheus", pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH."
    )
    cpu: int = Field(200, ge=1, description="MHz reserved for an instance.")
    memory: int = Field(512, ge=10, description="MiB reserved for an instance.")
    disk: int = Field(2000, ge=100, description="MiB of disk for what it measured.")
    retention: str = Field("15d", pattern=r"^[0-9]+[hdwy]$", description="How long measurements are kept.")
    every: str = Field("15s", pattern=r"^[0-9]+[sm]$", description="Time between two measurements.")
    consul: str | None = Field(
        None,
        pattern=r"^https?://[^/ ]+$",
        description="URL whose scheme and port all Consul servers share; the platform's own address when absent.",
    )
    consul_token: bool = Field(
        False, description="True where Consul asks for tokens: Nomad then gets one for the job's identity."
    )
    ca_file: str | None = Field(
        None,
        pattern=r"^/[A-Za-z0-9._/-]+$",
        description="PEM file on the nodes of the authority that signed Nomad's and Consul's certificates.",
    )
    runbooks: str = Field(
        "docs/telemetry.md", pattern=r"^[A-Za-z0-9:/._~%-]+$", description="Page of the runbooks; alerts link into it."
    )


class OwnProgram(Section):
    """This program as a job: how it reaches the servers from the nodes."""

    command: str = Field(
        "hms-nomad", pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH."
    )
    consul: ServerAddress | None = Field(
        None, description="Consul as the nodes reach it, with paths of the nodes; the platform's own when absent."
    )
    consul_token: bool = Field(
        False, description="True where Consul asks for tokens: Nomad then gets one for the job's identity."
    )


class RegistryEndpoint(OwnProgram, Program):
    """The registry over HTTP, read-only, for programs in any language (``hms-nomad platform install registry``)."""

    name: str = Field("hms-registry", pattern=_LABEL, description="Name of its job and of its service.")
    port: int = Field(8550, ge=1024, le=65535, description="Port on which each instance answers, one a node.")
    memory: int = Field(256, ge=64, description="MiB reserved for an instance.")


class Rollouts(OwnProgram, Runnable):
    """This program as a job, of which each instance drives one rollout to its end
    (``hms-nomad platform install rollouts``).
    """

    name: str = Field("hms-rollouts", pattern=_LABEL, description="Name of its job.")
    memory: int = Field(256, ge=64, description="MiB reserved for an instance.")
    nomad: ServerAddress | None = Field(
        None, description="Nomad as the nodes reach it, with paths of the nodes; the platform's own when absent."
    )


class Audit(Section):
    """Where each change is recorded, one sealed line behind the other (``hms-nomad audit``)."""

    sink: Literal["consul", "file", "none"] = Field(
        "consul", description="consul (keys below hms-nomad/audit/), file, or none."
    )
    file: str | None = Field(None, pattern=r"^/", description="Absolute path of the file, for the sink file.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.sink == "file") != (self.file is not None):
            raise ValueError("the sink file needs a path in file, and only it takes one")
        return self


_MountPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=200)]


class Secrets(Section):
    """Where the secrets of services are kept in Vault, and how jobs log in there."""

    kv: tuple[_MountPath, ...] = Field(
        ("secret",), description="Mounts of the kind KV 2; other paths are read as they are."
    )
    pki: _MountPath = Field("pki", description="Mount that issues certificates for services.")
    login: _MountPath = Field("jwt-nomad", description="Mount of the way in for identities of jobs.")


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
    sidecar: Sidecar = Sidecar.model_construct()
    dns: Dns | None = None
    gateway: Gateway | None = Gateway.model_construct()
    egress: Egress | None = Egress.model_construct()
    autoscaler: Autoscaler | None = Autoscaler.model_construct()
    telemetry: Telemetry | None = Telemetry.model_construct()
    rollouts: Rollouts | None = Rollouts.model_construct()
    registry: RegistryEndpoint | None = RegistryEndpoint.model_construct()
    tracing: Tracing | None = None
    images: Images = Images.model_construct()
    artifacts: ArtifactStore | None = None
    secrets: Secrets = Secrets.model_construct()
    command_driver: str = Field("exec", description="Driver of services that name a command instead of an image.")
    bind_volumes: bool = Field(
        False,
        description="True: containers may have directories of the node as volumes; Nomad's docker plugin must allow it "
        "too.",
    )
    mesh_domain: str = "mesh"
    uses_grant: bool = Field(
        True, description="False: a declared use gives no right to call; the owner of the other side has to allow it."
    )
    production: bool = False
    rules: tuple[str, ...] = Field(
        (),
        description="Deploy rules: names of those that ship (baseline, production), or paths of files and directories.",
    )
    audit: Audit = Audit.model_construct()
    development: bool = Field(False, description="True for a stack that `dev up` made.")
