"""Desired <-> the record of a release: everything that a rollback restores but the job, which Nomad keeps itself."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.apply.moments import moment_from
from hms_nomad.compile.desired import ConfigEntry, Desired, Evidence, Intention, RegistryRecord
from hms_nomad.compile.http_routes import in_one_rule_form
from hms_nomad.compile.names import short_hash
from hms_nomad.rollout.journal import Author
from hms_nomad.rollout.policy import Policy


class ReleaseOutcome(StrEnum):
    """How a deploy of a release ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    TAKEN_BACK = "taken back"
    FAILED = "failed"


class Release(Struct, frozen=True):
    """One deploy of a service, by number: what it stood for, who made it and why, and how it ended.

    ``content`` is a hash of everything that it stood for. ``job_version`` is Nomad's version of its job, which keeps
    the job itself. ``replaced`` is the release that ran before (None: none did). Times are seconds since 1970;
    ``ended`` is None while it is under way. ``images`` are the names of images with the bytes that they stood for, and
    ``evidence`` is what is known of the making of the latter.
    """

    number: int
    service: str
    namespace: str
    release: str
    digest: str
    content: str
    version: str
    strategy: str
    policy: Policy
    author: Author
    started: float
    entries: tuple[ConfigEntry, ...]
    intentions: tuple[Intention, ...]
    permissions: tuple[Mapping[str, Any], ...]
    registry: RegistryRecord
    vault: tuple[Mapping[str, Any], ...] = ()
    replaced: str | None = None
    job_version: int | None = None
    ended: float | None = None
    outcome: ReleaseOutcome = ReleaseOutcome.RUNNING
    reason: str = ""
    images: Mapping[str, str] = msgspec.field(default_factory=dict)
    evidence: Mapping[str, Evidence] = msgspec.field(default_factory=dict)

    @property
    def tag(self) -> str:
        """The name under which Nomad keeps this release's version of the job."""
        return f"hms-nomad-{self.number}"


def releases_prefix(namespace: str, service: str) -> str:
    """Prefix of the keys of a service's records in Consul's store."""
    return f"hms-nomad/releases/{namespace}/{service}/"


def release_key(namespace: str, service: str, number: int) -> str:
    """Key of one record; keys sort by number."""
    return f"{releases_prefix(namespace, service)}{number:08d}"


def release_bytes(release: Release) -> bytes:
    """The record as it is stored."""
    return msgspec.json.encode(release)


def release_from(data: bytes) -> Release | None:
    """The record that was stored; None when this version cannot read it: an old record must not stop a deploy."""
    try:
        release = msgspec.json.decode(data, type=Release)
        for moment in (release.started, release.ended or 0.0):
            moment_from(moment)
    except (ValueError, RecursionError):
        return None
    return release


def content_of(desired: Desired) -> str:
    """A hash of everything that a spec stands for: two deploys with the same one are the same in all respects."""
    return short_hash(
        {
            "digest": desired.digest,
            "entries": [entry.body for entry in desired.entries],
            "intentions": [msgspec.to_builtins(intention) for intention in desired.intentions],
            "permissions": list(desired.permissions),
            **({"vault": list(desired.vault)} if desired.vault else {}),
        },
        16,
    )


def desired_of(release: Release, job: Mapping[str, Any]) -> Desired:
    """What a recorded release stood for, with its ``job``."""
    return Desired(
        service=release.service,
        namespace=release.namespace,
        release=release.release,
        digest=release.digest,
        job=job,
        entries=in_one_rule_form(release.service, release.entries),
        intentions=release.intentions,
        permissions=release.permissions,
        vault=release.vault,
        registry=release.registry,
        images=release.images,
        evidence=release.evidence,
    )
