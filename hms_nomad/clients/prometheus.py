"""Prometheus' HTTP API: an expression -> its samples at this moment; what it watches and which alerts it raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.transport import Transport


class Sample(Struct, frozen=True):
    """One value of an expression's answer; it may be NaN or infinite."""

    labels: Mapping[str, str]
    value: float


class ScrapeTarget(Struct, frozen=True):
    """Something that Prometheus asks regularly; ``health`` is up, down or unknown, ``error`` why it is down."""

    job: str
    address: str
    health: str
    error: str


class PrometheusClient:
    """Reads from one Prometheus. All calls raise the errors of ``hms_nomad.clients.errors``.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/
    """

    def __init__(self, connection: Connection) -> None:
        self._transport = Transport("prometheus", connection, "", {})

    def close(self) -> None:
        """Close idle connections."""
        self._transport.session.close()

    def query(self, expression: str) -> tuple[Sample, ...]:
        """The samples of an expression now: of a vector all, of a scalar its one; of anything else none."""
        body = self._get("query", {"query": expression})
        if body["resultType"] == "scalar":
            return (Sample({}, float(body["result"][1])),)
        rows = body["result"] if body["resultType"] == "vector" else ()
        return tuple(Sample(dict(row["metric"]), float(row["value"][1])) for row in rows)

    def history(self, expression: str, end: float, seconds: float, step: float) -> tuple[tuple[Sample, ...], ...]:
        """The samples of an expression over the ``seconds`` before ``end`` (since 1970), one every ``step`` seconds; a
        tuple for each series.
        """
        body = self._get("query_range", {"query": expression, "start": end - seconds, "end": end, "step": step})
        return tuple(
            tuple(Sample(dict(row["metric"]), float(value)) for _, value in row["values"]) for row in body["result"]
        )

    def targets(self) -> tuple[ScrapeTarget, ...]:
        """What it asks for measurements."""
        body = self._get("targets", {"state": "active"})
        return tuple(
            ScrapeTarget(row["labels"].get("job", ""), row["scrapeUrl"], row["health"], row["lastError"])
            for row in body["activeTargets"]
        )

    def rules(self) -> dict[str, str]:
        """Its recording and alerting rules with what is wrong with each ("" for nothing)."""
        groups = self._get("rules", {})["groups"]
        return {rule["name"]: rule.get("lastError") or "" for group in groups for rule in group["rules"]}

    def alerts(self) -> tuple[Mapping[str, str], ...]:
        """The labels of the alerts that are firing."""
        return tuple(row["labels"] for row in self._get("alerts", {})["alerts"] if row["state"] == "firing")

    def _get(self, path: str, params: Mapping[str, Any]) -> Any:
        url = f"{self._transport.connection.address}/api/v1/{path}"
        return self._transport.read(
            f"ask for {path}", lambda: self._transport.session.get(url, params=dict(params)).json()["data"]
        )


def single(samples: tuple[Sample, ...]) -> float | None:
    """The value of an answer that should be one number; None when it is none, several, or not finite."""
    return samples[0].value if len(samples) == 1 and math.isfinite(samples[0].value) else None
