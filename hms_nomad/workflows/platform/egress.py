"""What the egress made of its configuration: taken over, or refused, and why; Envoy itself is asked.

Consul sends a configuration that Envoy refuses again and again, some hundred times a second, and Envoy goes on with
the one before. So a count that grows says that something is refused now; the words stand in Envoy's log.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import Struct

from hms_nomad.apply.failure import Failure
from hms_nomad.clients.consul_types import Instance
from hms_nomad.clients.envoy import EnvoySample, EnvoyStats
from hms_nomad.clients.errors import ServerError
from hms_nomad.patterns import lazy_pattern
from hms_nomad.workflows.mesh.registry import allocation_of
from hms_nomad.workflows.session import Session

TASK = "envoy"
"""The task of a platform's proxy."""

PAGE_META = "telemetry"
"""Key in the meta of a platform's proxy: where its metrics are, as HOST:PORT."""

_LOG_LINES = 20
_SHOWN_LINES = 2
_QUIET_SECONDS = 1.0
_SILENCE_SECONDS = 5.0
# A log is written a moment after the page counts, by other processes.
_LOG_SECONDS = 5.0
# Envoy offers nothing to wait on, so its page is read again; one reading takes about 5 ms.
_BETWEEN_READINGS_SECONDS = 0.2
_REFUSED = " rejected: "
_CLUSTER = lazy_pattern(
    r"(?:^|[ ,])([a-z0-9-]+)(?:\.[a-zA-Z0-9-]+)*\.internal\.\S+: (.*?)(?=, [a-z0-9-]+\.\S+\.internal\.|$)"
)


class _Watched(Struct):
    """One instance while it is watched: since when, and since when as wanted, or silent (of a monotonic clock)."""

    since: float
    refusals: int | None = None
    right_since: float | None = None
    silent_since: float | None = None


class Verdict(Struct, frozen=True):
    """What the instances made of a way: ``failure`` says who refused it, and why; ``unasked`` could not be asked."""

    failure: Failure | None = None
    unasked: tuple[str, ...] = msgspec.field(default=())


def verdict_on(
    session: Session,
    egress: str,
    service: str,
    deadline: float,
    *,
    tls: bool,
    pause: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Wait until every instance of the egress leads to a service in the way that was written, by TLS or without.

    What is not there at the ``deadline`` (seconds of a monotonic clock) counts as refused. Raises the errors of
    ``hms_nomad.clients.errors`` of Consul.
    """
    envoy, watched = EnvoyStats(), dict[str, _Watched]()
    while True:
        instances = {one.id: one for one in session.consul.instances(egress).value}
        for id_, instance in instances.items():
            state = watched.setdefault(id_, _Watched(time.monotonic()))
            grown = _look(state, _sample(envoy, instance), service, tls=tls)
            # Before that, it may be what was written before that is still refused.
            late_enough = _lasts(state.since, _QUIET_SECONDS, time.monotonic())
            if grown and late_enough and (failure := refusal(session, instance, service, pause)) is not None:
                return Verdict(failure)
        now = time.monotonic()
        states = {id_: watched[id_] for id_ in instances}
        open_ = {id_ for id_, one in states.items() if not _lasts(one.right_since, _QUIET_SECONDS, now)}
        unasked = {id_ for id_ in open_ if _lasts(states[id_].silent_since, _SILENCE_SECONDS, now)}
        if open_ <= unasked:
            return Verdict(unasked=tuple(sorted(allocation_of(id_)[:8] or id_ for id_ in unasked)))
        if now > deadline:
            late = instances[min(open_ - unasked)]
            how = "by TLS" if tls else "in the new way"
            reason = f"{egress} did not begin to lead to {service} {how} in time"
            return Verdict(Failure(reason, allocation_of(late.id) or None, TASK, (), _log(session, late), ()))
        pause(_BETWEEN_READINGS_SECONDS)


def refusals_now(session: Session, proxy: str, pause: Callable[[float], None] = time.sleep) -> Mapping[str, Failure]:
    """The instances of a proxy of the platform that refuse something right now, by allocation, and what.

    Raises the errors of ``hms_nomad.clients.errors`` of Consul.
    """
    envoy, instances = EnvoyStats(), session.consul.instances(proxy).value
    before = {one.id: _refusals(_sample(envoy, one)) for one in instances}
    if not any(before.values()):
        return {}
    pause(_BETWEEN_READINGS_SECONDS)
    found = {}
    for one in instances:
        if _refusals(_sample(envoy, one)) > before[one.id] > 0:
            found[allocation_of(one.id) or one.id] = refusal(session, one, "", pause) or Failure(
                "its log says nothing of it", allocation_of(one.id) or None, TASK, (), (), ()
            )
    return found


def await_closed(
    session: Session, egress: str, service: str, deadline: float, pause: Callable[[float], None] = time.sleep
) -> tuple[str, ...]:
    """Wait until no instance of the egress leads to a service any more.

    Answers the instances, by allocation, that still do at the ``deadline`` (seconds of a monotonic clock), or that
    cannot be asked. Raises the errors of ``hms_nomad.clients.errors`` of Consul.
    """
    envoy = EnvoyStats()
    while True:
        samples = {one.id: _sample(envoy, one) for one in session.consul.instances(egress).value}
        open_ = [id_ for id_, page in samples.items() if page is None or service in page.ways]
        if not open_ or time.monotonic() > deadline:
            return tuple(sorted(allocation_of(id_)[:8] or id_ for id_ in open_))
        pause(_BETWEEN_READINGS_SECONDS)


def refusal(session: Session, instance: Instance, service: str, pause: Callable[[float], None]) -> Failure | None:
    """Why an instance refuses its configuration, in Envoy's words; None when all of it is about other services.

    With no ``service``, what it refuses of any. A log that says nothing of it in time leaves the reason open.
    """
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        lines = tuple(line for line in _log(session, instance) if _REFUSED in line)
        reasons = reasons_of(lines)
        if reasons or time.monotonic() > deadline:
            break
        pause(_BETWEEN_READINGS_SECONDS)
    if service and reasons and service not in reasons:
        return None
    why = reasons.get(service) or "; ".join(f"{name}: {text}" for name, text in reasons.items())
    allocation = allocation_of(instance.id) or None
    reason = f"Envoy refuses its configuration{f': {why}' if why else ''}"
    return Failure(reason, allocation, TASK, (), () if why else lines[-_SHOWN_LINES:], ())


def reasons_of(lines: Iterable[str]) -> dict[str, str]:
    """What Envoy says of each service in lines of its log, the newest last."""
    found: dict[str, str] = {}
    for line in lines:
        for name, why in _CLUSTER.findall(line.partition(_REFUSED)[2]):
            found[name] = why.strip()
    return found


def _look(state: _Watched, sample: EnvoySample | None, service: str, *, tls: bool) -> bool:
    """Take one reading into account; True when more was refused since the one before."""
    now = time.monotonic()
    if sample is None:
        state.silent_since = state.silent_since or now
        state.right_since = None
        return False
    state.silent_since = None
    refusals = _refusals(sample)
    grown = state.refusals is not None and refusals > state.refusals
    state.refusals = refusals
    right = sample.ways.get(service) is tls
    state.right_since = (state.right_since or now) if right else None
    return grown


def _lasts(since: float | None, seconds: float, now: float) -> bool:
    return since is not None and now - since >= seconds


def _refusals(sample: EnvoySample | None) -> int:
    return sum(sample.config_refusals.values()) if sample else 0


def _sample(envoy: EnvoyStats, instance: Instance) -> EnvoySample | None:
    host, _, port = instance.meta.get(PAGE_META, "").rpartition(":")
    if not port.isdigit():
        return None
    with contextlib.suppress(ServerError):
        return envoy.scrape(host.strip("[]"), int(port))
    return None


def _log(session: Session, instance: Instance) -> tuple[str, ...]:
    allocation = allocation_of(instance.id)
    with contextlib.suppress(ServerError):
        if allocation:
            return tuple(session.nomad.logs(allocation, TASK, "stderr", tail_lines=_LOG_LINES, follow=False, stop=None))
    return ()
