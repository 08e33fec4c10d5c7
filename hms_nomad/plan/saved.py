"""Plans <-> the file that keeps them until they are deployed, and what moved since they were made.

The file holds no secrets and no bodies: the specs are read again at the deploy and must have the same digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.compile.names import canonical
from hms_nomad.plan.change import Action, Change, Plan

SCHEMA = "hms-nomad/saved-plan/v1"
"""Name and version of the form of the file."""

_MARK = "hms-nomad/saved-plan/"
_NOTHING: Mapping[str, Any] = {}


class SavedPlanError(ValueError):
    """The file is no plan that this version can read; the text says what would be right."""


class StalePlanError(Exception):
    """Something moved since the plan was made, so what was reviewed is not what would happen.

    ``drifted`` says what, a line each.
    """

    def __init__(self, file: str, drifted: tuple[str, ...]) -> None:
        super().__init__(f"{file} is out of date, nothing was deployed: {'; '.join(drifted)}; make a new plan")
        self.drifted = drifted


class ClusterId(Struct, frozen=True):
    """Where a plan holds. ``consul_cluster`` is the trust domain of the mesh, which Consul draws once for a cluster."""

    nomad_region: str
    nomad_namespace: str
    consul_datacenter: str
    consul_cluster: str


class SavedField(Struct, frozen=True):
    """One field that differs, with secrets hidden."""

    path: str
    before: Any
    after: Any


class SavedObject(Struct, frozen=True):
    """One object of a plan. ``index`` is the one that was read (0: there was nothing)."""

    kind: str
    name: str
    action: str
    index: int
    fields: tuple[SavedField, ...]


class SavedService(Struct, frozen=True):
    """The plan of one service. ``spec_digest`` is that of the whole spec, ``digest`` that of its job, ``count`` how
    many instances would be registered.
    """

    service: str
    version: str
    spec_digest: str
    digest: str
    release_before: str | None
    release_after: str
    count: int
    objects: tuple[SavedObject, ...]


class Inputs(Struct, frozen=True):
    """What is read again at the deploy: paths as they were typed, the environment, and variables.

    ``withheld`` are names of variables whose values look like secrets; they have to be given again.
    """

    paths: tuple[str, ...]
    environment: str | None = None
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    withheld: tuple[str, ...] = ()


class SavedPlan(Struct, frozen=True):
    """Everything that the file holds; ``made`` is a time in ISO 8601, ``author`` is user@host, ``pins`` what
    images stood for."""

    program: str
    made: str
    author: str
    cluster: ClusterId
    inputs: Inputs
    services: tuple[SavedService, ...]
    pins: Mapping[str, str] = msgspec.field(default_factory=dict)


def saved_service(plan: Plan, version: str, spec: Mapping[str, Any]) -> SavedService:
    """What is kept of one plan; ``spec`` is its spec as plain data, of which only a digest is kept."""
    return SavedService(
        service=plan.service,
        version=version,
        spec_digest=spec_digest(spec),
        digest=plan.digest,
        release_before=plan.release_before,
        release_after=plan.release_after,
        count=next((_count(change) for change in plan.changes if change.kind == "job"), 0),
        objects=tuple(
            SavedObject(
                change.kind,
                change.name,
                str(change.action),
                change.index,
                tuple(SavedField(f.path, _as_json(f.before), _as_json(f.after)) for f in change.fields),
            )
            for change in plan.changes
        ),
    )


def spec_digest(spec: Mapping[str, Any]) -> str:
    """SHA-256 of a spec as plain data, in hex."""
    import hashlib

    return hashlib.sha256(canonical(spec).encode()).hexdigest()


def plan_text(saved: SavedPlan) -> str:
    """The content of the file."""
    return json.dumps({"schema": SCHEMA, **msgspec.to_builtins(saved)}, indent=2, ensure_ascii=False) + "\n"


def is_saved_plan(beginning: bytes) -> bool:
    """Whether a file that begins so is a saved plan, of whatever version."""
    return f'"schema": "{_MARK}'.encode() in beginning[:200]


def plan_from(text: bytes, file: str) -> SavedPlan:
    """The plan that a file holds. Raises SavedPlanError."""
    try:
        body = json.loads(text)
        schema = body.pop("schema", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise SavedPlanError(f"{file} is no saved plan: it is cut short, or no JSON") from None
    if schema != SCHEMA:
        raise SavedPlanError(
            f"{file} is of the form {schema}, and this program reads {SCHEMA}: make a new plan with it"
        )
    try:
        saved = msgspec.convert(body, SavedPlan)
    except ValueError as error:
        raise SavedPlanError(f"{file} is no saved plan: {error}") from None
    names = [one.service for one in saved.services]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SavedPlanError(f"{file} was edited: it plans {twice[0]} twice; make a new plan")
    return saved


def shared_objects(saved: SavedPlan) -> frozenset[tuple[str, str]]:
    """Objects that several services of one plan write: whoever deploys the first moves them for the others."""
    seen: set[tuple[str, str]] = set()
    shared: set[tuple[str, str]] = set()
    for service in saved.services:
        for one in service.objects:
            (shared if (one.kind, one.name) in seen else seen).add((one.kind, one.name))
    return frozenset(shared)


def moved(
    saved: SavedService, now: SavedService, leave_out: Iterable[tuple[str, str]] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What moved between two plans of a service, and what moved without harm, a line each.

    A count that the autoscaler or an operator chose is without harm: a deploy keeps it. So is the verdict that Consul
    writes into a route.
    """
    drifted: list[str] = []
    harmless: list[str] = []
    if saved.spec_digest != now.spec_digest:
        drifted.append(f"the spec of {saved.service} is another one")
    elif (saved.digest, saved.release_after) != (now.digest, now.release_after):
        drifted.append(f"the spec of {saved.service} stands for another job on this platform")
    if saved.release_before != now.release_before:
        drifted.append(
            f"{saved.service} ran release {saved.release_before or 'none'}, now {now.release_before or 'none'}"
        )
    before, after = _by_key(saved), _by_key(now)
    for key in sorted({*before, *after} - set(leave_out)):
        lines = list(_object_lines(before.get(key), after.get(key)))
        if lines and _only_scaled(key[0], before.get(key), after.get(key), saved, now):
            harmless.append(f"{saved.service} was scaled from {saved.count} to {now.count} instances")
        elif lines:
            drifted += [f"{key[0]} {key[1]}: {line}" for line in lines]
    return tuple(drifted), tuple(harmless)


def _object_lines(before: SavedObject | None, after: SavedObject | None) -> Iterator[str]:
    if before is None or after is None:
        yield "has come into the plan" if before is None else "is not in the plan any more"
        return
    was, now = _fields(before), _fields(after)
    same_fields = was == now
    if _ends(before) != _ends(after):
        yield f"the plan says {before.action}, and this would be {after.action}"
        return
    if same_fields and (before.index == after.index or (before.kind == ROUTE_KIND and before.index and after.index)):
        return
    if before.index == 0 or after.index == 0:
        yield "was made meanwhile" if before.index == 0 else "was removed meanwhile"
        return
    if same_fields:
        yield f"was written again (index {before.index}, now {after.index})"
    for path in sorted({*was, *now}):
        if was.get(path) != now.get(path):
            yield f"{path} {_difference(was.get(path), now.get(path))}"


def _ends(one: SavedObject) -> bool:
    """An object is kept or updated as what else runs may have it; whether it goes is nothing that moves by itself."""
    return one.action == Action.DELETE


def _difference(was: tuple[Any, Any] | None, now: tuple[Any, Any] | None) -> str:
    if was is None and now is not None:
        return f"was {_shown(now[1])}, is now {_shown(now[0])}"
    if now is None and was is not None:
        return f"was {_shown(was[0])}, is now {_shown(was[1])}"
    old, new = was or (None, None), now or (None, None)
    if old[0] != new[0]:
        return f"was {_shown(old[0])}, is now {_shown(new[0])}"
    return f"was to become {_shown(old[1])}, now {_shown(new[1])}"


def _only_scaled(
    kind: str, before: SavedObject | None, after: SavedObject | None, saved: SavedService, now: SavedService
) -> bool:
    if kind != "job" or before is None or after is None or not (before.index and after.index):
        return False
    return _fields(before) == _fields(after) and saved.count != now.count


def _fields(one: SavedObject) -> dict[str, tuple[Any, Any]]:
    return {found.path: (found.before, found.after) for found in one.fields}


def _by_key(service: SavedService) -> dict[tuple[str, str], SavedObject]:
    return {(one.kind, one.name): one for one in service.objects}


def _count(change: Change) -> int:
    groups = (change.body or _NOTHING).get("TaskGroups") or [{}]
    return int(groups[0].get("Count") or 0)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
