"""What is known of a rollout at one moment, as plain values: the only thing that the machine looks at."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct

from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.judge import Judgement


class JobState(StrEnum):
    """Which release the job in Nomad is of."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    OTHER = "other"
    STOPPED = "stopped"


class DeploymentState(StrEnum):
    """How the deployment of the new release's job version is."""

    NONE = "none"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"


class Facts(Struct, frozen=True):
    """Facts from the journal, from Consul, from Nomad, and from the process that drives.

    From Consul: ``prepared`` (the mesh knows both releases), ``settled`` (only the new one), ``cleaned`` (only the old
    one), ``split`` (a weight can move traffic between both), ``weight`` of the new one in percent (None: it gets
    nothing, and nothing splits the traffic).
    From Nomad: ``job``, ``deployment``, ``promotable`` (it waits for that), ``promoted``, ``healthy`` (every new
    instance, in Consul too), ``passing`` (healthy instances in Consul by release), ``fault`` (why the new release
    cannot go on; "" when nothing is wrong), ``progress`` in words.
    From the journal: ``acknowledged`` (every caller's proxy has the weight), ``forgotten`` (none knows the release that
    is to go).
    From the driving process: ``probed`` and ``requested`` (in this step), ``measuring`` (a window of this step is open)
    for ``elapsed`` seconds with what it ``judged``, ``draining`` requests at old instances for ``drained`` seconds now,
    ``can_register`` (it has the job).
    """

    rollout: Rollout
    prepared: bool = False
    settled: bool = False
    cleaned: bool = False
    split: bool = False
    weight: float | None = None
    job: JobState = JobState.STABLE
    deployment: DeploymentState = DeploymentState.NONE
    promotable: bool = False
    promoted: bool = False
    healthy: bool = False
    passing: Mapping[str, int] = msgspec.field(default_factory=dict)
    fault: str = ""
    progress: str = ""
    acknowledged: bool = False
    probed: bool = False
    requested: bool = False
    measuring: bool = False
    elapsed: float = 0.0
    judged: Judgement = msgspec.field(default_factory=Judgement)
    forgotten: bool = False
    draining: int = 0
    drained: float = 0.0
    can_register: bool = False
