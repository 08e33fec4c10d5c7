"""A task's restart policy and how often it ended lately -> start it again, and after how long. Pure."""

from __future__ import annotations

import random

from msgspec import Struct

from hms_nomad.dev.agent.values import Json, duration_text, seconds

_JITTER = 0.25


class Decision(Struct, frozen=True):
    """``again``: start it after ``delay`` seconds; else the task is dead, ``failed`` or done. ``reason`` for people."""

    again: bool
    delay: float = 0.0
    failed: bool = False
    reason: str = ""


class Restarts:
    """Counts the restarts of one task within the interval of its policy."""

    def __init__(self, policy: Json, *, batch: bool, once: bool) -> None:
        """``once``: the task is a step that ends (a lifecycle hook without a sidecar)."""
        self._policy, self._ends = policy, batch or once
        self._since = 0.0
        self._count = 0

    def after_exit(self, code: int, now: float, jitter: float | None = None) -> Decision:
        """What to do after the task ended by itself with the exit code ``code``; -1: it could not be started."""
        if self._ends and code == 0:
            return Decision(again=False, reason="Task has successfully completed")
        policy = self._policy
        interval, delay = seconds(policy["Interval"]), seconds(policy["Delay"])
        if now > self._since + interval:
            self._since, self._count = now, 0
        self._count += 1
        if policy["Attempts"] == 0 and policy["Mode"] == "fail":
            text = "Policy allows no restarts"
            return Decision(again=False, failed=True, reason=text)
        if self._count > policy["Attempts"]:
            if policy["Mode"] == "fail":
                text = (
                    f"Exceeded allowed attempts {policy['Attempts']} in interval "
                    f'{duration_text(policy["Interval"])} and mode is "fail"'
                )
                return Decision(again=False, failed=True, reason=text)
            return Decision(
                again=True, delay=max(0.0, self._since + interval - now), reason="Exceeded allowed attempts"
            )
        share = random.random() if jitter is None else jitter  # noqa: S311
        return Decision(again=True, delay=delay * (1 + _JITTER * share), reason="Restart within policy")
