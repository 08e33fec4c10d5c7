"""Rules about fields that contradict each other, all of them errors (HMS2xx)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, spoken
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Method, Route, Spec
from hms_nomad.spec.model_task import Resources
from hms_nomad.spec.registry import Hit, check

_ALL_METHODS: frozenset[Method] = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
)
_MOST_DEPENDENCIES = 254


@check(
    "HMS201",
    Level.ERROR,
    "The smallest number of instances is above the largest",
    reads=("scaling.min", "scaling.max"),
    fix="raise scaling.max or lower scaling.min",
    example="scaling: {min: 3, max: 2}",
)
def min_above_max(spec: Spec) -> Iterator[Hit]:
    """The scheduler cannot keep a count between bounds that exclude each other."""
    low, high = spec.scaling.min, spec.scaling.max
    if low > high:
        place = "min" if "min" in spec.scaling.given else "max"
        default = "" if {"min", "max"} <= spec.scaling.given else " (the default)"
        shown = f"{low} is above scaling.max {high}{default}" if place == "min" else f"{low}{default} is above {high}"
        yield Hit(("scaling", place), f"scaling.min {shown}")


@check(
    "HMS202",
    Level.ERROR,
    "A service runs either an image or a command",
    reads=("image", "command"),
    fix="keep one of image and command",
    example="image: receipt:1.0\ncommand: [python3, app.py]",
)
def image_xor_command(spec: Spec) -> Iterator[Hit]:
    """An image runs in a container, a command as a process; with both it is not clear what runs."""
    if spec.image is not None and spec.command:
        yield Hit(
            ("command",),
            "image and command are both given",
            "keep one of them; arguments for the image go to args",
            at_key=True,
        )
    elif spec.image is None and not spec.command:
        yield Hit(
            (), "neither image nor command is given", "add image: registry/name:tag or command: [program, argument]"
        )


@check(
    "HMS203",
    Level.ERROR,
    "A health check may take longer than the time between two checks",
    reads=("health",),
    fix="make health.timeout shorter than health.interval",
    example="health: {interval: 2s, timeout: 3s}",
)
def slow_health_check(spec: Spec) -> Iterator[Hit]:
    """A check that has not ended when the next one is due says nothing about the instance at that moment."""
    health = spec.health
    if health and nanoseconds(health.timeout) >= nanoseconds(health.interval):
        place = "timeout" if "timeout" in health.given else "interval"
        yield Hit(
            ("health", place),
            f"health.timeout {health.timeout} is not shorter than health.interval {health.interval}",
        )


@check(
    "HMS204",
    Level.ERROR,
    "The CPU rule would add and remove instances at once",
    reads=("scaling.cpu",),
    fix="keep a distance between the two, for example low: 30 and high: 70",
    example="scaling:\n  max: 10\n  cpu: {low: 70, high: 60}",
)
def cpu_bounds_crossed(spec: Spec) -> Iterator[Hit]:
    """Between the two bounds the count rests; without that room every evaluation changes it."""
    cpu = spec.scaling.cpu
    if cpu.low >= cpu.high:
        place = "low" if "low" in cpu.given else "high"
        yield Hit(("scaling", "cpu", place), f"scaling.cpu.low {cpu.low:g} is not below scaling.cpu.high {cpu.high:g}")


@check(
    "HMS205",
    Level.ERROR,
    "The steps of a rollout do not lead to all of the traffic",
    reads=("rollout.steps",),
    fix="write shares that grow and end with 100, for example [1, 10, 50, 100]",
    example="rollout:\n  steps: [10, 5, 50]",
)
def steps_not_ascending(spec: Spec) -> Iterator[Hit]:
    """A rollout moves traffic one way, in shares of at least 0.01 percent, until the new release has all of it."""
    steps = spec.rollout.steps
    path: Path = ("rollout", "steps")
    if not steps:
        yield Hit(path, "rollout.steps is empty")
        return
    for index, (before, step) in enumerate(zip((0.0, *steps), steps, strict=False)):
        if step <= before:
            yield Hit((*path, index), f"the step {step:g} does not grow from {before:g}")
        elif abs(step * 100 - round(step * 100)) > 1e-6 or step < 0.01:
            yield Hit((*path, index), f"the step {step:g} is finer than 0.01 percent")
    if steps[-1] != 100:
        yield Hit((*path, len(steps) - 1), f"the last step is {steps[-1]:g}, not 100")


@check(
    "HMS206",
    Level.ERROR,
    "A route is declared twice",
    reads=("routes",),
    fix="keep one of them",
    example="routes:\n  - path: /receipt\n  - path: /receipt\n    methods: [POST]",
)
def duplicate_routes(spec: Spec) -> Iterator[Hit]:
    """The first route that fits a request decides, so the second one would never be used."""
    seen: dict[tuple[str, str], list[tuple[int, frozenset[Method]]]] = {}
    for index, route in enumerate(spec.routes):
        methods = _methods(route)
        earlier = seen.setdefault((route.match, route.path), [])
        for number, others in earlier:
            if shared := methods & others:
                which = "" if methods == others else f" for {', '.join(sorted(shared))}"
                yield Hit(("routes", index), f"this route repeats routes[{number}]{which}")
                break
        earlier.append((index, methods))


@check(
    "HMS207",
    Level.ERROR,
    "A service calls itself through the mesh",
    reads=("name", "uses", "allow"),
    fix="remove it",
    example="uses: [receipt-svc]",
)
def uses_itself(spec: Spec) -> Iterator[Hit]:
    """A dependency on oneself can never be healthy first, and calls within an instance need no mesh."""
    for section, names in (("uses", spec.uses), ("allow", spec.allow)):
        for index, name in enumerate(names):
            if name == spec.name:
                yield Hit((section, index), f"{section} contains {name}, the service itself")


@check(
    "HMS208",
    Level.ERROR,
    "A list names the same thing twice",
    reads=("uses", "allow", "routes", "mesh.retry_on", "mesh.retry_methods"),
    fix="remove the second one",
    example="uses: [tax-svc, tax-svc]",
)
def listed_twice(spec: Spec) -> Iterator[Hit]:
    """A repeated entry is mostly a slip: something else was meant."""
    lists: list[tuple[Path, tuple[str, ...]]] = [
        (("uses",), spec.uses),
        (("allow",), spec.allow),
        (("mesh", "retry_on"), spec.mesh.retry_on),
        (("mesh", "retry_methods"), spec.mesh.retry_methods),
    ]
    lists += [(("routes", index, "methods"), route.methods) for index, route in enumerate(spec.routes)]
    for path, entries in lists:
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            if entry in seen:
                yield Hit((*path, index), f"{spoken(path)} names {entry} twice")
            seen.add(entry)


@check(
    "HMS209",
    Level.ERROR,
    "A health check is described by fields of another kind",
    reads=("health",),
    fix="use the fields of this kind only",
    example="health: {kind: grpc, path: /health}",
)
def health_of_another_kind(spec: Spec) -> Iterator[Hit]:
    """An http check asks a path, a command check runs a program, a grpc check may name a service."""
    health = spec.health
    if health is None:
        return
    if health.kind == "command" and not health.command:
        yield Hit(("health", "kind"), "health.kind is command, but health.command is missing", "add command: [program]")
    if health.kind != "command" and "command" in health.given:
        fix = "write kind: command, or remove command"
        yield Hit(("health", "command"), f"health.command has no meaning for kind {health.kind}", fix, at_key=True)
    if health.kind != "http" and "path" in health.given:
        fix = "write kind: http, or remove path"
        yield Hit(("health", "path"), f"health.path has no meaning for kind {health.kind}", fix, at_key=True)
    if health.kind != "grpc" and health.service is not None:
        fix = "write kind: grpc, or remove service"
        yield Hit(("health", "service"), f"health.service has no meaning for kind {health.kind}", fix, at_key=True)


@check(
    "HMS219",
    Level.ERROR,
    "A tcp check, which nothing could make",
    reads=("health",),
    fix="ask a path (kind: http), ask the gRPC health service (kind: grpc), or run a command in the instance",
    example="health: {kind: tcp}",
)
def health_by_tcp(spec: Spec) -> Iterator[Hit]:
    """Only the sidecar reaches the service's port, and it lets Consul's checks through by path, not by connection.

    A port that is open to plain connections from the node would be open to everybody who reaches the node, without a
    certificate and past every rule of who may call. A database is asked by a command, for example [pg_isready].
    """
    if spec.health is not None and spec.health.kind == "tcp":
        yield Hit(("health", "kind"), "health.kind tcp needs a port that is open past the mesh")


@check(
    "HMS210",
    Level.ERROR,
    "HTTP settings of a service that does not speak HTTP",
    reads=("protocol", "routes", "probes"),
    fix="write protocol: http (or http2, grpc), or remove the setting",
    example="protocol: tcp\nroutes:\n  - path: /receipt",
)
def http_over_tcp(spec: Spec) -> Iterator[Hit]:
    """For protocol tcp the mesh forwards bytes: it sees no path, so it cannot route by one or ask one."""
    if spec.protocol != "tcp":
        return
    for section, present in (("routes", spec.routes), ("probes", spec.probes)):
        if present:
            yield Hit((section,), f"{section} need HTTP, but protocol is tcp", at_key=True)
    if spec.health is not None and spec.health.kind == "grpc":
        yield Hit(("health", "kind"), "health.kind grpc needs HTTP/2, but protocol is tcp")


@check(
    "HMS211",
    Level.ERROR,
    "An instance may grow to less than it reserves",
    reads=("resources", "tasks"),
    fix="raise memory_max or remove it",
    example="resources: {memory: 256, memory_max: 128}",
)
def memory_max_below_memory(spec: Spec) -> Iterator[Hit]:
    """``memory_max`` is the upper bound of growth, so it cannot be below what is reserved from the start."""
    limits: list[tuple[Path, Resources]] = [(("resources",), spec.resources)]
    limits += [(("tasks", name, "resources"), task.resources) for name, task in spec.tasks.items()]
    for place, of_task in limits:
        most, least, words = of_task.memory_max, of_task.memory, spoken(place)
        if most is not None and most < least:
            yield Hit((*place, "memory_max"), f"{words}.memory_max {most} is below {words}.memory {least}")


@check(
    "HMS212",
    Level.ERROR,
    "A service calls more others than there are addresses for",
    reads=("uses",),
    fix="put a service in between that calls some of them",
    example="uses: [" + ", ".join(f"s{number}" for number in range(1, 256)) + "]",
)
def too_many_dependencies(spec: Spec) -> Iterator[Hit]:
    """Each dependency gets one of 254 loopback addresses inside the caller."""
    if len(set(spec.uses)) > _MOST_DEPENDENCIES:
        yield Hit(("uses",), f"uses names {len(set(spec.uses))} services; at most {_MOST_DEPENDENCIES} are possible")


@check(
    "HMS280",
    Level.ERROR,
    "A dependency over TCP that is none",
    reads=("uses", "tcp"),
    fix="add the name to uses, or remove it from tcp",
    example="uses: [receipt-svc]\ntcp: {db: 5432}",
)
def tcp_without_use(spec: Spec) -> Iterator[Hit]:
    """``tcp`` says how services of ``uses`` are called; a name that is only there would never be reachable."""
    for name in spec.tcp:
        if name not in spec.uses:
            yield Hit(("tcp", name), f"tcp names {name}, which uses does not", at_key=True)


def _methods(route: Route) -> frozenset[Method]:
    return frozenset(route.methods) or _ALL_METHODS


@check(
    "HMS213",
    Level.ERROR,
    "A rollout would send probes that are not there",
    reads=("rollout.on_no_traffic", "probes"),
    fix="declare probes, or write on_no_traffic: wait, promote or fail",
    example="rollout: {on_no_traffic: probe}",
)
def no_probes_to_send(spec: Spec) -> Iterator[Hit]:
    """With ``on_no_traffic: probe`` the declared probes stand in for missing requests; without probes nothing does."""
    if spec.rollout.on_no_traffic == "probe" and not spec.probes:
        yield Hit(("rollout", "on_no_traffic"), "rollout.on_no_traffic is probe, but no probes are declared")


@check(
    "HMS214",
    Level.ERROR,
    "Steps of a rollout that has none",
    reads=("rollout",),
    fix="remove the steps, or write strategy: canary",
    example="rollout: {strategy: blue-green, steps: [10, 100]}",
)
def steps_without_meaning(spec: Spec) -> Iterator[Hit]:
    """Only a canary rollout moves traffic in shares: blue-green switches once, rolling goes instance by instance."""
    rollout = spec.rollout
    if rollout.strategy != "canary" and "steps" in rollout.given:
        yield Hit(("rollout", "steps"), f"rollout.steps has no meaning for strategy {rollout.strategy}", at_key=True)


@check(
    "HMS215",
    Level.ERROR,
    "A new instance can never count as healthy in time",
    reads=("rollout.min_healthy", "rollout.deadline"),
    fix="make rollout.deadline longer than rollout.min_healthy",
    example="rollout: {min_healthy: 5m, deadline: 2m}",
)
def deadline_before_healthy(spec: Spec) -> Iterator[Hit]:
    """An instance must stay healthy for ``min_healthy`` within ``deadline``; Nomad refuses the job otherwise."""
    rollout = spec.rollout
    if nanoseconds(rollout.min_healthy) >= nanoseconds(rollout.deadline):
        place = "min_healthy" if "min_healthy" in rollout.given else "deadline"
        yield Hit(
            ("rollout", place),
            f"rollout.min_healthy {rollout.min_healthy} is not shorter than rollout.deadline {rollout.deadline}",
        )


@check(
    "HMS216",
    Level.ERROR,
    "A health check is faster than Nomad allows",
    reads=("health",),
    fix="write 1s or more",
    example="health: {interval: 2s, timeout: 500ms}",
)
def health_too_fast(spec: Spec) -> Iterator[Hit]:
    """Nomad takes no check whose interval or timeout is below one second."""
    if spec.health is not None:
        for name in ("interval", "timeout"):
            value = getattr(spec.health, name)
            if 0 < nanoseconds(value) < nanoseconds("1s"):
                yield Hit(("health", name), f"health.{name} is {value}")


@check(
    "HMS217",
    Level.ERROR,
    "The port belongs to the sidecar",
    reads=("port",),
    fix="choose another port",
    example="port: 19001",
)
def port_of_the_sidecar(spec: Spec) -> Iterator[Hit]:
    """In the instance's network, Nomad gives the sidecar ports above 19000 (administration) and 19100 (readiness)."""
    if 19_000 <= spec.port <= 19_199:
        yield Hit(("port",), f"port {spec.port} is in the range 19000 to 19199 that the sidecar uses")


@check(
    "HMS218",
    Level.ERROR,
    "A public route of a service that the gateway cannot speak to",
    reads=("protocol", "routes"),
    fix="write protocol: http, or public: false",
    example="protocol: grpc\nroutes:\n  - path: /receipt\n    public: true",
)
def public_without_http(spec: Spec) -> Iterator[Hit]:
    """Consul's gateway binds a route of HTTP/1 only: it would never take this one, and nobody would get in."""
    if spec.protocol in ("http2", "grpc"):
        for index, route in enumerate(spec.routes):
            if route.public:
                yield Hit(("routes", index, "public"), f"the route is public, but protocol is {spec.protocol}")
