"""What a deploy is asked for and what it came to, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct

from hms_nomad.apply.failure import Failure
from hms_nomad.plan.change import Plan
from hms_nomad.rollout.journal import Author


class Status(StrEnum):
    """How a deploy ended."""

    DEPLOYED = "deployed"
    UNCHANGED = "unchanged"
    DETACHED = "detached"
    WAITING = "waiting"
    FAILED = "failed"


class DeployOptions(Struct, frozen=True):
    """How a deploy is done.

    ``timeout`` bounds the command in seconds (None: the spec's deadlines); ``detach`` ends it at the registration, and
    ``until_healthy`` with healthy new instances that have no traffic yet. ``in_cluster`` hands the rollout to the
    cluster's own job. ``strategy`` overrules the spec's; ``force`` deploys a release that was taken back before.
    ``author`` says who deploys, and why. ``guard`` sees the plan before anything is written, and raises when it is not
    the expected one.
    """

    timeout: float | None = None
    detach: bool = False
    until_healthy: bool = False
    in_cluster: bool = False
    strategy: str | None = None
    force: bool = False
    author: Author | None = None
    guard: Callable[[Plan], None] | None = None


class DeployOutcome(Struct, frozen=True):
    """What a deploy did. ``changed`` is False when everything stood already; ``failure`` says why it failed.

    ``number`` is that of the release's record (None: none was made). ``hint`` is the command that goes on from here,
    where there is one, ``driver`` the cluster's job that drives the rollout ("": none does). ``kind`` is service, job,
    or periodic for a job with a schedule.
    """

    service: str
    status: Status
    changed: bool
    version: str
    release: str
    url: str
    instances: int
    scaling: Mapping[str, int]
    plan: Plan
    failure: Failure | None = None
    deployment: str | None = None
    warnings: tuple[str, ...] = msgspec.field(default=())
    number: int | None = None
    hint: str = ""
    kind: str = "service"
    driver: str = ""
