"""``plan --out FILE`` and ``deploy FILE``: what was reviewed is what happens, or nothing is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from hms_nomad import __version__
from hms_nomad.plan.change import Plan
from hms_nomad.plan.hiding import HIDDEN, without_secrets
from hms_nomad.plan.saved import (
    ClusterId,
    Inputs,
    SavedPlan,
    SavedPlanError,
    SavedService,
    StalePlanError,
    is_saved_plan,
    moved,
    plan_from,
    plan_text,
    saved_service,
    shared_objects,
)
from hms_nomad.platform.private import write_private
from hms_nomad.sections.section import as_data
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import STDIN, SpecFile, read_specs

_LONGEST = 64 * 1024 * 1024


class Checked(Struct, frozen=True):
    """A saved plan that still holds: the specs that it was made of, what moved without harm, and ``guard``.

    ``guard`` looks at the plan that the deploy of a service makes for itself, and raises StalePlanError when it is
    another one: nothing slips in between the check and the writing.
    """

    files: tuple[SpecFile, ...]
    notes: tuple[str, ...]
    guard: Callable[[Spec, Plan], None]


def cluster_id(session: Session) -> ClusterId:
    """Where the session leads to. Raises the errors of ``hms_nomad.clients.errors``."""
    roots = session.consul.ca_roots()
    return ClusterId(
        nomad_region=session.platform.region,
        nomad_namespace=session.platform.namespace,
        consul_datacenter=session.consul.agent().datacenter,
        consul_cluster=roots[0].trust_domain if roots else "",
    )


def refuse_unsavable(paths: Sequence[str]) -> None:
    """Raise SavedPlanError for specs that cannot be read again at the deploy."""
    if STDIN in paths:
        raise SavedPlanError("a saved plan reads its specs again when it is deployed: name a file instead of -")


def save_plan(
    session: Session,
    out: Path,
    inputs: tuple[Sequence[str], str | None, Mapping[str, str]],
    files: Sequence[SpecFile],
    plans: Sequence[Plan],
) -> SavedPlan:
    """Write plans to a file that only its owner may read; ``inputs`` are paths, environment and variables.

    Raises SavedPlanError when the file cannot be written, and the errors of ``hms_nomad.clients.errors``.
    """
    paths, environment, variables = inputs
    withheld = tuple(name for name, value in variables.items() if without_secrets(f"Env.{name}", value) == HIDDEN)
    saved = SavedPlan(
        program=__version__,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        author=author().who,
        cluster=cluster_id(session),
        inputs=Inputs(tuple(paths), environment, {k: v for k, v in variables.items() if k not in withheld}, withheld),
        services=tuple(_saved(file.spec, one) for file, one in zip(files, plans, strict=True)),
        pins=dict(session.pins),
    )
    try:
        write_private(out, plan_text(saved))
    except OSError as error:
        raise SavedPlanError(f"{out} cannot be written: {error.strerror}") from None
    return saved


def find_saved_plan(paths: Sequence[str]) -> SavedPlan | None:
    """The saved plan that a command line names; None when it names specs. Raises SavedPlanError."""
    found = [path for path in paths if path != STDIN and is_saved_plan(_beginning(path))]
    if not found:
        return None
    if len(paths) > 1:
        raise SavedPlanError(f"{found[0]} is a saved plan, which is deployed alone, without other files")
    file = Path(found[0])
    if file.stat().st_size > _LONGEST:
        raise SavedPlanError(f"{file} has more than {_LONGEST} bytes: this is no plan")
    return plan_from(file.read_bytes(), str(file))


def read_planned(saved: SavedPlan, file: str, variables: Mapping[str, str]) -> tuple[SpecFile, ...]:
    """The specs of a saved plan; ``variables`` are those that it withheld.

    Raises SavedPlanError for a variable too many or too few, SpecError, and StalePlanError for other services.
    """
    if extra := sorted(set(variables) - set(saved.inputs.withheld)):
        raise SavedPlanError(f"{file} was made with its variables: --var {extra[0]} cannot change them any more")
    if missing := sorted(set(saved.inputs.withheld) - set(variables)):
        words = " ".join(f"--var {name}=..." for name in missing)
        raise SavedPlanError(f"{file} holds no secrets; give them again: {words}")
    refuse_unsavable(saved.inputs.paths)
    everything = {**saved.inputs.variables, **variables}
    files = read_specs(saved.inputs.paths, saved.inputs.environment, everything)
    planned, found = {one.service for one in saved.services}, {one.spec.name for one in files}
    drifted = [f"there is a spec of {name} now" for name in sorted(found - planned)]
    drifted += [f"the spec of {name} is gone" for name in sorted(planned - found)]
    if drifted:
        raise StalePlanError(file, tuple(drifted))
    return files


def check_plan(session: Session, saved: SavedPlan, file: str, files: Sequence[SpecFile]) -> Checked:
    """Compare a saved plan with the servers as they are now; nothing is written.

    Raises StalePlanError with everything that moved, and the errors of ``hms_nomad.clients.errors``.
    """
    here = cluster_id(session)
    if here != saved.cluster:
        wrong = [
            f"it was made for {name.replace('_', ' ')} {getattr(saved.cluster, name)!r}, and this is "
            f"{getattr(here, name)!r}"
            for name in ClusterId.__struct_fields__
            if getattr(saved.cluster, name) != getattr(here, name)
        ]
        raise StalePlanError(file, tuple(wrong))
    kept = {one.service: one for one in saved.services}
    drifted: list[str] = []
    notes: list[str] = []
    # Most deploys are of specs.
    from hms_nomad.workflows.planning.plan import plan

    for one, found in zip(files, plan(session, [one.spec for one in files], ask_scheduler=False), strict=True):
        lines, harmless = moved(kept[one.spec.name], _saved(one.spec, found))
        drifted += lines
        notes += harmless
    if drifted:
        raise StalePlanError(file, tuple(drifted))
    shared = shared_objects(saved)

    def guard(spec: Spec, found: Plan) -> None:
        lines, _ = moved(kept[spec.name], _saved(spec, found), leave_out=shared)
        if lines:
            raise StalePlanError(file, lines)

    return Checked(tuple(files), tuple(notes), guard)


def _saved(spec: Spec, found: Plan) -> SavedService:
    return saved_service(found, spec.version, as_data(spec))


def _beginning(path: str) -> bytes:
    try:
        file = Path(path)
        if not file.is_file():
            return b""
        with file.open("rb") as stream:
            return stream.read(200)
    except (OSError, ValueError):
        return b""
