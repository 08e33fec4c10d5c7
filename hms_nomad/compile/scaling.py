"""Spec -> the ``Scaling`` block of a group: bounds and rules in nomad-autoscaler's policy language (0.5.0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hms_nomad.spec.duration import seconds
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_scaling import ScheduledMinimum

NOMAD_SOURCE = "nomad-apm"
PROMETHEUS_SOURCE = "prometheus"
HOLD_KEY = "schedule"
"""Key of a policy under which the times of its evaluations stand; only a hold writes it."""

REQUESTS_METRIC = "hms:requests_per_instance"
LATENCY_METRIC = "hms:latency_p99_milliseconds"
"""Series that the telemetry's rules record for each service."""

# No instance really reaches these: whoever measures more than that has measured wrong, and then nothing moves.
_HIGHEST_PERCENT = 1_000_000
_HIGHEST_RATE = 10_000_000
_HIGHEST_MILLISECONDS = 10_000_000
_ROOM_OF_RATE = 0.5
_ROOM_OF_LATENCY = 0.8
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_MINUTES_OF_DAY = 24 * 60


def scaling_block(spec: Spec) -> dict[str, Any]:
    """The group's horizontal scaling policy (Nomad API, job JSON, ``Scaling``).

    The two checks of a rule carry one group: ungrouped, "nothing to do" of the high one would outweigh "one fewer" of
    the low one. Between groups the autoscaler takes the largest count, so all must agree before an instance goes.
    After one was added the rest is only an evaluation long: a load that grows shall not wait.
    """
    scaling = spec.scaling
    return {
        "Type": "horizontal",
        "Min": scaling.min,
        "Max": scaling.max,
        "Enabled": True,
        "Policy": {
            "cooldown": scaling.cooldown,
            "cooldown_on_scale_up": scaling.every,
            "evaluation_interval": scaling.every,
            "on_check_error": "ignore",
            "check": list(_checks(spec)),
        },
    }


def with_hold(job: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The job with the hold that somebody put on the ``stored`` one, which a deploy does not lift."""
    group = job["TaskGroups"][0]
    before: Mapping[str, Any] = next(iter(stored.get("TaskGroups") or ()), {})
    hold = ((before.get("Scaling") or {}).get("Policy") or {}).get(HOLD_KEY)
    if not hold or not group.get("Scaling"):
        return dict(job)
    scaling = {**group["Scaling"], "Policy": {**group["Scaling"]["Policy"], HOLD_KEY: hold}}
    return {**job, "TaskGroups": [{**group, "Scaling": scaling}, *job["TaskGroups"][1:]]}


def is_held(job: Mapping[str, Any]) -> bool:
    """Whether somebody holds the count of a stored job."""
    groups = job.get("TaskGroups") or ()
    return any(HOLD_KEY in ((group.get("Scaling") or {}).get("Policy") or {}) for group in groups)


def _checks(spec: Spec) -> Iterator[dict[str, Any]]:
    scaling = spec.scaling
    yield from _rule("cpu", "avg_cpu-allocated", scaling.cpu.high, scaling.cpu.low, _HIGHEST_PERCENT)
    if memory := scaling.memory:
        yield from _rule("memory", "avg_memory-allocated", memory.high, memory.low, _HIGHEST_PERCENT)
    if (rate := scaling.requests_per_instance) is not None:
        query = f'{REQUESTS_METRIC}{{service="{spec.name}"}}'
        yield from _rule("requests", query, rate, rate * _ROOM_OF_RATE, _HIGHEST_RATE, PROMETHEUS_SOURCE)
    if scaling.latency_p99 is not None:
        bound = seconds(scaling.latency_p99) * 1000
        query = f'{LATENCY_METRIC}{{service="{spec.name}"}}'
        low = round(bound * _ROOM_OF_LATENCY, 3)
        yield from _rule("latency", query, bound, low, _HIGHEST_MILLISECONDS, PROMETHEUS_SOURCE)
    for number, minimum in enumerate(scaling.schedule, start=1):
        yield {f"schedule_{number}": [_scheduled(minimum)]}


def _rule(
    name: str, query: str, high: float, low: float, highest: float, source: str = NOMAD_SOURCE
) -> Iterator[dict[str, Any]]:
    """The two checks of a rule. Nomad answers with one data point, so one within the bounds must be enough."""
    window = "1m" if source == NOMAD_SOURCE else "instant"
    shared = {"group": name, "source": source, "query": query, "query_window": window}
    for word, lower, upper, delta in (("high", high, highest, 1), ("low", 0, low, -1)):
        bounds = {"lower_bound": lower, "upper_bound": upper, "delta": delta, "within_bounds_trigger": 1}
        yield {f"{name}_{word}": [{**shared, "strategy": [{"threshold": [bounds]}]}]}


def _scheduled(minimum: ScheduledMinimum) -> dict[str, Any]:
    """A check that exists at its hours only, and asks for its minimum: above that, the other rules ask for more."""
    begin, end = (60 * int(text[:2]) + int(text[3:]) for text in (minimum.at, minimum.until))
    length = (end - begin) % _MINUTES_OF_DAY or _MINUTES_OF_DAY
    days = ",".join(str(_DAYS[day]) for day in minimum.days) or "*"
    return {
        "group": "schedule",
        "schedule": [{"start": f"{begin % 60} {begin // 60} * * {days}", "duration": f"{length}m"}],
        "strategy": [{"fixed-value": [{"value": minimum.min}]}],
    }
