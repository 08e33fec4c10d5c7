"""Deploy rules: text of a rule file -> rules, and a spec with its job -> what breaks them; pure.

The job counts, not the spec: what the escape hatch, a platform's default or a helper task brings is judged as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from msgspec import Struct

from hms_nomad.compile.desired import Desired
from hms_nomad.patterns import lazy_pattern
from hms_nomad.platform.model import Platform
from hms_nomad.sections.reading import MisfitError, read
from hms_nomad.sections.saying import said
from hms_nomad.sections.section import Section, field
from hms_nomad.spec.diagnostics import Diagnostic
from hms_nomad.spec.model import Spec
from hms_nomad.spec.yaml_source import read_yaml

_CHECKS = ("images_from", "image_digest", "drivers", "at_most", "at_least", "owner", "names", "require_signature")
_DIGEST = lazy_pattern(r"@sha256:[0-9a-f]{64}\Z")
_TASK = "app"


class RuleError(ValueError):
    """A rule file cannot be used; the text names the file, the line and what would be right."""


class DeployDeniedError(Exception):
    """Rules forbid a deploy; ``denials`` are the findings, each with its place in the spec and the rule's."""

    def __init__(self, denials: tuple[Diagnostic, ...]) -> None:
        super().__init__("; ".join(str(one) for one in denials))
        self.denials = denials


class When(Section):
    """Where a rule holds; everywhere when empty."""

    production: bool | None = field(
        default=None, description="Only on platforms whose context says production, or not."
    )
    namespaces: tuple[str, ...] = field(default=(), description="Only in these Nomad namespaces.")


class Most(Section):
    """Upper limits: MHz and MiB of one instance with its helpers, and how many instances there may be."""

    cpu: int | None = field(default=None, ge=1)
    memory: int | None = field(default=None, ge=1)
    instances: int | None = field(default=None, ge=1)


class Least(Section):
    """Lower limits."""

    instances: int = field(ge=1)


class RuleBody(Section):
    """One rule as it stands in a file: its name, its reason, and exactly one of the checks."""

    name: str = field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    why: str = field(min_length=1)
    when: When = When()
    images_from: tuple[str, ...] | None = field(default=None, min_length=1)
    image_digest: bool | None = None
    drivers: tuple[str, ...] | None = field(default=None, min_length=1)
    at_most: Most | None = None
    at_least: Least | None = None
    owner: bool | str | None = None
    names: str | None = None
    require_signature: tuple[str, ...] | None = field(default=None, min_length=1)

    def contradiction(self) -> str:
        """A rule has one check, and its expressions can be searched for."""
        for name in ("owner", "names"):
            if isinstance(value := getattr(self, name), str):
                try:
                    re.compile(value)
                except re.error as error:
                    return f"{name} is no regular expression: {error}"
        given = [name for name in _CHECKS if getattr(self, name) not in (None, False)]
        return "" if len(given) == 1 else f"a rule has exactly one of {', '.join(_CHECKS)}; this one has {len(given)}"


class ExceptionBody(Section):
    """A service that a rule does not hold for, until the end of a day."""

    rule: str
    service: str
    until: date
    why: str = field(min_length=1)


class FileBody(Section):
    """The whole of a rule file."""

    rules: tuple[RuleBody, ...] = ()
    exceptions: tuple[ExceptionBody, ...] = ()


class DeployRule(Struct, frozen=True):
    """A rule with the place that it stands at."""

    body: RuleBody
    file: str
    line: int

    def __str__(self) -> str:
        return f"rule {self.body.name} ({self.file}:{self.line})"


class DeployException(Struct, frozen=True):
    """An exception with the place that it stands at."""

    body: ExceptionBody
    file: str
    line: int

    def __str__(self) -> str:
        one = self.body
        return f"rule {one.rule} does not hold for {one.service} until {one.until} ({self.file}:{self.line}): {one.why}"


class RuleSet(Struct, frozen=True):
    """The rules and exceptions of several files."""

    rules: tuple[DeployRule, ...] = ()
    exceptions: tuple[DeployException, ...] = ()


class Violation(Struct, frozen=True):
    """What breaks a rule: the service, the rule, where in the spec, the cause and what would be right."""

    service: str
    rule: DeployRule
    path: tuple[str | int, ...]
    cause: str
    fix: str


def read_rules(text: str, file: str) -> RuleSet:
    """The rules of one file. Raises RuleError with the first thing that is wrong, and its line."""
    document = read_yaml(text)
    if document.problems:
        first = document.problems[0]
        raise RuleError(f"{file}:{first.mark.line}:{first.mark.column}: {first.message}; {first.fix}".rstrip("; "))
    try:
        body = read(FileBody, {} if document.data is None else document.data)
    except MisfitError as error:
        misfit = error.misfits[0]
        mark = document.mark(misfit.path, key=misfit.kind == "unknown" or misfit.of_key)
        raise RuleError(f"{file}:{mark.line}:{mark.column}: {said(misfit)}") from None
    return RuleSet(
        tuple(DeployRule(one, file, document.mark(("rules", n)).line) for n, one in enumerate(body.rules)),
        tuple(
            DeployException(one, file, document.mark(("exceptions", n)).line) for n, one in enumerate(body.exceptions)
        ),
    )


def joined(sets: Iterable[RuleSet]) -> RuleSet:
    """All rules together. Raises RuleError for a name that is taken, and for an exception from no rule."""
    parts = list(sets)
    rules: dict[str, DeployRule] = {}
    for rule in (rule for part in parts for rule in part.rules):
        first = rules.setdefault(rule.body.name, rule)
        if first is not rule:
            raise RuleError(f"{rule.file}:{rule.line}: there is a {first} already: name one of the two otherwise")
    exceptions = tuple(one for part in parts for one in part.exceptions)
    for one in exceptions:
        if one.body.rule not in rules:
            known = ", ".join(sorted(rules)) or "none"
            raise RuleError(f"{one.file}:{one.line}: there is no rule {one.body.rule!r}; there are: {known}")
    return RuleSet(tuple(rules.values()), exceptions)


def judge(
    spec: Spec, desired: Desired, platform: Platform, rules: RuleSet, today: date
) -> tuple[tuple[Violation, ...], tuple[DeployException, ...]]:
    """What breaks the rules, and the exceptions that keep something else from breaking them."""
    violations: list[Violation] = []
    used: list[DeployException] = []
    for rule in rules.rules:
        if not _holds_here(rule.body.when, platform):
            continue
        found = list(_broken(rule, spec, desired.job))
        if not found:
            continue
        granted = [one for one in rules.exceptions if (one.body.rule, one.body.service) == (rule.body.name, spec.name)]
        valid = [one for one in granted if today <= one.body.until]
        if valid:
            used.append(valid[0])
            continue
        ended = f" (its exception ended on {granted[0].body.until})" if granted else ""
        violations += [Violation(spec.name, rule, path, f"{cause}{ended}", fix) for path, cause, fix in found]
    return tuple(violations), tuple(used)


def held_to_signatures(spec: Spec, platform: Platform, rules: RuleSet, today: date) -> tuple[DeployRule, ...]:
    """The rules that want the images of a spec signed, without those that an exception in force is from.

    Whether they are is in the registry, so whoever may ask one judges it.
    """
    return tuple(
        rule
        for rule in rules.rules
        if rule.body.require_signature
        and _holds_here(rule.body.when, platform)
        and not any(
            (one.body.rule, one.body.service) == (rule.body.name, spec.name) and today <= one.body.until
            for one in rules.exceptions
        )
    )


_Found = tuple[tuple[str | int, ...], str, str]


def _holds_here(when: When, platform: Platform) -> bool:
    if when.production is not None and when.production != platform.production:
        return False
    return not when.namespaces or platform.namespace in when.namespaces


def _broken(rule: DeployRule, spec: Spec, job: Mapping[str, Any]) -> Iterator[_Found]:
    body = rule.body
    group = job["TaskGroups"][0]
    tasks = group["Tasks"]
    if body.images_from is not None:
        yield from _foreign_images(body.images_from, spec, tasks)
    if body.image_digest:
        yield from _tags(spec, tasks)
    if body.drivers is not None:
        allowed = ", ".join(body.drivers)
        for task in tasks:
            if task["Driver"] not in body.drivers:
                cause = f"task {task['Name']} runs by the driver {task['Driver']}"
                yield _place(spec, task, "driver", "Driver"), cause, f"allowed are {allowed}"
    if body.at_most is not None:
        yield from _too_much(body.at_most, spec, group)
    if body.at_least is not None and spec.kind == "service":
        lowest = _bounds(group)[0]
        if lowest < body.at_least.instances:
            cause = f"{lowest} instance{'' if lowest == 1 else 's'} may be all that runs"
            yield ("scaling", "min"), cause, f"set scaling.min to {body.at_least.instances} or more"
    if body.owner:
        yield from _owner(body.owner, spec)
    if body.names is not None and not re.fullmatch(body.names, spec.name):
        yield ("name",), f"the name {spec.name} does not follow {body.names}", "choose another name"


def _foreign_images(allowed: tuple[str, ...], spec: Spec, tasks: Iterable[Mapping[str, Any]]) -> Iterator[_Found]:
    roots = [one.rstrip("/") for one in allowed]
    for task, image in _images(tasks):
        full = _full(image)
        if not any(full == one or full.startswith((f"{one}/", f"{one}:", f"{one}@")) for one in roots):
            cause = f"the image {image} comes from elsewhere"
            yield _place(spec, task, "image", "Config", "image"), cause, f"images come from {', '.join(allowed)}"


def _tags(spec: Spec, tasks: Iterable[Mapping[str, Any]]) -> Iterator[_Found]:
    for task, image in _images(tasks):
        if not _DIGEST.search(image):
            fix = "name the image by its digest: IMAGE@sha256:..."
            yield _place(spec, task, "image", "Config", "image"), f"the image {image} has no digest", fix


def _too_much(most: Most, spec: Spec, group: Mapping[str, Any]) -> Iterator[_Found]:
    tasks = group["Tasks"]
    cpu = sum(int(task["Resources"].get("CPU") or 0) for task in tasks)
    memory = sum(int(task["Resources"].get("MemoryMaxMB") or task["Resources"].get("MemoryMB") or 0) for task in tasks)
    if most.cpu is not None and cpu > most.cpu:
        yield ("resources", "cpu"), f"one instance reserves {cpu} MHz", f"at most {most.cpu} MHz are allowed"
    if most.memory is not None and memory > most.memory:
        key = "memory_max" if spec.resources.memory_max is not None else "memory"
        yield ("resources", key), f"one instance may take {memory} MiB", f"at most {most.memory} MiB are allowed"
    highest = _bounds(group)[1]
    if most.instances is not None and highest > most.instances:
        cause = f"up to {highest} instances may run"
        yield ("scaling", "max"), cause, f"at most {most.instances} instances are allowed"


def _owner(wanted: bool | str, spec: Spec) -> Iterator[_Found]:
    if not spec.owner:
        yield ("name",), "it has no owner", "say who is responsible: owner: team-payments"
    elif isinstance(wanted, str) and not re.fullmatch(wanted, spec.owner):
        yield ("owner",), f"the owner {spec.owner} does not follow {wanted}", "name the owner as the rule says"


def _bounds(group: Mapping[str, Any]) -> tuple[int, int]:
    """The fewest and the most instances; a group without scaling has its count."""
    scaling, count = group.get("Scaling") or {}, int(group.get("Count", 1))
    return int(scaling.get("Min", count)), int(scaling.get("Max", count))


def _images(tasks: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for task in tasks:
        image = (task.get("Config") or {}).get("image")
        if isinstance(image, str):
            yield task, image


def _full(image: str) -> str:
    """The name with its registry: Docker's own is meant where none is named."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image if slash else f'library/{image}'}"


def _place(spec: Spec, task: Mapping[str, Any], field: str, *hatch: str) -> tuple[str | int, ...]:
    """Where a spec says a task's field: in the escape hatch, in a helper task, or in the service's own field."""
    if task["Name"] != _TASK:
        return ("tasks", str(task["Name"]), field)
    part: Any = spec.nomad.get("task")
    for key in hatch:
        part = part.get(key) if isinstance(part, Mapping) else None
    return ("nomad", "task", *hatch) if part is not None else (field,)
