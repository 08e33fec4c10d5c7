"""``drift``: our services -> what somebody changed behind our back, without their specs; nothing is written.

What was deployed is read from the records of the deploys (Consul's entries) and from the version of the job that Nomad
keeps for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.vault_roles import vault_changes
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.nomad_types import Job
from hms_nomad.compile.canary import owner_of
from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.plan.change import Change
from hms_nomad.plan.diff import entry_changes
from hms_nomad.plan.drift import CHANGED, MISSING, DriftedField, DriftedObject, entry_drift, job_drift, overruled
from hms_nomad.plan.observed import Observed, ObservedJob
from hms_nomad.rollout.journal import Journal, JournalError, journal_from, journal_key
from hms_nomad.rollout.records import with_ends
from hms_nomad.rollout.release import Release, ReleaseOutcome, desired_of, release_from, releases_prefix
from hms_nomad.workflows.fleet import service_names, side_by_side
from hms_nomad.workflows.observe import Mesh, read_mesh
from hms_nomad.workflows.session import Session


class DriftState(StrEnum):
    """What is known of a service."""

    CLEAN = "clean"
    DRIFTED = "drifted"
    ROLLING = "rolling"
    UNKNOWN = "unknown"


class ServiceDrift(Struct, frozen=True):
    """One service; ``number`` is the deploy that it is compared with (None: none is known), ``notes`` say what was not
    compared and why.
    """

    service: str
    state: DriftState
    release: str
    number: int | None
    objects: tuple[DriftedObject, ...] = ()
    notes: tuple[str, ...] = ()


class _Kept(Struct, frozen=True):
    """What Consul's store keeps of the namespace's deploys, by service."""

    releases: Mapping[str, tuple[Release, ...]]
    rolling: frozenset[str]


def drift(session: Session, names: Sequence[str] = ()) -> tuple[ServiceDrift, ...]:
    """The named services, or all of ours and those whose job is gone although nobody stopped them here.

    The number of calls to Consul does not grow with the services; Nomad takes one for each. Raises NotFoundError for a
    name of which nothing is known, and the other errors of ``hms_nomad.clients.errors``.
    """
    mesh = read_mesh(session.consul)
    kept = _read_kept(session)
    living = service_names(session)
    if names:
        for name in names:
            if name not in living and name not in kept.releases:
                where = f"look for drift of {name}"
                raise NotFoundError("nomad", where, session.nomad.address, f"there is no service {name} of ours")
        asked = tuple(dict.fromkeys(names))
    else:
        lost = {name for name in kept.releases if name not in living and ("service-resolver", name) in mesh.entries}
        asked = tuple(sorted({*living, *lost}))
    return tuple(side_by_side(lambda name: _of_service(session, name, mesh, kept), asked))


def _read_kept(session: Session) -> _Kept:
    namespace = session.platform.namespace
    found: dict[str, list[Release]] = {}
    prefix = releases_prefix(namespace, "").removesuffix("/")
    for pair in session.consul.kv_list(prefix):
        release = release_from(pair.value)
        if release is not None:
            found.setdefault(release.service, []).append(release)
    rolling = set()
    for pair in session.consul.kv_list(journal_key(namespace, "")):
        try:
            if journal_from(pair.value, pair.key).rollout is None:
                continue
        except JournalError:
            pass  # What nobody here can read is best taken for busy.
        rolling.add(pair.key.rsplit("/", 1)[-1])
    return _Kept({name: tuple(releases) for name, releases in found.items()}, frozenset(rolling))


def _of_service(session: Session, name: str, mesh: Mesh, kept: _Kept) -> ServiceDrift:
    versions = session.nomad.job_versions(name)
    live = versions[0] if versions else None
    release = _release(live)
    if name in kept.rolling:
        return ServiceDrift(name, DriftState.ROLLING, release, None, notes=("a rollout is under way",))
    observed = Observed(
        job=_observed(live),
        entries={key: entry for key, entry in mesh.entries.items() if owner_of(key[1]) == name or key in mesh.routers},
        intentions=mesh.intentions,
        routes=mesh.routes.get(name, ()),
    )
    ended = with_ends(kept.releases.get(name, ()), Journal(), observed)
    base = next((one for one in ended if _stands(one, live)), None)
    if base is None:
        note = "no deploy of it is on record; compare it with its spec: hms-nomad plan SPEC"
        return ServiceDrift(name, DriftState.UNKNOWN, release, None, notes=(note,))
    job, notes = _job(base, live, versions)
    recorded = desired_of(base, {})
    if (ROUTE_KIND, name) in observed.entries:
        # An earlier version wrote the gateway's routes, and nobody has changed them.
        recorded = replace(recorded, entries=base.entries)
    changes = (*_in_vault(session, base), *entry_changes(recorded, observed))
    found = (job, *(entry_drift(change) for change in changes), *overruled(base.intentions, mesh.intentions))
    objects = tuple(one for one in found if one is not None)
    state = DriftState.DRIFTED if objects else DriftState.CLEAN
    return ServiceDrift(name, state, release, base.number, objects, notes)


def _in_vault(session: Session, base: Release) -> tuple[Change, ...]:
    """What the release may read in Vault, as it stands there now."""
    return vault_changes(session.vault, base.vault) if session.vault is not None else ()


def _stands(release: Release, live: Job | None) -> bool:
    """Whether a deploy left what it brought: of a job nothing is taken back when its run fails."""
    batch = live is not None and live.type == "batch"
    return release.outcome is ReleaseOutcome.SUCCEEDED or (batch and release.job_version is not None)


def _job(base: Release, live: Job | None, versions: Sequence[Job]) -> tuple[DriftedObject | None, tuple[str, ...]]:
    if live is None or live.stop:
        return DriftedObject("job", base.service, MISSING, live.modify_index if live else 0, ()), ()
    deployed = next((one for one in versions if one.version == base.job_version), None)
    if deployed is not None:
        fields = job_drift(deployed.body, live.body)
        return (DriftedObject("job", base.service, CHANGED, live.modify_index, fields) if fields else None), ()
    note = f"Nomad has forgotten version {base.job_version} of the job, so only its digest was compared"
    found = _observed(live)
    digest = found.service_meta.get("digest", "") if found else ""
    if digest == base.digest:
        return None, (note,)
    where = "Meta.digest" if live.type == "batch" else "TaskGroups.app.Services.Meta.digest"
    fields = (DriftedField(where, base.digest, digest),)
    return DriftedObject("job", base.service, CHANGED, live.modify_index, fields), (note,)


def _observed(live: Job | None) -> ObservedJob | None:
    return ObservedJob(live.body, live.version, live.modify_index, live.stop, settled=True) if live else None


def _release(live: Job | None) -> str:
    found = _observed(live)
    return found.service_meta.get("release", "") if found else ""
