"""The first moves of a rollout: which release is the stable one, records of both, and the journal's entry."""

from __future__ import annotations

import time
from typing import Any

from msgspec.structs import replace

from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Desired, RegistryRecord
from hms_nomad.compile.entries import RESOLVER, ROUTER, SPLITTER, subset
from hms_nomad.compile.http_routes import in_one_rule_form
from hms_nomad.compile.routes import permissions_of_router
from hms_nomad.plan.diff import own_keys, own_routes
from hms_nomad.plan.intentions import declared_intentions
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.journal import Author, Journal, Rejection, Rollout
from hms_nomad.rollout.policy import Policy
from hms_nomad.rollout.release import Release, ReleaseOutcome, content_of


class RolloutRunningError(Exception):
    """Another rollout of the service is under way, and it is not finished by deploying something else."""

    def __init__(self, service: str, rollout: Rollout) -> None:
        ago = max(0, int(time.time() - rollout.started))
        super().__init__(
            f"a rollout of {service} from {rollout.stable_version} to {rollout.version} is under way (step "
            f"{rollout.step + 1} of {len(rollout.policy.steps)}, begun {ago} s ago by {rollout.author.who}); finish it "
            f"with: hms-nomad promote {service} --full, or take it back with: hms-nomad abort {service}"
        )
        self.service = service
        self.rollout = rollout


class RejectedReleaseError(Exception):
    """The release was taken back before; deploying it again needs somebody who insists."""

    def __init__(self, service: str, rejection: Rejection) -> None:
        ago = max(0, int(time.time() - rejection.when))
        super().__init__(
            f"{service} {rejection.version} ({rejection.release}) was taken back {ago} s ago by {rejection.who}: "
            f"{rejection.reason}; deploy another release, or insist with --force"
        )
        self.service = service
        self.rejection = rejection


class UnrollableChangeError(Exception):
    """The two releases cannot stand side by side, so traffic cannot move between them."""


def stable_release(desired: Desired, observed: Observed, passing: dict[str, int]) -> str | None:
    """The release that a rollout of ``desired`` starts from; None when there is nothing to roll.

    ``passing`` counts healthy instances by release. Traffic's own default counts first, then the job's release: they
    differ after a rollout whose journal was lost.
    """
    job = observed.job
    if job is None or job.stopped or job.count == 0:
        return None
    resolver = observed.entries.get((RESOLVER, desired.service))
    candidates = [
        str(resolver.body.get("DefaultSubset") or "") if resolver else "",
        job.service_meta.get("release", ""),
    ]
    others = [release for release in candidates if release and release != desired.release]
    serving = [release for release in others if passing.get(release)]
    if serving:
        return serving[0]
    # Nothing of another release serves: instances are still replaced when the job is of another one.
    return candidates[1] if candidates[1] and candidates[1] != desired.release else None


def begin(
    cluster: Cluster, desired: Desired, policy: Policy, stable: str, observed: Observed, author: Author, serving: bool
) -> Rollout:
    """Keep a record of both releases and enter the rollout into the journal; nothing else is touched yet.

    When the stable release does not serve (``serving`` False) there is nothing to protect, so traffic moves at once.
    Raises RolloutRunningError when somebody else was faster, UnrollableChangeError when the protocols differ.
    """
    refuse_other_protocol(desired, observed)
    if not serving:
        policy = replace(policy, steps=(100.0,), holds=(0.0,))
    old = _record_of_stable(cluster, desired, policy, stable, observed)
    release = cluster.store.add(record(desired, policy, author, cluster.wall_clock(), stable))
    registered = observed.job is not None and observed.job.service_meta.get("release") == desired.release
    rollout = Rollout(
        number=release.number,
        stable=stable,
        candidate=desired.release,
        digest=desired.digest,
        version=desired.registry.version,
        stable_version=old.version,
        stable_number=old.number,
        policy=policy,
        author=author,
        started=cluster.wall_clock(),
        registered=cluster.wall_clock() if registered else None,
    )

    def entered(journal: Journal) -> Journal:
        allowed = journal.without_rejection(desired.release)
        return journal if journal.rollout is not None else replace(allowed, rollout=rollout)

    now = cluster.store.change(entered).rollout
    if now is None or now.number != rollout.number:
        cluster.store.drop(release.number)
        raise RolloutRunningError(cluster.service, now or rollout)
    return rollout


def record(desired: Desired, policy: Policy, author: Author, started: float, replaced: str | None) -> Release:
    """The record of a deploy that begins; its number comes with ``RolloutStore.add``."""
    return Release(
        number=0,
        service=desired.service,
        namespace=desired.namespace,
        release=desired.release,
        digest=desired.digest,
        content=content_of(desired),
        version=desired.registry.version,
        strategy=policy.strategy,
        policy=policy,
        author=author,
        started=started,
        entries=desired.entries,
        intentions=desired.intentions,
        permissions=desired.permissions,
        registry=desired.registry,
        vault=desired.vault,
        replaced=replaced,
        images=desired.images,
        evidence=desired.evidence,
    )


def refuse_other_protocol(desired: Desired, observed: Observed) -> None:
    """Raise UnrollableChangeError when the mesh speaks another protocol to the running instances."""
    stored = observed.entries.get(("service-defaults", desired.service))
    wanted = next((entry.body for entry in desired.entries if entry.kind == "service-defaults"), {})
    old, new = (stored.body.get("Protocol") if stored else None), wanted.get("Protocol")
    if stored and old != new:
        raise UnrollableChangeError(
            f"{desired.service} speaks {old} and the new release {new}: the mesh speaks one protocol to a service, so "
            f"both cannot serve side by side; deploy it under another name, or stop it first: hms-nomad stop "
            f"{desired.service}"
        )


def _record_of_stable(cluster: Cluster, desired: Desired, policy: Policy, stable: str, observed: Observed) -> Release:
    """The newest good record of the stable release; made from what the servers hold when there is none."""
    for release in cluster.store.releases():
        if release.outcome is ReleaseOutcome.SUCCEEDED and release.release == stable:
            return release
    live = record(_desired_of_live(desired, stable, observed), policy, Author("unknown"), cluster.wall_clock(), None)
    version = observed.job.version if observed.job and observed.job.service_meta.get("release") == stable else None
    done = replace(live, job_version=version, outcome=ReleaseOutcome.SUCCEEDED, ended=cluster.wall_clock())
    return cluster.store.add(done)


def _desired_of_live(desired: Desired, stable: str, observed: Observed) -> Desired:
    """What the running release stands for, read from the servers."""
    service, meta = desired.service, observed.job.service_meta if observed.job else {}
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        key: dict(entry.body)
        for key in (*own_keys(service), *own_routes(service, observed))
        if key[0] != SPLITTER
        and (entry := observed.entries.get(key))
        and (entry.body.get("Meta") or {}).get(OWNER_KEY) == OWNER
    }
    resolver = RESOLVER, service
    if resolver in bodies:
        alone = {key: value for key, value in bodies[resolver].items() if key != "Failover"}
        bodies[resolver] = {**alone, "DefaultSubset": stable, "Subsets": {stable: subset(stable)}}
    return Desired(
        service=service,
        namespace=desired.namespace,
        release=stable,
        digest=meta.get("digest", ""),
        job={},
        entries=in_one_rule_form(service, (ConfigEntry(*key, body) for key, body in bodies.items())),
        intentions=declared_intentions(service, {name: entry.body for name, entry in observed.intentions.items()}),
        permissions=permissions_of_router(bodies.get((ROUTER, service))),
        vault=(),
        registry=RegistryRecord(
            name=service,
            version=meta.get("version", "unknown"),
            release=stable,
            url=meta.get("url", ""),
            port=int(meta.get("port", "0") or 0),
            protocol=meta.get("protocol", ""),
            routes=(),
        ),
    )
