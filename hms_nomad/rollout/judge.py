"""Counts of the old and the new release over one window -> is the new one good enough, with the number that says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct

from hms_nomad.clients.envoy import Bucket, EnvoySample
from hms_nomad.rollout.policy import Policy

# Envoy counts by classes of time: smaller differences may be those of the classes.
_NO_DIFFERENCE_MS = 5.0


class Finding(StrEnum):
    """What a window says of the new release."""

    GOOD = "good"
    BAD = "bad"
    SHARED = "shared"
    FEW = "few"
    BLIND = "blind"


class Measured(Struct, frozen=True):
    """What one release answered in a window. ``p50_ms`` and ``p99_ms`` are None without a request that took time.

    ``instances`` were asked, ``silent`` of them did not answer.
    """

    requests: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    instances: int = 0
    silent: int = 0

    @property
    def success(self) -> float:
        """The share of requests without a server's error, in percent; 100 when there were none."""
        return 100.0 if self.requests == 0 else 100.0 * (self.requests - self.failed) / self.requests


class Judgement(Struct, frozen=True):
    """A finding with its numbers; ``text`` names the number that decided."""

    finding: Finding = Finding.FEW
    text: str = "not measured yet"
    new: Measured = msgspec.field(default_factory=Measured)
    old: Measured = msgspec.field(default_factory=Measured)

    @property
    def thin(self) -> bool:
        """True when nothing can be said of the new release."""
        return self.finding in (Finding.FEW, Finding.BLIND)


def judge(policy: Policy, new: Measured, old: Measured) -> Judgement:
    """Judge the new release by the rules of its rollout.

    What is as bad in the old release, in the same window, is not the new one's fault: the rollout then waits.
    """
    if new.silent and new.silent == new.instances:
        text = f"no sidecar of the {new.instances} new instances shows its counts"
        return Judgement(Finding.BLIND, text, new, old)
    if new.requests < policy.min_requests:
        return Judgement(Finding.FEW, f"{new.requests} of {policy.min_requests} requests", new, old)
    if new.success < policy.success:
        text = f"success {_percent(new.success)} % < {policy.success:g} %, {_failed_of(new)}"
        return _blame(text, old.requests >= policy.min_requests and old.success <= new.success, new, old)
    if policy.p99_ms is not None and new.p99_ms is not None and new.p99_ms > policy.p99_ms:
        text = f"p99 {new.p99_ms:.0f} ms > {policy.p99_ms:.0f} ms, {new.requests} requests"
        return _blame(text, old.p99_ms is not None and old.p99_ms >= new.p99_ms, new, old)
    if text := _slower(policy, new, old):
        return Judgement(Finding.BAD, text, new, old)
    return Judgement(Finding.GOOD, f"success {_percent(new.success)} %, {_failed_of(new)}{_latency(new)}", new, old)


def measured(before: Mapping[str, EnvoySample], after: Mapping[str, EnvoySample | None]) -> Measured:
    """What the instances of one release answered between two readings, by instance.

    An instance that is new, or whose sidecar restarted in between, is counted from zero; one that does not answer
    (None) counts as silent, and so does one whose second reading is of another source than its first.
    """
    requests = failed = silent = 0
    buckets: dict[float, int] = {}
    for instance, sample in after.items():
        if sample is None:
            silent += 1
            continue
        if (first := before.get(instance)) is not None and first.recorded != sample.recorded:
            # Counts of different ages say nothing of what came in between.
            silent += 1
            continue
        earlier = _comparable(first, sample)
        for group, count in sample.requests.items():
            grown = count - (earlier.requests.get(group, 0) if earlier else 0)
            requests += grown
            failed += grown if group == "5xx" else 0
        counted = {bucket.up_to_ms: bucket.count for bucket in earlier.latency} if earlier else {}
        for bucket in sample.latency:
            grown = bucket.count - counted.get(bucket.up_to_ms, 0)
            buckets[bucket.up_to_ms] = buckets.get(bucket.up_to_ms, 0) + grown
    latency = [Bucket(bound, count) for bound, count in sorted(buckets.items())]
    return Measured(
        requests=requests,
        failed=failed,
        p50_ms=quantile(latency, 0.5),
        p99_ms=quantile(latency, 0.99),
        instances=len(after),
        silent=silent,
    )


def quantile(latency: Iterable[Bucket], share: float) -> float | None:
    """The latency in milliseconds below which ``share`` (0-1) of the requests of a cumulative histogram stayed.

    Within a bucket the requests are taken to be spread evenly; beyond the last bound that bound is the answer.
    """
    buckets = tuple(latency)
    total = buckets[-1].count if buckets else 0
    if total <= 0:
        return None
    wanted, lower, below = share * total, 0.0, 0
    for bucket in buckets:
        if bucket.count >= wanted:
            if math.isinf(bucket.up_to_ms) or bucket.count == below:
                return lower
            return lower + (bucket.up_to_ms - lower) * (wanted - below) / (bucket.count - below)
        lower, below = bucket.up_to_ms, bucket.count
    return lower


def _comparable(before: EnvoySample | None, after: EnvoySample) -> EnvoySample | None:
    """The earlier reading, unless the sidecar began to count anew since."""
    if before is None or after.total < before.total:
        return None
    restarted = (
        before.uptime_seconds is not None
        and after.uptime_seconds is not None
        and (after.uptime_seconds < before.uptime_seconds)
    )
    return None if restarted else before


def _slower(policy: Policy, new: Measured, old: Measured) -> str:
    """Which latency is too much higher than the old release's in the same window; "" when none is."""
    if policy.slower is None or old.requests < policy.min_requests:
        return ""
    for name, mine, other in (("p50", new.p50_ms, old.p50_ms), ("p99", new.p99_ms, old.p99_ms)):
        if mine is None or other is None or mine - other < _NO_DIFFERENCE_MS:
            continue
        if mine > policy.slower * other:
            return (
                f"{name} {mine:.0f} ms > {policy.slower:g} x {other:.0f} ms of the old release, {new.requests} requests"
            )
    return ""


def _blame(text: str, shared: bool, new: Measured, old: Measured) -> Judgement:
    if not shared:
        return Judgement(Finding.BAD, text, new, old)
    also = f"{text}; the old release is no better: success {_percent(old.success)} %{_latency(old)}"
    return Judgement(Finding.SHARED, also, new, old)


def _failed_of(what: Measured) -> str:
    return f"{what.failed} of {what.requests} requests"


def _latency(what: Measured) -> str:
    return "" if what.p99_ms is None else f", p50 {what.p50_ms:.0f} ms, p99 {what.p99_ms:.0f} ms"


def _percent(share: float) -> str:
    """One decimal, rounded down, so that 99.96 % never reads as 100 %."""
    return f"{math.floor(share * 10) / 10:g}"
