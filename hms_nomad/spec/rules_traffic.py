"""Advice on routes, the mesh and rollouts: where requests would be lost or judged wrongly (HMS32x, HMS33x)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import quoted
from hms_nomad.spec.duration import nanoseconds, seconds
from hms_nomad.spec.model import AFTER_THE_FACT, Route, Spec
from hms_nomad.spec.model_gateway import WayIn
from hms_nomad.spec.registry import Hit, check

_CHANGING = ("POST", "PATCH")


@check(
    "HMS320",
    Level.WARNING,
    "A route can never be reached",
    reads=("routes",),
    fix="put the more exact route first",
    example="routes:\n  - path: /receipt\n  - path: /receipt/archive\n    timeout: 60s",
)
def shadowed_route(spec: Spec) -> Iterator[Hit]:
    """Routes are tried in their order: what an earlier prefix takes never gets to a later route and its settings."""
    for index, route in enumerate(spec.routes):
        for number, earlier in enumerate(spec.routes[:index]):
            if _covers(earlier, route):
                yield Hit(("routes", index), f"routes[{number}] with path {quoted(earlier.path)} takes its requests")
                break


@check(
    "HMS321",
    Level.INFO,
    "Every path is answered",
    reads=("routes", "protocol"),
    fix="declare routes, so that callers reach only what is meant for them",
    example="port: 3000",
)
def no_routes(spec: Spec) -> Iterator[Hit]:
    """Without routes every permitted caller reaches all paths, metrics and debugging included."""
    if not spec.routes and spec.protocol != "tcp":
        yield Hit((), "no routes are declared")


@check(
    "HMS322",
    Level.WARNING,
    "The whole service is open to the outside",
    reads=("routes",),
    fix="make only the paths public that the outside needs",
    example="routes:\n  - path: /\n    public: true",
)
def all_public(spec: Spec) -> Iterator[Hit]:
    """A public route for the prefix / lets the gateway pass every path, those for operators included."""
    for index, route in enumerate(spec.routes):
        if route.public and route.match == "prefix" and route.path == "/":
            yield Hit(("routes", index), "a public route passes every path")


@check(
    "HMS323",
    Level.INFO,
    "A public prefix passes more than one word",
    reads=("routes",),
    fix="write match: exact, or end the path with a slash",
    example="routes:\n  - path: /receipt\n    public: true",
)
def loose_public_prefix(spec: Spec) -> Iterator[Hit]:
    """Prefixes are compared letter by letter: ``/receipt`` also passes ``/receipts-of-others``."""
    for index, route in enumerate(spec.routes):
        if route.public and route.match == "prefix" and not route.path.endswith("/"):
            yield Hit(
                ("routes", index, "path"), f"the prefix {quoted(route.path)} also passes {quoted(route.path + 's')}"
            )


@check(
    "HMS324",
    Level.WARNING,
    "A route that no gRPC call takes",
    reads=("routes", "protocol"),
    fix="remove methods, or name POST",
    example="protocol: grpc\nroutes:\n  - path: /tax.Receipt/\n    methods: [GET]",
)
def grpc_without_post(spec: Spec) -> Iterator[Hit]:
    """Every gRPC call is a POST."""
    for index, route in enumerate(spec.routes):
        if spec.protocol == "grpc" and route.methods and "POST" not in route.methods:
            yield Hit(("routes", index, "methods"), f"routes[{index}].methods leaves out POST")


@check(
    "HMS325",
    Level.WARNING,
    "Long requests are cut off when an instance stops",
    reads=("routes", "mesh.timeout", "rollout.drain"),
    fix="make rollout.drain as long as the longest request",
    example="routes:\n  - path: /report\n    timeout: 60s\nrollout: {drain: 10s}",
)
def drain_too_short(spec: Spec) -> Iterator[Hit]:
    """An instance gets no new requests for ``drain``, then it stops: what runs longer than that fails at its caller."""
    drain = nanoseconds(spec.rollout.drain)
    if "timeout" in spec.mesh.given and nanoseconds(spec.mesh.timeout) > drain:
        yield Hit(
            ("mesh", "timeout"), f"requests may take {spec.mesh.timeout}, but rollout.drain is {spec.rollout.drain}"
        )
    for index, route in enumerate(spec.routes):
        if route.timeout is not None and nanoseconds(route.timeout) > drain:
            yield Hit(
                ("routes", index, "timeout"),
                f"requests may take {route.timeout}, but rollout.drain is {spec.rollout.drain}",
            )


@check(
    "HMS326",
    Level.WARNING,
    "A request may be carried out twice",
    reads=("routes", "mesh", "protocol"),
    fix="leave it out of mesh.retry_methods, or make such requests repeatable",
    example="routes:\n  - path: /receipt\n    methods: [POST]\nmesh: {retry_methods: [GET, POST]}",
)
def retried_twice(spec: Spec) -> Iterator[Hit]:
    """A POST that failed after an instance had done its work is sent to another one, which does it again."""
    mesh = spec.mesh
    answered = {method for route in spec.routes for method in route.methods or _CHANGING} or set(_CHANGING)
    late = [condition for condition in mesh.retry_on if condition in AFTER_THE_FACT]
    if spec.protocol == "tcp" or not mesh.retries or not late:
        return
    for index, method in enumerate(mesh.retry_methods):
        if method in _CHANGING and method in answered:
            what = f"mesh.retry_methods lets each {method} be carried out twice, after {' or '.join(late)}"
            yield Hit(("mesh", "retry_methods", index), what)


@check(
    "HMS327",
    Level.WARNING,
    "Retry settings without effect",
    reads=("mesh",),
    fix="raise mesh.retries or remove retry_on",
    example="mesh: {retries: 0, retry_on: [connect-failure]}",
)
def retries_off(spec: Spec) -> Iterator[Hit]:
    """``retries: 0`` switches retries off, so no condition is looked at; without a condition nothing is retried."""
    mesh = spec.mesh
    if not mesh.retries and "retry_on" in mesh.given and mesh.retry_on:
        yield Hit(("mesh", "retry_on"), "mesh.retry_on has no effect, since mesh.retries is 0", at_key=True)
    if mesh.retries and not mesh.retry_on:
        yield Hit(("mesh", "retry_on"), "mesh.retry_on is empty, so nothing is retried", "write retries: 0 to say so")


@check(
    "HMS328",
    Level.ERROR,
    "A regular expression that is rewritten or limited",
    reads=("routes",),
    fix="write match: prefix or exact",
    example="routes:\n  - path: /r/[0-9]+\n    match: regex\n    limit: 10/s",
)
def changed_pattern(spec: Spec) -> Iterator[Hit]:
    """Consul rewrites the beginning of a path, and the script that counts compares letters: neither reads patterns."""
    for index, route in enumerate(spec.routes):
        for field, value in (("rewrite", route.rewrite), ("limit", route.limit)):
            if route.match == "regex" and value is not None:
                yield Hit(("routes", index, field), f"routes[{index}] has {field}, but its path is a pattern")


@check(
    "HMS329",
    Level.WARNING,
    "Settings of the gateway without a way through it",
    reads=("gateway", "routes"),
    fix="write public: true at a route, or remove gateway",
    example="gateway: {hosts: [api.agency.gov]}\nroutes:\n  - path: /receipt",
)
def unused_way_in(spec: Spec) -> Iterator[Hit]:
    """Hosts and tokens concern public routes only: other services of the mesh are asked for neither."""
    if spec.gateway != WayIn() and not any(route.public for route in spec.routes):
        yield Hit(("gateway",), "no route is public", at_key=True)


@check(
    "HMS330",
    Level.WARNING,
    "The only instance is replaced with nobody beside it",
    reads=("rollout.strategy", "scaling.min"),
    fix="write strategy: canary or blue-green, or scaling.min: 2",
    example="rollout: {strategy: rolling}\nscaling: {min: 1, max: 4}",
)
def rolling_alone(spec: Spec) -> Iterator[Hit]:
    """A rolling update stops an instance before it starts its successor: with a single one, nobody answers."""
    if spec.rollout.strategy == "rolling" and spec.scaling.min == 1:
        yield Hit(("rollout", "strategy"), "a rolling update of one instance leaves none for a while")


@check(
    "HMS331",
    Level.WARNING,
    "A step is too small for so few requests",
    reads=("rollout",),
    fix="make the first step larger or longer, or min_requests smaller",
    example="rollout: {steps: [0.1, 100], every: 30s, min_requests: 100}",
)
def step_without_requests(spec: Spec) -> Iterator[Hit]:
    """A step is judged from ``min_requests`` on: a small share of few requests does not get there in time."""
    rollout = spec.rollout
    if rollout.strategy != "canary" or not rollout.steps or not rollout.steps[0] or not rollout.min_requests:
        return
    if not rollout.given & {"steps", "every", "min_requests"}:
        return
    needed = rollout.min_requests * 100 / rollout.steps[0]
    rate = needed / max(seconds(rollout.every), 0.001)
    if rate > 100:
        yield Hit(
            ("rollout", "steps", 0),
            f"{rollout.min_requests} requests at {rollout.steps[0]:g} percent within {rollout.every} "
            f"need {rate:.0f} requests a second in all",
        )


@check(
    "HMS332",
    Level.WARNING,
    "One failed request takes a release back",
    reads=("rollout",),
    fix="raise rollout.min_requests or lower rollout.success",
    example="rollout: {success: 99.9, min_requests: 50}",
)
def success_without_room(spec: Spec) -> Iterator[Hit]:
    """A share of successes is only as fine as the number of requests: 1 failure in 50 is 98 percent already."""
    rollout = spec.rollout
    if not rollout.given & {"success", "min_requests"} or rollout.success >= 100:
        return
    if rollout.min_requests and rollout.min_requests * (100 - rollout.success) < 100:
        needed = -(-100 // (100 - rollout.success))
        place = "min_requests" if "min_requests" in rollout.given else "success"
        yield Hit(
            ("rollout", place),
            f"rollout.success {rollout.success:g} of {rollout.min_requests} requests forgives no failure",
            f"raise rollout.min_requests to {needed:.0f} or lower rollout.success",
        )


@check(
    "HMS333",
    Level.WARNING,
    "A probe may take longer than a step",
    reads=("probes", "rollout.every"),
    fix="shorten the probe's timeout or lengthen rollout.every",
    example="probes:\n  gve: {path: /gve, timeout: 2m}",
)
def slow_probe(spec: Spec) -> Iterator[Hit]:
    """The next step waits for the probe's answer, so a slow probe stretches every step."""
    for name, probe in spec.probes.items():
        if nanoseconds(probe.timeout) > nanoseconds(spec.rollout.every):
            yield Hit(
                ("probes", name, "timeout"),
                f"probes.{name} may take {probe.timeout}, a step of the rollout takes {spec.rollout.every}",
            )


@check(
    "HMS334",
    Level.WARNING,
    "A latency limit that no request can reach",
    reads=("rollout.p99", "mesh.timeout", "routes"),
    fix="make rollout.p99 shorter than the time limit of requests",
    example="rollout: {p99: 20s}",
)
def limit_beyond_timeout(spec: Spec) -> Iterator[Hit]:
    """Requests end at their time limit, so a latency above it is never measured and the limit never fires."""
    limit = spec.rollout.p99
    longest = max(nanoseconds(spec.mesh.timeout), *(nanoseconds(r.timeout) for r in spec.routes if r.timeout), 0)
    if limit is not None and nanoseconds(limit) >= longest:
        yield Hit(("rollout", "p99"), f"rollout.p99 {limit} is not below the time limit of requests")


@check(
    "HMS335",
    Level.INFO,
    "The first step moves much of the traffic",
    reads=("rollout.steps", "rollout.strategy"),
    fix="start with a small share, for example 1",
    example="rollout: {steps: [50, 100]}",
)
def bold_first_step(spec: Spec) -> Iterator[Hit]:
    """The first step decides how many users meet a bad release before it is taken back."""
    rollout = spec.rollout
    if rollout.strategy == "canary" and rollout.steps and rollout.steps[0] >= 50:
        yield Hit(("rollout", "steps", 0), f"a new release starts with {rollout.steps[0]:g} percent of the traffic")


@check(
    "HMS336",
    Level.WARNING,
    "A step is judged without any request",
    reads=("rollout.min_requests", "rollout.strategy"),
    fix="write rollout.min_requests: 20 or more",
    example="rollout: {min_requests: 0}",
)
def judged_unseen(spec: Spec) -> Iterator[Hit]:
    """With ``min_requests: 0`` a release that nobody has called yet counts as good."""
    if spec.rollout.min_requests == 0:
        yield Hit(("rollout", "min_requests"), "rollout.min_requests is 0")


@check(
    "HMS337",
    Level.WARNING,
    "A step is shorter than its figures",
    reads=("rollout.every", "rollout.strategy"),
    fix="write rollout.every: 10s or more",
    example="rollout: {every: 2s}",
)
def hasty_steps(spec: Spec) -> Iterator[Hit]:
    """Sidecars take some seconds to learn of a new share: shorter steps judge the traffic of the step before."""
    if spec.rollout.strategy == "canary" and nanoseconds(spec.rollout.every) < nanoseconds("5s"):
        yield Hit(("rollout", "every"), f"rollout.every is {spec.rollout.every}")


def _covers(earlier: Route, later: Route) -> bool:
    """True when every request for ``later`` is taken by ``earlier``; equal routes are another rule's matter."""
    if earlier.methods and (not later.methods or not set(later.methods) <= set(earlier.methods)):
        return False
    if earlier.match == "prefix" and later.match in {"prefix", "exact"}:
        return later.path.startswith(earlier.path) and (earlier.match, earlier.path) != (later.match, later.path)
    if earlier.match == "regex" and later.match == "exact":
        return _matches(earlier.path, later.path)
    return earlier.match == "prefix" and earlier.path == "/"


def _matches(pattern: str, path: str) -> bool:
    plain = re.fullmatch(r"(/[A-Za-z0-9_/-]*)\.\*", pattern)
    return plain is not None and path.startswith(plain.group(1))
