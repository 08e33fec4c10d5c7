"""What an operator configured once for proxies: sidecars, the gateway, the way out, and the traces that they send."""

from typing import Annotated

from hms_nomad.platform.forms import DNS_NAME
from hms_nomad.sections.forms import DNS_LABEL, RATE
from hms_nomad.sections.section import Limits, Section, field


class Sidecar(Section):
    """How the Connect sidecars (Envoy) run on this platform."""

    driver: str = field(default="docker", description="docker, exec or raw_exec.")
    image: str | None = field(
        default=None, description="Envoy image for the docker driver; Nomad's own default when absent."
    )
    command: str = field(default="/usr/local/bin/envoy", description="Envoy binary for the exec and raw_exec drivers.")
    cpu: int = field(default=100, description="MHz reserved for a sidecar.")
    memory: int = field(default=128, description="MiB reserved for a sidecar.")
    retries_at_once: int = field(
        default=1024,
        ge=3,
        le=65535,
        description="Requests that a sidecar, or the gateway, sends again at once to a service.",
    )
    transparent_proxy: bool = field(
        default=False,
        description="True: whatever an instance sends or gets goes through its sidecar, also past its name. All nodes "
        "need Consul's CNI plugin, and sidecars another account than root.",
    )


class Dns(Section):
    """What instances have in their resolv.conf, in place of what their node has."""

    servers: tuple[str, ...] = field(min_length=1, max_length=3, description="Addresses of name servers.")
    searches: tuple[Annotated[str, Limits(pattern=DNS_NAME, max_length=253)], ...] = field(
        default=(), max_length=6, description="Domains that are tried behind a short name."
    )
    options: tuple[Annotated[str, Limits(pattern=r"^[a-z0-9:-]+$")], ...] = field(
        default=(), description="Options as resolv.conf has them, for example ndots:2."
    )

    def contradiction(self) -> str:
        """Name servers are addresses."""
        from ipaddress import ip_address

        for server in self.servers:
            try:
                ip_address(server)
            except ValueError:
                return f"servers are IP addresses, which {server!r} is not"
        return ""


class Proxy(Section):
    """What the proxies of the platform have in common: Envoy in the node's own network, one instance a node, listening
    on the same port everywhere.
    """

    name: str = field(pattern=DNS_LABEL, description="Name of its job, of its service and of its config entry.")
    port: int = field(ge=1, le=65535, description="Port on which each instance listens.")
    instances: int = field(default=1, ge=1, le=1000, description="How many instances run, each on a node of its own.")
    node_pool: str | None = field(
        default=None, description="Node pool of its instances; the platform's own when absent."
    )
    consul_grpc: str | None = field(
        default=None,
        pattern=r"^[^:/ ]+:[0-9]+$",
        description="HOST:PORT of Consul's gRPC on each node; by default the port that Nomad found, on 127.0.0.1.",
    )
    cpu: int = field(default=200, ge=1, description="MHz reserved for an instance.")
    memory: int = field(default=128, ge=10, description="MiB reserved for an instance.")
    drain: str = field(
        default="20s",
        pattern=r"^[0-9]+[sm]$",
        description="How long an instance that stops may go on with what it answers. It needs bash beside Envoy; with "
        "0s it needs nothing, and cuts connections.",
    )


class GatewayTls(Section):
    """TLS at the gateway, with certificates that Vault issues and that are renewed while it runs."""

    names: tuple[Annotated[str, Limits(pattern=DNS_NAME, max_length=253)], ...] = field(
        min_length=1, description="Names of hosts in the certificate; the first is its common name."
    )
    issuer: str = field(
        default="pki/issue/hms-gateway",
        pattern=r"^[A-Za-z0-9_/-]+$",
        description="Path of Vault's PKI that issues it: MOUNT/issue/ROLE.",
    )
    ttl: str = field(default="72h", pattern=r"^[0-9]+[smh]$", description="How long a certificate holds.")
    vault_role: str = field(
        default="hms-gateway",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Role by which the job logs in to Vault with its workload identity.",
    )
    ca_file: str | None = field(
        default=None,
        description="PEM file of the authority that probes from here trust; that of this machine when absent.",
    )


class JwtProvider(Section):
    """Who issues tokens that services may ask for, and the keys by which sidecars check them."""

    name: str = field(pattern=DNS_LABEL, description="Name by which specs speak of it.")
    issuer: str = field(min_length=1, description="What its tokens say as iss.")
    audiences: tuple[str, ...] = field(default=(), description="What its tokens may say as aud; anything when empty.")
    jwks_url: str | None = field(
        default=None, pattern=r"^https?://", description="URL of its keys, asked by the sidecars."
    )
    jwks: str | None = field(default=None, pattern=r"^\s*\{", description="Its keys themselves, as JSON (JWKS).")

    def contradiction(self) -> str:
        """Its keys have one source."""
        if (self.jwks_url is None) == (self.jwks is None):
            return "its keys come from jwks_url or stand in jwks: name one of the two"
        return ""


class Gateway(Proxy):
    """The API gateway through which the outside reaches routes with ``public: true``
    (``hms-nomad platform install gateway``).
    """

    name: str = field(
        default="hms-gateway", pattern=DNS_LABEL, description="Name of its job, of its service and of its config entry."
    )
    port: int = field(default=8080, ge=1, le=65535, description="Port on which each instance listens.")
    instances: int = field(default=1, ge=1, le=1000, description="How many instances run, per_node of them on a node.")
    per_node: int = field(
        default=1,
        ge=1,
        le=16,
        description="How many instances one node may run; they share its port, and the kernel gives each connection to "
        "one of them.",
    )
    url: str | None = field(
        default=None,
        pattern=r"^https?://[^/]+$",
        description="URL under which the outside reaches it, where a load balancer or a name stands in front.",
    )
    tls: GatewayTls | None = field(default=None, description="TLS at the gateway itself; plain HTTP when absent.")
    access_log: bool = field(default=True, description="A line of JSON on its stdout for each request.")
    jwt: tuple[JwtProvider, ...] = field(default=(), description="Whose tokens services may ask for.")
    limit: str | None = field(
        default=None,
        pattern=RATE,
        description="Requests that one instance takes, such as 500/s or 1000/m; more get 429. No limit when absent.",
    )

    @property
    def scheme(self) -> str:
        """What its listener speaks: http or https."""
        return "https" if self.tls else "http"


class Egress(Proxy):
    """The way out of the mesh to external services, such as databases (``hms-nomad platform install egress``)."""

    name: str = field(
        default="hms-egress", pattern=DNS_LABEL, description="Name of its job, of its service and of its config entry."
    )
    port: int = field(
        default=8443, ge=1, le=65535, description="Port on which each instance listens for callers' sidecars."
    )


class Tracing(Section):
    """Where proxies send what they know of each request, as spans of OpenTelemetry."""

    otlp: str = field(
        pattern=r"^http://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[^ ?#]*$",
        description="URL of the collector for OTLP by HTTP, as the nodes reach it: http://HOST:4318/v1/traces.",
    )
    sample: float = field(
        default=10.0,
        ge=0,
        le=100,
        description="Percent of traces that are recorded; a trace is recorded whole or not at all.",
    )
