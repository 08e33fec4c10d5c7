"""The sidecars of a service and of its callers -> what they counted, and whether they took a new weight over.

A caller's proxy counts how often it took over routes of the service: the count before a write and the count after it
prove that the proxy has the write. Nobody else moves the routes in between; a proxy that cannot be asked, such as that
of an operator's own job, is given a settle time instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import Instance
from hms_nomad.clients.envoy import EnvoySample, EnvoyStats
from hms_nomad.clients.errors import ServerError
from hms_nomad.compile.names import METRICS_META
from hms_nomad.plan.intentions import KIND as INTENTIONS

SETTLE_SECONDS = 3.0
"""How long a proxy that cannot be asked is given; docs/rollouts.md states what was measured."""

SHORT_ID = 8
"""How much of an allocation's id stands for it."""

_NOMADS = "_nomad-task-"
_LONGEST_ACKNOWLEDGEMENT_SECONDS = 30.0
_LONGEST_SILENCE_SECONDS = 10.0
# Envoy offers nothing to wait on, so its page is read again; one reading takes about 5 ms.
_BETWEEN_READINGS_SECONDS = 0.1
_AT_ONCE = 16


Recorded = Callable[[str], Mapping[str, EnvoySample]]
"""What is recorded of the instances of a release, by the beginning of each allocation's id."""


def nothing(release: str) -> Mapping[str, EnvoySample]:
    """Nobody keeps a record."""
    del release
    return {}


class Acknowledgement(Struct, frozen=True):
    """How a new weight reached the callers' proxies, within ``seconds``.

    ``asked`` of them confirmed it, ``unasked`` could not be asked, ``late`` ones did not confirm in time.
    """

    asked: int
    unasked: int
    late: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        parts = [f"{self.asked} callers' proxies confirmed"] if self.asked else []
        parts += [f"{self.unasked} cannot be asked"] if self.unasked else []
        parts += [f"{', '.join(self.late)} did not confirm"] if self.late else []
        return f"{'; '.join(parts) or 'nobody calls it yet'} ({self.seconds:.1f} s)"


class Baseline(Struct, frozen=True):
    """What each caller's proxy had counted when it was asked; ``unasked`` names those that did not say."""

    samples: Mapping[str, EnvoySample]
    unasked: frozenset[str]
    unknown_callers: bool


class Sidecars:
    """Asks the sidecars around one service. Reading never raises for a sidecar that does not answer."""

    def __init__(self, consul: ConsulClient, envoy: EnvoyStats, service: str, recorded: Recorded = nothing) -> None:
        self._consul = consul
        self._envoy = envoy
        self._service = service
        self._recorded = recorded

    def release(self, release: str) -> dict[str, EnvoySample | None]:
        """The counts of each instance of a release, by the sidecar's id; None for one that does not answer.

        Of one that does not, what somebody else recorded counts, where there is such a record.
        """
        instances = self._consul.instances(self._service, connect=True).value
        samples = self._samples(found for found in instances if found.meta.get("release") == release)
        if all(samples.values()):
            return samples
        recorded = self._recorded(release)
        return {name: sample or recorded.get(_allocation_of(name)) for name, sample in samples.items()}

    def baseline(self) -> Baseline:
        """What callers' proxies have now, for ``acknowledged`` after a write."""
        callers, everybody = self._callers()
        samples = self._samples(callers)
        answered = {
            name: sample for name, sample in samples.items() if sample and self._service in sample.route_reloads
        }
        unasked = frozenset(name for name, sample in samples.items() if sample is None)
        return Baseline(answered, unasked, everybody)

    def acknowledged(self, before: Baseline, pause: Callable[[float], None] = time.sleep) -> Acknowledgement:
        """Wait until every caller's proxy has taken over what was written after ``before``.

        A proxy that was not there before started with the new routes. The waiting is bounded by 30 seconds.
        """
        started = time.monotonic()
        waiting = dict(before.samples)
        asked = len(waiting)
        while waiting and time.monotonic() - started < _LONGEST_ACKNOWLEDGEMENT_SECONDS:
            callers = {caller.id: caller for caller in self._callers()[0]}
            waiting = {name: sample for name, sample in waiting.items() if name in callers}
            for name, sample in self._samples(callers[name] for name in waiting).items():
                if sample is not None and self._took_over(waiting[name], sample):
                    del waiting[name]
            if waiting:
                pause(_BETWEEN_READINGS_SECONDS)
        left = SETTLE_SECONDS - (time.monotonic() - started)
        if (before.unasked or before.unknown_callers) and left > 0:
            pause(left)
        unasked = len(before.unasked) + before.unknown_callers
        late = tuple(sorted(waiting))
        return Acknowledgement(asked - len(late), unasked, late, time.monotonic() - started)

    def forgotten(
        self, release: str, longest_request: float, pause: Callable[[float], None] = time.sleep
    ) -> Acknowledgement:
        """Wait until no caller's proxy knows a release any more, which the mesh has forgotten already.

        A proxy takes configurations in their order, so one that has lost the release has every weight before that, too.
        A proxy keeps a release for as long as it waits for an answer of it, so the waiting is bounded by 30 seconds
        beyond ``longest_request``. One that offers its page and does not answer may only be busy: it is asked for 10
        seconds.
        """
        started = time.monotonic()
        limit = longest_request + _LONGEST_ACKNOWLEDGEMENT_SECONDS
        while True:
            callers, everybody = self._callers()
            samples = self._samples(callers)
            asked = {caller.id for caller in callers if samples[caller.id] or _is_askable(caller)}
            known = {name: sample.subsets.get(self._service, ()) for name, sample in samples.items() if sample}
            silent = asked - known.keys()
            late = {name for name, subsets in known.items() if release in subsets} | silent
            passed = time.monotonic() - started
            if not late or passed > (_LONGEST_SILENCE_SECONDS if late == silent else limit):
                break
            pause(_BETWEEN_READINGS_SECONDS)
        unasked = len(samples) - len(asked) + everybody
        left = SETTLE_SECONDS - (time.monotonic() - started)
        if unasked and left > 0:
            pause(left)
        return Acknowledgement(len(asked - late), unasked, tuple(sorted(late)), time.monotonic() - started)

    def settled(self, pause: Callable[[float], None] = time.sleep) -> Acknowledgement:
        """Wait as long as a proxy needs at most, where there is no count from before the write."""
        callers, everybody = self._callers()
        seconds = SETTLE_SECONDS if callers or everybody else 0.0
        pause(seconds)
        return Acknowledgement(0, len(callers) + everybody, (), seconds)

    def _took_over(self, before: EnvoySample, after: EnvoySample) -> bool:
        """True when routes came since, or when the proxy itself started since, which then has the newest."""
        counts = before.route_reloads.get(self._service, 0), after.route_reloads.get(self._service, 0)
        restarted = (after.uptime_seconds or 0) < (before.uptime_seconds or 0)
        return counts[1] > counts[0] or (restarted and counts[1] > 0)

    def _callers(self) -> tuple[list[Instance], bool]:
        """The sidecars of all services that may call this one, and whether others may, too."""
        entry = self._consul.read_entry(INTENTIONS, self._service)
        sources = [source for source in (entry.body.get("Sources") or () if entry else ()) if _allows(source)]
        names = sorted({source["Name"] for source in sources})
        instances = [instance for name in names if name != "*" for instance in self._proxies(name)]
        return instances, "*" in names

    def _proxies(self, name: str) -> tuple[Instance, ...]:
        """The sidecars of a service, or its instances where these are proxies themselves, as a gateway's are.

        Those whose health check fails are among them: a caller that answers too late sends requests all the same.
        """
        sidecars = self._consul.instances(name, connect=True).value
        return sidecars or self._consul.instances(name).value

    def _samples(self, instances: Iterable[Instance]) -> dict[str, EnvoySample | None]:
        asked = tuple(instances)
        if not asked:
            return {}
        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(asked))) as pool:
            return dict(zip((instance.id for instance in asked), pool.map(self._sample, asked), strict=True))

    def _sample(self, instance: Instance) -> EnvoySample | None:
        if not _is_askable(instance):
            return None
        try:
            return self._envoy.scrape(instance.address, int(instance.meta[METRICS_META]))
        except ServerError:
            return None


def _allocation_of(sidecar: str) -> str:
    """The beginning of the allocation's id in the id that Nomad gives to a sidecar."""
    return sidecar.removeprefix(_NOMADS)[:SHORT_ID]


def _is_askable(instance: Instance) -> bool:
    return instance.meta.get(METRICS_META, "").isdigit()


def _allows(source: Mapping[str, object]) -> bool:
    permissions = source.get("Permissions")
    if isinstance(permissions, list):
        return any(permission.get("Action") == "allow" for permission in permissions)
    return source.get("Action") == "allow"
