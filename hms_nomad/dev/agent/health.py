"""An instance's tasks and checks over time -> healthy, unhealthy, or not known yet. Pure, with the time given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from hms_nomad.dev.agent.values import Json, moment_of, seconds


class Health(Struct, frozen=True):
    """``verdict`` None: not known yet; then ``wake`` is when to look again without news. ``reason`` says why not."""

    verdict: bool | None
    wake: float = 0.0
    reason: str = ""


class Tracker:
    """Watches one instance from ``begun`` on (seconds since 1970) until there is a verdict."""

    def __init__(self, update: Json, begun: float) -> None:
        """``update`` is the group's strategy."""
        self._least = seconds(update["MinHealthyTime"])
        self._deadline = begun + seconds(update["HealthyDeadline"])
        self._by_checks = update["HealthCheck"] == "checks"
        self._passing_since: float | None = None

    def look(
        self, tasks: Mapping[str, Json], lifecycles: Mapping[str, Json], checks: Sequence[bool], now: float
    ) -> Health:
        """Judge the states of tasks and the answers of ``checks``; ``lifecycles`` says which tasks are hooks."""
        failed = [name for name, state in tasks.items() if state["Failed"]]
        if failed:
            return Health(verdict=False, reason="Unhealthy because of failed task")
        since = self._running_since(tasks, lifecycles)
        if self._by_checks:
            if not all(checks):
                self._passing_since = None
            elif self._passing_since is None:
                self._passing_since = now
            since = None if self._passing_since is None or since is None else max(since, self._passing_since)
        if since is not None and now >= since + self._least:
            return Health(verdict=True)
        if now >= self._deadline:
            by_checks = self._by_checks and self._passing_since is None
            what = "checks passed" if by_checks else "tasks running"
            text = f"Not all {what} for min_healthy_time by healthy_deadline"
            return Health(verdict=False, reason=text)
        wake = min(self._deadline, since + self._least) if since is not None else self._deadline
        return Health(verdict=None, wake=wake)

    def _running_since(self, tasks: Mapping[str, Json], lifecycles: Mapping[str, Json]) -> float | None:
        """Since when all tasks run that have to; None while one does not."""
        newest = 0.0
        for name, lifecycle in lifecycles.items():
            state = tasks.get(name)
            hook = lifecycle.get("Hook") or ""
            if hook == "poststop":
                continue
            once = bool(hook) and not lifecycle.get("Sidecar")
            if state is None:
                return None
            if once:
                if not (state["State"] == "dead" and not state["Failed"]) and hook == "prestart":
                    return None
                continue
            if state["State"] != "running":
                return None
            newest = max(newest, moment_of(state["StartedAt"]))
        return newest
