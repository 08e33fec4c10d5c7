"""A tally of requests -> figures: quantiles, a histogram, and who answered what."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from msgspec import Struct

from hms_nomad.clients.http_load import Tally

_QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


class Latency(Struct, frozen=True):
    """Milliseconds: ``quantiles`` by percent ("99"), and a histogram of (up to, how many), each bucket twice as long
    as the one before.
    """

    quantiles: dict[str, float]
    mean: float
    highest: float
    histogram: tuple[tuple[float, int], ...]


class LoadResult(Struct, frozen=True):
    """What became of a load.

    ``latency`` counts from when a request was due, ``service_time`` from when it was sent; they differ where requests
    had to wait. Both are None without any answer. ``failed`` are requests without an answer and answers of 500 and
    above.
    """

    service: str
    requests: int
    answered: int
    failed: int
    seconds: float
    rate: float
    statuses: dict[str, int]
    failures: dict[str, int]
    instances: dict[str, int]
    latency: Latency | None
    service_time: Latency | None


def result_of(service: str, tally: Tally) -> LoadResult:
    """A tally as figures."""
    bad = sum(count for status, count in tally.statuses.items() if status >= 500)
    answered = len(tally.latencies)
    return LoadResult(
        service=service,
        requests=tally.due,
        answered=answered,
        failed=tally.due - answered + bad,
        seconds=round(tally.seconds, 3),
        rate=round(tally.due / tally.seconds, 2) if tally.seconds else 0.0,
        statuses={str(status): count for status, count in sorted(tally.statuses.items())},
        failures=dict(tally.failures.most_common()),
        instances=dict(sorted(tally.instances.items())),
        latency=latency_of(tally.latencies),
        service_time=latency_of(tally.served),
    )


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """Quantiles (nearest rank), mean and histogram of durations; None for none at all."""
    values = sorted(1000 * value for value in seconds)
    if not values:
        return None
    quantiles = {f"{q:g}": round(values[math.ceil(len(values) * q / 100) - 1], 3) for q in _QUANTILES}
    return Latency(quantiles, round(sum(values) / len(values), 3), round(values[-1], 3), tuple(_buckets(values)))


def _buckets(values: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Counts between powers of two, from the bucket of the smallest value to that of the largest."""
    lowest, highest = (math.ceil(math.log2(max(value, 0.125))) for value in (values[0], values[-1]))
    begin = 0
    for power in range(lowest, highest + 1):
        end = bisect_right(values, 2.0**power)
        yield 2.0**power, end - begin
        begin = end
