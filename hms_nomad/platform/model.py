"""What an operator configured once for a cluster: addresses, defaults, and how sidecars run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_LABEL = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_Namespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,128}$|^\*$")]


class PlatformError(Exception):
    """The platform's configuration does not allow what was asked for; the text says what would be right."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerAddress(_Section):
    """Where one server answers and how its certificate is checked. Tokens never stand here."""

    address: str = Field(description="URL with scheme and port, for example https://nomad.agency.gov:4646.")
    ca_file: str | None = Field(None, description="PEM file of the authority that signed the server's certificate.")
    client_cert: str | None = Field(
        None, description="PEM file of the client certificate, where the server asks for one."
    )
    client_key: str | None = Field(None, description="PEM file of the client certificate's key.")
    tls_server_name: str | None = Field(None, description="Name expected in the server's certificate.")
    token_file: str | None = Field(None, description="File (mode 0600) whose only line is the token.")


class Sidecar(_Section):
    """How the Connect sidecars (Envoy) run on this platform."""

    driver: str = Field("docker", description="docker, exec or raw_exec.")
    image: str | None = Field(None, description="Envoy image for the docker driver; Nomad's own default when absent.")
    command: str = Field("/usr/local/bin/envoy", description="Envoy binary for the exec and raw_exec drivers.")
    cpu: int = Field(100, description="MHz reserved for a sidecar.")
    memory: int = Field(128, description="MiB reserved for a sidecar.")


class Proxy(_Section):
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


class Gateway(Proxy):
    """The API gateway through which the outside reaches routes with ``public: true``
    (``hms-nomad platform install gateway``).
    """

    name: str = Field(
        "hms-gateway", pattern=_LABEL, description="Name of its job, of its service and of its config entry."
    )
    port: int = Field(8080, ge=1, le=65535, description="Port on which each instance listens for plain HTTP.")
    url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="URL under which the outside reaches it, where a load balancer or a name stands in front.",
    )


class Egress(Proxy):
    """The way out of the mesh to external services, such as databases (``hms-nomad platform install egress``)."""

    name: str = Field(
        "hms-egress", pattern=_LABEL, description="Name of its job, of its service and of its config entry."
    )
    port: int = Field(8443, ge=1, le=65535, description="Port on which each instance listens for callers' sidecars.")


class Program(_Section):
    """What the jobs of the platform that are no proxies have in common.

    With ``image`` it runs in a container, else ``command`` runs as a process of the node.
    """

    name: str = Field(pattern=_LABEL, description="Name of its job and of its service.")
    instances: int = Field(1, ge=1, le=100, description="How many instances run.")
    image: str | None = Field(None, description="Image for the docker driver; a process of the node when absent.")
    command: str = Field(pattern=r"^[^\s-]\S*$", description="Program, by path or by its name on the PATH.")
    driver: Literal["exec", "raw_exec"] | None = Field(
        None, description="Driver of the process; the platform's command_driver when absent."
    )
    node_pool: str | None = Field(None, description="Node pool of its instances; the platform's own when absent.")
    cpu: int = Field(100, ge=1, description="MHz reserved for an instance.")
    memory: int = Field(128, ge=10, description="MiB reserved for an instance.")


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


class Audit(_Section):
    """Where each change is recorded, one sealed line behind the other (``hms-nomad audit``)."""

    sink: Literal["consul", "file", "none"] = Field(
        "consul", description="consul (keys below hms-nomad/audit/), file, or none."
    )
    file: str | None = Field(None, pattern=r"^/", description="Absolute path of the file, for the sink file.")

    @model_validator(mode="after")
    def _named(self) -> Audit:
        if (self.sink == "file") != (self.file is not None):
            raise ValueError("the sink file needs a path in file, and only it takes one")
        return self


class Platform(_Section):
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
    gateway: Gateway | None = Gateway()
    egress: Egress | None = Egress()
    autoscaler: Autoscaler | None = Autoscaler()
    telemetry: Telemetry | None = Telemetry()
    command_driver: str = Field("exec", description="Driver of services that name a command instead of an image.")
    bind_volumes: bool = Field(
        False,
        description="True: containers may have directories of the node as volumes; Nomad's docker plugin must allow it "
        "too.",
    )
    mesh_domain: str = "mesh"
    production: bool = False
    rules: tuple[str, ...] = Field(
        (),
        description="Deploy rules: names of those that ship (baseline, production), or paths of files and directories.",
    )
    audit: Audit = Audit()
    development: bool = Field(False, description="True for a stack that `dev up` made.")
