"""Rules about single values that the servers or a shell would misread, all of them errors (HMS22x to HMS24x)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, quoted, spoken
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec
from hms_nomad.spec.re2 import regex_fault
from hms_nomad.spec.registry import Hit, check
from hms_nomad.spec.runnable import runnables

_IMAGE = lazy_pattern(
    r"(?:(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?\Z"
)
_ENV_NAME = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CONTROL = lazy_pattern("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_LONG_TEXT = lazy_pattern("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
_RETRY_CONDITIONS = (
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
_LONGEST_ENV_VALUE = 128 * 1024
_LONGEST_DURATION = "720h"


@check(
    "HMS220",
    Level.ERROR,
    "A value contains a control character",
    reads=(
        *("version", "image", "command", "args", "routes", "health", "probes", "env", "owner", "description", "links"),
        *("placement", "artifacts", "tasks"),
    ),
    fix="remove it",
    example='owner: "tax\\nteam"',
)
def control_characters(spec: Spec) -> Iterator[Hit]:
    """A line break in a name or path can forge a log line or a header; no program takes a NUL in an argument."""
    for path, value, long in _texts(spec):
        allowed = _CONTROL_IN_LONG_TEXT if long else _CONTROL
        if found := allowed.search(value):
            yield Hit(path, f"{spoken(path)} contains the character U+{ord(found.group()):04X}")
    named: list[tuple[Path, Mapping[str, str]]] = [((*at, "env"), task.env) for at, task in runnables(spec)]
    for section, names in [*named, (("links",), spec.links)]:
        for name in names:
            if found := _CONTROL.search(name):
                what = f"a name in {spoken(section)} contains U+{ord(found.group()):04X}"
                yield Hit((*section, name), what, at_key=True)


@check(
    "HMS221",
    Level.ERROR,
    "A value starts like an option",
    reads=("version", "image", "command", "tasks"),
    fix="remove the leading dash",
    example="command: [-c, app.py]",
)
def leading_dash(spec: Spec) -> Iterator[Hit]:
    """Tools that get the value as an argument would take it for one of their options."""
    values: list[tuple[Path, str]] = [(("version",), spec.version)]
    for at, task in runnables(spec):
        values.append(((*at, "image"), task.image or ""))
        values += [((*at, "command", 0), task.command[0])] if task.command else []
    for path, value in values:
        if value.startswith("-"):
            yield Hit(path, f"{spoken(path)} {quoted(value)} starts with a dash")


@check(
    "HMS222",
    Level.ERROR,
    "The image is no valid reference",
    reads=("image", "tasks"),
    fix="write registry/name:tag or registry/name@sha256:... with 64 hex digits",
    example="image: ghcr.io/gov/Receipt:1.0",
)
def malformed_image(spec: Spec) -> Iterator[Hit]:
    """The container engine would refuse it, but only after the deploy has begun."""
    for at, task in runnables(spec):
        image = task.image
        if image is None or image.startswith("-") or _CONTROL.search(image):
            continue
        if len(image) > 1024 or not _IMAGE.match(image):
            yield Hit((*at, "image"), f"{spoken((*at, 'image'))} {quoted(image)} {_what_is_wrong(image)}")


def _what_is_wrong(image: str) -> str:
    name, at, _ = image.partition("@")
    repository = name.rsplit(":", 1)[0] if ":" in name.rsplit("/", 1)[-1] else name
    reasons = {
        "is empty": not image,
        "contains a space": re.search(r"\s", image),
        "is a URL, not a reference": "://" in image,
        "has a bad digest": at and _IMAGE.match(name),
        "has an empty tag": name.endswith(":"),
        "has upper-case letters in its name": repository != repository.lower() and _IMAGE.match(repository.lower()),
    }
    return next((reason for reason, holds in reasons.items() if holds), "is no image reference")


@check(
    "HMS223",
    Level.ERROR,
    "The name of an environment variable is not portable",
    reads=("env", "tasks"),
    fix="use letters, digits and underscores, a digit not first",
    example="env: {LOG-LEVEL: info}",
)
def environment_name(spec: Spec) -> Iterator[Hit]:
    """Shells and many programs do not see variables with other names, and = in a name sets another variable."""
    for at, task in runnables(spec):
        for name in task.env:
            if not _ENV_NAME.match(name) and not _CONTROL.search(name):
                yield Hit((*at, "env", name), f"{quoted(name)} is no name of an environment variable", at_key=True)


@check(
    "HMS224",
    Level.ERROR,
    "An environment variable belongs to the platform",
    reads=("env", "tasks"),
    fix="choose another name",
    example='env: {PORT: "8080"}',
)
def environment_of_the_platform(spec: Spec) -> Iterator[Hit]:
    """PORT follows from ``port``, HMS_ variables carry addresses of dependencies, NOMAD_ ones come from the agent."""
    for at, task in runnables(spec):
        for name in task.env:
            if name == "PORT":
                yield Hit((*at, "env", name), "PORT is set from port", "remove it and change port", at_key=True)
            elif name.startswith(("HMS_", "NOMAD_")):
                yield Hit((*at, "env", name), f"{name[:100]} is set by the platform", at_key=True)


@check(
    "HMS225",
    Level.ERROR,
    "The value of an environment variable is too long",
    reads=("env", "tasks"),
    fix="put the content into a file",
    example="env: {REPORT: " + "x" * 131_072 + "}",
)
def environment_too_long(spec: Spec) -> Iterator[Hit]:
    """Linux starts no program with a single variable above 128 KiB."""
    for at, task in runnables(spec):
        for name, value in task.env.items():
            size = len(name) + len(value.encode()) + 2
            if size > _LONGEST_ENV_VALUE:
                what = f"env.{name[:60]} takes {size} bytes; at most {_LONGEST_ENV_VALUE} are possible"
                yield Hit((*at, "env", name), what)


@check(
    "HMS226",
    Level.ERROR,
    "A regular expression does not compile",
    reads=("routes",),
    fix="use the syntax of RE2, without lookarounds and backreferences",
    example="routes:\n  - path: /receipt/(?!draft)\n    match: regex",
)
def bad_regex(spec: Spec) -> Iterator[Hit]:
    """The sidecars match paths with RE2; an expression that it refuses stops the route of every caller."""
    for index, route in enumerate(spec.routes):
        if route.match == "regex" and (reason := regex_fault(route.path)):
            yield Hit(("routes", index, "path"), f"routes[{index}].path {reason}")


@check(
    "HMS227",
    Level.ERROR,
    "A path can never match a request",
    reads=("routes", "health", "probes"),
    fix="write the path alone, without spaces, ? and #, in its shortest form",
    example="routes:\n  - path: /receipt?full=1",
)
def impossible_path(spec: Spec) -> Iterator[Hit]:
    """Requests are matched by their path alone: a query or fragment is no part of it, and dots are resolved before."""
    paths: list[tuple[Path, str]] = [
        (("routes", index, "path"), route.path) for index, route in enumerate(spec.routes) if route.match != "regex"
    ]
    paths += [(("probes", name, "path"), probe.path.partition("?")[0]) for name, probe in spec.probes.items()]
    if spec.health is not None:
        paths.append((("health", "path"), spec.health.path.partition("?")[0]))
    for path, value in paths:
        segments = value.split("/")
        # What is asked is a URL, in which a percent sign begins two hex digits; Nomad refuses others.
        unreadable = path[0] != "routes" and re.search(r"%(?![0-9A-Fa-f]{2})", value)
        if unreadable or re.search(r"[\s?#]", value) or ".." in segments or "." in segments or "//" in value:
            yield Hit(path, f"{spoken(path)} {quoted(value)} can never match")


@check(
    "HMS228",
    Level.ERROR,
    "A duration is zero or beyond reason",
    reads=("routes", "scaling", "health", "probes", "mesh", "rollout", "templates", "tasks"),
    fix=f"write a duration above 0 and at most {_LONGEST_DURATION}",
    example="mesh: {timeout: 0s}",
)
def useless_duration(spec: Spec) -> Iterator[Hit]:
    """Zero would ask without rest or end a request before it began; very long ones overflow in the servers."""
    for path, value, may_be_zero in _durations(spec):
        length = nanoseconds(value)
        if length > nanoseconds(_LONGEST_DURATION) or (length == 0 and not may_be_zero):
            yield Hit(path, f"{spoken(path)} is {quoted(value)}")


@check(
    "HMS229",
    Level.ERROR,
    "A retry condition is not known",
    reads=("mesh.retry_on",),
    fix="known are " + ", ".join(_RETRY_CONDITIONS),
    example="mesh: {retry_on: [timeout]}",
)
def unknown_retry_condition(spec: Spec) -> Iterator[Hit]:
    """Consul refuses a router with a condition that it does not know."""
    for index, condition in enumerate(spec.mesh.retry_on):
        if condition not in _RETRY_CONDITIONS:
            yield Hit(("mesh", "retry_on", index), f"mesh.retry_on does not know {quoted(condition)}")


@check(
    "HMS230",
    Level.ERROR,
    "A link is no web address",
    reads=("links",),
    fix="write https://...",
    example="links: {Runbook: wiki/receipt}",
)
def bad_link(spec: Spec) -> Iterator[Hit]:
    """Operators click links in the Nomad UI, so only http and https are let through."""
    for label, url in spec.links.items():
        if not re.match(r"https?://[^\s/]+", url) or re.search(r"\s", url):
            yield Hit(("links", label), f"{spoken(('links', label))} is {quoted(url)}")
        if not label.strip():
            yield Hit(("links", label), "a link has no label", "name it", at_key=True)


def _texts(spec: Spec) -> Iterator[tuple[Path, str, bool]]:
    """Every free text with its path; True where line breaks and tabs are welcome."""
    yield ("version",), spec.version, False
    yield ("owner",), spec.owner or "", False
    yield ("description",), spec.description or "", True
    for at, task in runnables(spec):
        yield (*at, "image"), task.image or "", False
        for name, words in (("command", task.command), ("args", task.args)):
            yield from (((*at, name, index), word, True) for index, word in enumerate(words))
        yield from (((*at, "env", name), value, True) for name, value in task.env.items())
        yield from (((*at, "artifacts", n, "source"), one.source, False) for n, one in enumerate(task.artifacts))
    for index, route in enumerate(spec.routes):
        yield ("routes", index, "path"), route.path, False
    if spec.health is not None:
        yield ("health", "path"), spec.health.path, False
        yield from ((("health", "command", index), word, True) for index, word in enumerate(spec.health.command))
    yield from ((("probes", name, "path"), probe.path, False) for name, probe in spec.probes.items())
    for index, constraint in enumerate(spec.placement.constraints):
        yield ("placement", "constraints", index, "value"), constraint.value or "", False
    yield from ((("links", label), url, False) for label, url in spec.links.items())


def _durations(spec: Spec) -> Iterator[tuple[Path, str, bool]]:
    """Every duration with its path; True where zero has a meaning."""
    for index, route in enumerate(spec.routes):
        if route.timeout is not None:
            yield ("routes", index, "timeout"), route.timeout, False
    yield ("scaling", "every"), spec.scaling.every, False
    yield ("scaling", "cooldown"), spec.scaling.cooldown, True
    if spec.scaling.latency_p99 is not None:
        yield ("scaling", "latency_p99"), spec.scaling.latency_p99, False
    if spec.health is not None:
        yield ("health", "interval"), spec.health.interval, False
        yield ("health", "timeout"), spec.health.timeout, False
    yield from ((("probes", name, "timeout"), probe.timeout, False) for name, probe in spec.probes.items())
    yield ("mesh", "timeout"), spec.mesh.timeout, False
    yield ("mesh", "connect_timeout"), spec.mesh.connect_timeout, False
    for at, task in runnables(spec):
        yield from (((*at, "templates", name, "splay"), one.splay, True) for name, one in task.templates.items())
    for name in ("every", "min_healthy", "drain"):
        yield ("rollout", name), getattr(spec.rollout, name), True
    yield ("rollout", "deadline"), spec.rollout.deadline, False
    if spec.rollout.p99 is not None:
        yield ("rollout", "p99"), spec.rollout.p99, False
    if spec.rollout.keep is not None:
        yield ("rollout", "keep"), spec.rollout.keep, True
