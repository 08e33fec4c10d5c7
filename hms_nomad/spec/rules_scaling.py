"""Rules about what moves the count of instances (HMS26x)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import Hit, check


@check(
    "HMS260",
    Level.ERROR,
    "The memory rule would add and remove instances at once",
    reads=("scaling.memory",),
    fix="keep a distance between the two, for example low: 50 and high: 80",
    example="scaling:\n  max: 10\n  memory: {low: 90, high: 60}",
)
def memory_bounds_crossed(spec: Spec) -> Iterator[Hit]:
    """Between the two bounds the count rests; without that room every evaluation changes it."""
    memory = spec.scaling.memory
    if memory is not None and memory.low >= memory.high:
        place = "low" if "low" in memory.given else "high"
        what = f"scaling.memory.low {memory.low:g} is not below scaling.memory.high {memory.high:g}"
        yield Hit(("scaling", "memory", place), what)


@check(
    "HMS261",
    Level.ERROR,
    "A scheduled minimum is outside the bounds",
    reads=("scaling.schedule", "scaling.min", "scaling.max"),
    fix="write a number above scaling.min and up to scaling.max",
    example='scaling:\n  min: 2\n  max: 4\n  schedule: [{at: "08:00", until: "18:00", min: 6}]',
)
def scheduled_minimum_outside(spec: Spec) -> Iterator[Hit]:
    """The autoscaler never leaves the bounds: such a minimum would be cut down, or ask for what runs anyway."""
    scaling = spec.scaling
    for index, one in enumerate(scaling.schedule):
        if not scaling.min < one.min <= scaling.max:
            bounds = f"scaling.min {scaling.min} and scaling.max {scaling.max}"
            yield Hit(("scaling", "schedule", index, "min"), f"{one.min} does not lie between {bounds}")


@check(
    "HMS262",
    Level.ERROR,
    "Requests of this protocol are not counted",
    reads=("scaling.requests_per_instance", "scaling.latency_p99", "protocol"),
    fix="use the CPU and memory rules",
    example="protocol: tcp\nscaling: {max: 4, requests_per_instance: 50}",
)
def uncounted_requests(spec: Spec) -> Iterator[Hit]:
    """A sidecar that passes on bytes knows neither requests nor how long they take, so the rule would never speak."""
    if spec.protocol != "tcp":
        return
    for name in ("requests_per_instance", "latency_p99"):
        if getattr(spec.scaling, name) is not None:
            yield Hit(("scaling", name), f"scaling.{name} needs requests, and protocol tcp has none", at_key=True)


@check(
    "HMS263",
    Level.WARNING,
    "A rule that waits longer than callers do",
    reads=("scaling.latency_p99", "mesh.timeout"),
    fix="write a time well below mesh.timeout",
    example="scaling: {max: 4, latency_p99: 20s}\nmesh: {timeout: 5s}",
)
def latency_beyond_timeout(spec: Spec) -> Iterator[Hit]:
    """Requests end at mesh.timeout, so no answer is ever measured above it, and the rule never adds an instance."""
    bound = spec.scaling.latency_p99
    if bound is not None and nanoseconds(bound) >= nanoseconds(spec.mesh.timeout):
        what = f"scaling.latency_p99 {bound} is not below mesh.timeout {spec.mesh.timeout}"
        yield Hit(("scaling", "latency_p99"), what)
