"""Advice on health, scaling, images and commands: what an operator would ask before this runs (HMS30x, HMS31x)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, quoted
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import Hit, check

_VERSION_TAG = lazy_pattern(r"v?([0-9]+(?:\.[0-9]+)*)(?![0-9.])")


@check(
    "HMS301",
    Level.WARNING,
    "No health check",
    reads=("health", "protocol"),
    fix="add health: {path: /health}, or kind: grpc or command",
    example="port: 3000",
)
def no_health_check(spec: Spec) -> Iterator[Hit]:
    """Without a check an instance gets traffic as soon as its process lives, ready or not, and a hung one keeps it."""
    if spec.health is None and spec.kind != "external":
        yield Hit((), "no health check is declared")


@check(
    "HMS302",
    Level.INFO,
    "A single instance",
    reads=("scaling.min",),
    fix="write scaling: {min: 2, max: ...} where an outage matters",
    example="scaling: {min: 1, max: 4}",
)
def single_instance(spec: Spec) -> Iterator[Hit]:
    """While the only instance is moved from a failed node to another one, nobody answers."""
    if spec.scaling.min == 1:
        yield Hit(("scaling", "min"), "one instance runs at quiet times")


@check(
    "HMS303",
    Level.WARNING,
    "A service may run no instance at all",
    reads=("scaling.min",),
    fix="write scaling.min: 1 or more",
    example="scaling: {min: 0, max: 4}",
)
def no_instance(spec: Spec) -> Iterator[Hit]:
    """The CPU rule measures running instances: from zero it never starts one again, so somebody has to."""
    if spec.scaling.min == 0:
        yield Hit(("scaling", "min"), "scaling.min is 0, and the CPU rule cannot start the first instance")


@check(
    "HMS304",
    Level.WARNING,
    "A scaling rule without room",
    reads=("scaling",),
    fix="raise scaling.max or remove the rule",
    example="scaling: {min: 2, max: 2, cpu: {high: 80}}",
)
def scaling_without_room(spec: Spec) -> Iterator[Hit]:
    """Where the bounds are equal the count never changes, whatever the rule says."""
    scaling = spec.scaling
    if scaling.min == scaling.max and scaling.given - {"min", "max"}:
        yield Hit(("scaling",), f"scaling.min and scaling.max are both {scaling.min}, so its rule has no effect")


@check(
    "HMS305",
    Level.WARNING,
    "The scaling rule is evaluated faster than its figures change",
    reads=("scaling.every",),
    fix="write 10s or more",
    example="scaling: {max: 4, every: 1s}",
)
def scaling_too_eager(spec: Spec) -> Iterator[Hit]:
    """The CPU figures are averages of a minute: asking every second costs requests and gives the same answer."""
    if 0 < nanoseconds(spec.scaling.every) < nanoseconds("5s"):
        yield Hit(("scaling", "every"), f"scaling.every is {spec.scaling.every}")


@check(
    "HMS306",
    Level.WARNING,
    "No rest between two scaling actions",
    reads=("scaling.every", "scaling.cooldown"),
    fix="make scaling.cooldown a few times scaling.every",
    example="scaling: {max: 4, every: 15s, cooldown: 10s}",
)
def cooldown_without_effect(spec: Spec) -> Iterator[Hit]:
    """A cooldown shorter than the time between two evaluations ends before it could hold anything back."""
    scaling = spec.scaling
    if nanoseconds(scaling.cooldown) < nanoseconds(scaling.every):
        place = "cooldown" if "cooldown" in scaling.given else "every"
        yield Hit(
            ("scaling", place), f"scaling.cooldown {scaling.cooldown} is shorter than scaling.every {scaling.every}"
        )


@check(
    "HMS307",
    Level.WARNING,
    "A sick instance is noticed late",
    reads=("health",),
    fix="write 30s or less",
    example="health: {interval: 2m}",
)
def slow_to_notice(spec: Spec) -> Iterator[Hit]:
    """Until the next check, requests still go to an instance that cannot answer them."""
    if spec.health is not None and nanoseconds(spec.health.interval) > nanoseconds("1m"):
        yield Hit(("health", "interval"), f"health.interval is {spec.health.interval}")


@check(
    "HMS308",
    Level.WARNING,
    "A gRPC service is asked by plain HTTP",
    reads=("health", "protocol"),
    fix="write health: {kind: grpc} and serve grpc.health.v1.Health, or use a command",
    example="protocol: grpc\nhealth: {path: /health}",
)
def http_check_of_grpc(spec: Spec) -> Iterator[Hit]:
    """A gRPC server speaks HTTP/2 only and mostly has no plain path, so the check fails on a healthy service."""
    if spec.protocol == "grpc" and spec.health is not None and spec.health.kind == "http":
        yield Hit(("health",), "protocol is grpc, but health.kind is http")


@check(
    "HMS309",
    Level.WARNING,
    "An instance may use far more memory than it reserves",
    reads=("resources",),
    fix="reserve what the service normally uses",
    example="resources: {memory: 128, memory_max: 2048}",
)
def memory_oversubscribed(spec: Spec) -> Iterator[Hit]:
    """Nodes are filled by what is reserved: when several instances grow at once, the kernel ends some of them."""
    most = spec.resources.memory_max
    if most is not None and most > 4 * spec.resources.memory:
        yield Hit(
            ("resources", "memory_max"),
            f"resources.memory_max {most} is more than 4 times resources.memory {spec.resources.memory}",
        )


@check(
    "HMS310",
    Level.INFO,
    "The image is named by a tag, not by its digest",
    reads=("image", "build"),
    fix="write name@sha256:... so that every instance runs the same bytes",
    example="image: ghcr.io/gov/receipt:1.0",
)
def tag_without_digest(spec: Spec) -> Iterator[Hit]:
    """A tag can be moved: an instance that starts tomorrow may run something else, and so may a rollback."""
    if spec.build is None and spec.image and "@" not in spec.image and _tag(spec.image) not in {"", "latest"}:
        yield Hit(("image",), f"image {quoted(spec.image)} has no digest")


@check(
    "HMS311",
    Level.WARNING,
    "The image is whatever is newest",
    reads=("image", "build"),
    fix="name a version or a digest",
    example="image: ghcr.io/gov/receipt:latest",
)
def latest_image(spec: Spec) -> Iterator[Hit]:
    """``latest``, written or implied, differs from node to node and from day to day; nothing tells which one runs."""
    if spec.build is None and spec.image and "@" not in spec.image and _tag(spec.image) in {"", "latest"}:
        how = "says latest" if _tag(spec.image) else "has no tag, which means latest"
        yield Hit(("image",), f"image {quoted(spec.image)} {how}")


@check(
    "HMS312",
    Level.INFO,
    "The image comes from a registry that is not named",
    reads=("image", "build"),
    fix="name the registry: registry/name:tag",
    example="image: receipt:1.0",
)
def unnamed_registry(spec: Spec) -> Iterator[Hit]:
    """Without a host the engine of each node decides where it pulls from, mostly Docker Hub with its rate limits."""
    if spec.image is not None and spec.build is None:
        host, slash, _ = spec.image.partition("/")
        if not slash or not (set(".:") & set(host) or host == "localhost"):
            yield Hit(("image",), f"image {quoted(spec.image)} names no registry")


@check(
    "HMS313",
    Level.INFO,
    "Version and image tag disagree",
    reads=("version", "image"),
    fix="change one of them",
    example="version: 2.0.0\nimage: ghcr.io/gov/receipt:1.9",
)
def version_is_not_the_tag(spec: Spec) -> Iterator[Hit]:
    """The version is what people read in the registry and in history: it should say what runs."""
    said = _VERSION_TAG.match(spec.version)
    runs = _VERSION_TAG.match(_tag(spec.image or ""))
    if said and runs:
        both = list(zip(said.group(1).split("."), runs.group(1).split("."), strict=False))
        if any(one != other for one, other in both):
            tag = _tag(spec.image or "")[:60]
            yield Hit(("version",), f"version is {quoted(spec.version)}, but the image's tag is {quoted(tag)}")


@check(
    "HMS314",
    Level.WARNING,
    "A command line in one piece",
    reads=("command", "health"),
    fix="write [program, argument, argument], or [sh, -c, the line]",
    example='command: ["python3 app.py"]',
)
def command_in_one_piece(spec: Spec) -> Iterator[Hit]:
    """No shell takes the line apart: the whole of it is looked up as the name of one program."""
    commands: list[tuple[Path, tuple[str, ...]]] = [
        (("command", 0), spec.command),
        (("health", "command", 0), spec.health.command if spec.health else ()),
    ]
    for path, command in commands:
        if len(command) == 1 and " " in command[0].strip():
            yield Hit(path, f"{quoted(command[0])} is taken as the name of a program")


@check(
    "HMS315",
    Level.INFO,
    "Nobody is named as responsible",
    reads=("owner",),
    fix="add owner: the team that answers for the service",
    example="port: 3000",
)
def no_owner(spec: Spec) -> Iterator[Hit]:
    """At night somebody looks at the Nomad UI and has to know whom to call."""
    if not (spec.owner or "").strip():
        yield Hit((), "no owner is named")


def _tag(image: str) -> str:
    name = image.partition("@")[0].rsplit("/", 1)[-1]
    return name.partition(":")[2]
