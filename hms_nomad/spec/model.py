"""The ``.hms.yml`` language as frozen models: one source for type, default, meaning and example of each field.

The JSON Schema, ``hms-nomad explain`` and the hints of errors are generated from here. Durations are strings
("500ms", "30s", "5m", "2h"); ``hms_nomad.spec.duration`` turns them into nanoseconds.
"""

from typing import Annotated, Any, Literal

from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import Duration, FilePath, HostName, ServiceName, User
from hms_nomad.spec.model_build import Build
from hms_nomad.spec.model_gateway import Rate, RouteHeaders, WayIn
from hms_nomad.spec.model_job import Attempts, Kind, OutsideTls, Schedule
from hms_nomad.spec.model_scaling import Percent, Scaling
from hms_nomad.spec.model_secret import Secret, SecretName
from hms_nomad.spec.model_task import Artifact, File, Resources, SideTask, Template, Volume

ATTRIBUTE = r"^(attr|meta|node|device)\.[A-Za-z0-9_.-]+$"
DATACENTER = r"^[A-Za-z0-9_.*-]+$"
VARIABLE = r"^[a-z][a-z0-9_]{0,62}$"

VariableName = Annotated[str, Limits(pattern=VARIABLE, max_length=63)]
Attribute = Annotated[str, Limits(pattern=ATTRIBUTE, max_length=200)]
Datacenter = Annotated[str, Limits(pattern=DATACENTER, max_length=128)]
NodePool = Annotated[str, Limits(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Operator = Literal[
    "=", "!=", ">", ">=", "<", "<=", "regexp", "version", "semver", "set_contains", "set_contains_any", "is_set",
    "is_not_set", "distinct_property",
]  # fmt: skip
AFTER_THE_FACT = frozenset({"5xx", "gateway-error", "reset", "retriable-4xx", "deadline-exceeded", "internal"})
"""Retry conditions that can be met after an instance has carried a request out."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"]
Protocol = Literal["http", "http2", "grpc", "tcp"]


class Route(Section):
    """One path that the service answers; everything else is refused by the mesh and by the gateway."""

    path: str = field(
        description="Path that is answered; starts with a slash.", examples=["/receipt"], pattern=r"^/", max_length=400
    )
    match: Literal["exact", "prefix", "regex"] = field(default="prefix", description="How the path is compared.")
    methods: tuple[Method, ...] = field(
        default=(), description="Methods that are answered; all of them when empty.", examples=[["POST"]]
    )
    public: bool = field(default=False, description="True: also reachable from outside through the gateway.")
    timeout: Duration | None = field(
        default=None, description="Longest time for one try of a request; `mesh.timeout` when absent."
    )
    rewrite: str | None = field(
        default=None,
        description="Path, or beginning of it, that the service gets instead of `path`.",
        pattern=r"^/",
        max_length=400,
        examples=["/"],
    )
    headers: RouteHeaders = field(default=RouteHeaders(), description="Headers that are set or taken away.")
    limit: Rate | None = field(
        default=None,
        description="Requests that one instance takes, such as 10/s, 100/m or 1000/h; more get 429.",
        examples=["10/s"],
    )


class Health(Section):
    """The check that decides whether an instance gets traffic."""

    kind: Literal["http", "grpc", "command", "tcp"] = field(
        default="http",
        description="How the instance is asked; tcp is refused with the reason: only the mesh reaches the port.",
    )
    path: str = field(default="/health", description="Path of an http check.", pattern=r"^/")
    service: str | None = field(
        default=None,
        description="Service that a grpc check asks for; the server as a whole when absent.",
        max_length=200,
    )
    command: tuple[str, ...] = field(
        default=(), description="Program and arguments of a command check; exit code 0 is healthy."
    )
    interval: Duration = field(default="2s", description="Time between two checks.")
    timeout: Duration = field(default="1s", description="Longest time for an answer; shorter than the interval.")


class Probe(Section):
    """A named question to a new release, asked before it gets more traffic; a failed one takes the release back."""

    path: str = field(description="Path that must answer with a 2xx status.", pattern=r"^/", examples=["/gve"])
    method: Method = field(default="GET", description="Method of the request.")
    timeout: Duration = field(default="5s", description="Longest time for an answer.")


class MeshPolicy(Section):
    """How callers' sidecars treat requests to this service."""

    timeout: Duration = field(default="15s", description="Longest time for one try of a request.")
    retries: int = field(default=3, ge=0, le=10, description="Further tries on another instance after a failed one.")
    retry_on: tuple[str, ...] = field(
        default=("connect-failure", "refused-stream", "reset", "gateway-error"),
        description="Failures that are tried again.",
    )
    retry_methods: tuple[Method, ...] = field(
        default=("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"),
        description="Methods whose requests may be carried out twice. Others are tried again only where no instance "
        "has got the request: connect-failure, refused-stream.",
        examples=[["GET", "POST"]],
    )
    connect_timeout: Duration = field(default="3s", description="Longest time to open a connection to an instance.")
    balance: Literal["round_robin", "least_request", "random"] = field(
        default="round_robin",
        description="Which instance gets the next request: each in turn, the less busy of two by chance, or any.",
    )
    max_connections: int | None = field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Connections of all callers that one instance's sidecar takes at once; it closes further ones, "
        "and callers try another instance. Callers' sidecars share connections. No limit when absent.",
    )


class Constraint(Section):
    """A condition that a node must meet to get an instance."""

    attribute: Attribute = field(
        description="What is looked at, in Nomad's words, for example attr.cpu.arch, meta.rack or node.class.",
        examples=["attr.cpu.arch"],
    )
    operator: Operator = field(default="=", description="How it is compared.")
    value: str | None = field(
        default=None, description="What it is compared with.", examples=["amd64"], min_length=1, max_length=500
    )


class Spread(Section):
    """An attribute over whose values the instances are spread."""

    attribute: Attribute = field(description="What must differ, in Nomad's words.", examples=["node.datacenter"])
    weight: int = field(default=50, ge=1, le=100, description="How much it counts beside other wishes.")
    targets: dict[str, Percent] = field(
        default={},
        description="Share in percent for each value; equal shares when empty.",
        examples=[{"dc1": 70, "dc2": 30}],
    )


class Placement(Section):
    """Where instances may run."""

    datacenters: tuple[Datacenter, ...] = field(
        default=(),
        description="Datacenters, * for any letters; those of the platform when empty.",
        examples=[["dc1", "dc2"]],
    )
    node_pool: NodePool | None = field(default=None, description="Node pool; that of the platform when absent.")
    constraints: tuple[Constraint, ...] = field(default=(), description="Conditions that a node must meet.")
    distinct_hosts: bool = field(default=False, description="True: no two instances on one node.")
    spread: tuple[Spread, ...] = field(default=(), description="Over what instances are spread.")


class Action(Section):
    """A command that operators start inside a running instance, from the Nomad UI or `nomad action`."""

    command: tuple[str, ...] = field(
        description="Program and arguments.", min_length=1, examples=[["bin/migrate", "status"]]
    )


class Rollout(Section):
    """How traffic moves from one release to the next."""

    strategy: Literal["canary", "blue-green", "rolling"] = field(default="canary", description="Way of moving.")
    steps: tuple[Percent, ...] = field(
        default=(1, 10, 50, 100), description="Shares of traffic for the new release, in percent."
    )
    every: Duration = field(default="30s", description="Shortest time at one step.")
    success: Percent = field(default=99, description="Lowest share of successful requests, in percent.")
    p99: Duration | None = field(default=None, description="Highest p99 latency of the new release.")
    slower: float | None = field(
        default=None,
        gt=1,
        le=100,
        description="How many times the old release's p50 and p99 latency, in the same window, the new one's may be.",
        examples=[2],
    )
    min_requests: int = field(
        default=20, ge=0, description="Requests to the new release below which a step is not judged."
    )
    on_no_traffic: Literal["probe", "wait", "promote", "fail"] = field(
        default="promote", description="What happens at the end of a step with too few requests."
    )
    min_healthy: Duration = field(
        default="3s", description="How long an instance must stay healthy to count as healthy."
    )
    deadline: Duration = field(default="2m", description="Longest time for a new instance to become healthy.")
    drain: Duration = field(default="5s", description="Time between deregistering an instance and stopping it.")
    keep: Duration | None = field(
        default=None,
        description="How long the old instances stay, without traffic, after the last step, so that `abort` brings "
        "them back at once; 30s for blue-green and no time at all otherwise when absent.",
    )


class Spec(Section):
    """One service or job: what runs, what it answers, whom it calls, how it scales and how it is rolled out."""

    name: ServiceName = field(description="Name of the service: a DNS label.", examples=["receipt-svc"])
    version: str = field(description="Version as people say it.", examples=["1.0.0"], min_length=1, max_length=128)
    image: str | None = field(default=None, description="Container image.", examples=["ghcr.io/gov/receipt:1.0"])
    build: Build | None = field(
        default=None, description="How the image or the archive is made; it is there already when absent."
    )
    kind: Kind = field(
        default="service",
        description="service: answers requests as long as it lives; job: runs to its end; external: runs elsewhere.",
    )
    command: tuple[str, ...] = field(
        default=(), description="Program and arguments, instead of an image.", examples=[["python3", "app.py"]]
    )
    args: tuple[str, ...] = field(default=(), description="Arguments for the image's entrypoint.")
    driver: Literal["docker", "exec", "raw_exec"] | None = field(
        default=None, description="How it runs: docker for an image; for a command, that of the platform when absent."
    )
    user: User | None = field(
        default=None, description="User (and group) that it runs as, by name or number.", examples=["10001", "app:app"]
    )
    port: int = field(
        default=0,
        description="Port on which the instance listens; also in the variable PORT.",
        ge=1,
        le=65535,
        examples=[3000],
    )
    host: HostName | None = field(
        default=None, description="Host name or IPv4 address of an external service.", examples=["db.agency.gov"]
    )
    tls: OutsideTls | None = field(default=None, description="TLS on the way to an external service; none when absent.")
    protocol: Protocol = field(default="http", description="What the port speaks.")
    routes: tuple[Route, ...] = field(default=(), description="What the service answers; everything when empty.")
    scaling: Scaling = field(default=Scaling(), description="How many instances run.")
    health: Health | None = field(default=None, description="The check that decides whether an instance gets traffic.")
    probes: dict[ServiceName, Probe] = field(default={}, description="Named questions to a new release.")
    env: dict[str, str] = field(default={}, description="Environment variables.")
    secrets: dict[SecretName, Secret] = field(
        default={},
        description="Secrets by name, read from Vault or Nomad's variables when the service starts.",
        examples=[{"DB_PASSWORD": "vault:secret/receipt#password"}],
    )
    files: dict[FilePath, File] = field(default={}, description="Files by their path below local/, sent as they are.")
    templates: dict[FilePath, Template] = field(
        default={}, description="Files by their path below local/ that Nomad renders."
    )
    artifacts: tuple[Artifact, ...] = field(default=(), description="What the node fetches before the service starts.")
    volumes: dict[ServiceName, Volume] = field(default={}, description="Directories that outlive the instances.")
    tasks: dict[ServiceName, SideTask] = field(default={}, description="Helpers in the same instance.")
    resources: Resources = field(default=Resources(), description="What one instance reserves.")
    placement: Placement = field(default=Placement(), description="Where instances may run.")
    actions: dict[ServiceName, Action] = field(
        default={}, description="Commands that operators start in a running instance."
    )
    uses: tuple[ServiceName, ...] = field(default=(), description="Services that this one calls, as http://NAME.mesh.")
    tcp: dict[ServiceName, Annotated[int, Limits(ge=1, le=65535)]] = field(
        default={},
        description="Those of `uses` that speak TCP, with the port at which NAME.mesh answers.",
        examples=[{"db": 5432}],
    )
    allow: tuple[ServiceName, ...] = field(
        default=(), description="Services that may call this one without declaring it."
    )
    mesh: MeshPolicy = field(default=MeshPolicy(), description="How callers' sidecars treat requests to this service.")
    gateway: WayIn = field(
        default=WayIn(), description="Its way through the gateway: hosts, and tokens that are asked for."
    )
    rollout: Rollout = field(default=Rollout(), description="How traffic moves to a new release.")
    owner: str | None = field(
        default=None, description="Team that answers for the service; shown in the Nomad UI.", max_length=200
    )
    description: str | None = field(
        default=None, description="What the service does; shown in the Nomad UI.", max_length=1000
    )
    links: dict[str, str] = field(
        default={}, description="Label and URL of pages for operators; shown in the Nomad UI."
    )
    schedule: Schedule | None = field(default=None, description="When a job starts; once, at its deploy, when absent.")
    attempts: Attempts = field(default=Attempts(), description="What happens when a job's program fails.")
    nomad: dict[str, Any] = field(
        default={}, description="Escape hatch: merged into the Nomad job last, and shown in the diff."
    )


class Variable(Section):
    """A value that a file leaves open: it stands in other values as ``${var.NAME}``."""

    type: Literal["text", "integer", "number", "boolean"] = field(default="text", description="What its values are.")
    default: Any = field(default=None, description="Value where none is given; without a default one must be given.")
    choices: tuple[Any, ...] = field(default=(), description="The only values that are taken; any when empty.")
    description: str | None = field(default=None, description="What it is for.", max_length=1000)


class Source(Spec):
    """One service, with the values that its file leaves open and what differs by environment.

    A Spec is what is left of it once an environment is chosen and every variable has its value.
    """

    variables: dict[VariableName, Variable] = field(
        default={},
        max_length=200,
        description="Values that the file leaves open; given by `--var NAME=VALUE` or by an environment.",
    )
    environments: dict[ServiceName, dict[str, Any]] = field(
        default={},
        max_length=10,
        description="Fields that differ by environment, laid over the others by `--env NAME`: mappings are "
        "merged, lists and values replaced, an empty value means the default; `variables` gives them values.",
    )
