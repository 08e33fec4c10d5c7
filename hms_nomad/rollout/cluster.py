"""The servers around one service's rollout, as the parts of this room pass them on; and what one process remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from hms_nomad.apply.failure import Failure
from hms_nomad.apply.observe import observe_alone
from hms_nomad.apply.progress import Report
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.envoy import EnvoySample, EnvoyStats
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.sidecars import Recorded, Sidecars, nothing
from hms_nomad.rollout.store import RolloutStore


class Cluster(Struct, frozen=True):
    """Where the rollout of one service happens, and who hears of it. ``wall_clock`` gives seconds since 1970.

    ``recorded`` is asked for counts of sidecars that cannot be asked themselves.
    """

    nomad: NomadClient
    consul: ConsulClient
    service: str
    namespace: str
    report: Report
    envoy: EnvoyStats = msgspec.field(default_factory=EnvoyStats)
    wall_clock: Callable[[], float] = time.time
    recorded: Recorded = nothing

    @property
    def store(self) -> RolloutStore:
        """The journal and the records of the service."""
        return RolloutStore(self.consul, self.namespace, self.service)

    @property
    def sidecars(self) -> Sidecars:
        """The sidecars of the service and of its callers."""
        return Sidecars(self.consul, self.envoy, self.service, self.recorded)

    def observe(self) -> Observed:
        """The job and all entries that the service touches."""
        return observe_alone(self.nomad, self.consul, self.service)


class Window(Struct):
    """Counts at the begin of a step, from which it is judged; ``since`` is a value of ``time.monotonic()``."""

    step: int
    since: float
    new: Mapping[str, EnvoySample]
    old: Mapping[str, EnvoySample]


class Memory(Struct):
    """What the driving process knows beyond the journal and the servers; a process that takes over starts without it.

    ``probed`` and ``requested`` are steps. ``fault`` is what this process alone saw go wrong. ``job`` is what it
    could register.
    """

    job: Desired | None = None
    probed: int | None = None
    requested: int | None = None
    window: Window | None = None
    fault: str = ""
    failure: Failure | None = None
    unhealthy_since: float | None = None
    draining_since: float | None = None
