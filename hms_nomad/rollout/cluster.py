"""The servers around one service's rollout, as the parts of this room pass them on; and what one process remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from hms_nomad.apply.failure import Failure
from hms_nomad.apply.observe import observe_alone
from hms_nomad.apply.progress import Report
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.store import RolloutStore

if TYPE_CHECKING:
    from hms_nomad.clients.envoy import EnvoySample, EnvoyStats
    from hms_nomad.rollout.sidecars import Recorded, Sidecars


class Cluster(Struct, frozen=True):
    """Where the rollout of one service happens, and who hears of it. ``wall_clock`` gives seconds since 1970.

    ``envoy`` reads the sidecars' pages (None: as ever), and ``recorded`` is asked for counts of those that cannot be
    asked themselves (None: nobody keeps any).
    """

    nomad: NomadClient
    consul: ConsulClient
    service: str
    namespace: str
    report: Report
    envoy: EnvoyStats | None = None
    wall_clock: Callable[[], float] = time.time
    recorded: Recorded | None = None

    @property
    def store(self) -> RolloutStore:
        """The journal and the records of the service."""
        return RolloutStore(self.consul, self.namespace, self.service)

    @property
    def sidecars(self) -> Sidecars:
        """The sidecars of the service and of its callers."""
        # Only rollouts ask them.
        from hms_nomad.clients.envoy import EnvoyStats
        from hms_nomad.rollout.sidecars import Sidecars, nothing

        return Sidecars(self.consul, self.envoy or EnvoyStats(), self.service, self.recorded or nothing)

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
