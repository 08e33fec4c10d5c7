"""What Nomad's API tells of a task: its state and its last events, in Nomad's words."""

from __future__ import annotations

from collections.abc import Callable

from hms_nomad.dev.agent.values import NEVER, Clock, Json, nanoseconds, timestamp

_REMEMBERED = 10


def pending() -> Json:
    """The state of a task that has not started."""
    return {
        "State": "pending",
        "Failed": False,
        "Restarts": 0,
        "LastRestart": NEVER,
        "StartedAt": NEVER,
        "FinishedAt": NEVER,
        "Events": [],
    }


class TaskState:
    """The state of one task, which tells of every change."""

    def __init__(self, before: Json | None, clock: Clock, changed: Callable[[], None]) -> None:
        """``before`` is what an earlier agent left."""
        self.body = before or pending()
        self._clock, self._changed = clock, changed

    @property
    def state(self) -> str:
        """Pending, running or dead."""
        return str(self.body["State"])

    @property
    def failed(self) -> bool:
        """True when it ended as it should not."""
        return bool(self.body["Failed"])

    def note(self, kind: str, message: str = "", **details: str) -> None:
        """Add an event."""
        event = {
            "Type": kind,
            "Time": nanoseconds(self._clock()),
            "Message": message,
            "DisplayMessage": message,
            "Details": details,
        }
        self._write(Events=[*self.body["Events"], event][-_REMEMBERED:])

    def started(self) -> None:
        """It runs."""
        self._write(State="running", StartedAt=timestamp(self._clock()), FinishedAt=NEVER)
        self.note("Started", "Task started by client")

    def waiting(self) -> None:
        """It will be started again."""
        self._write(State="pending")

    def restarted(self) -> None:
        """It is started again."""
        self._write(Restarts=self.body["Restarts"] + 1, LastRestart=timestamp(self._clock()))

    def finished(self, *, failed: bool) -> None:
        """It is dead and stays so."""
        self._write(State="dead", Failed=self.body["Failed"] or failed, FinishedAt=timestamp(self._clock()))

    def _write(self, **fields: object) -> None:
        self.body = {**self.body, **fields}
        self._changed()


def client_status(states: dict[str, Json]) -> tuple[str, str]:
    """The status of an allocation with these tasks, and its description."""
    rows = list(states.values())
    if any(row["State"] == "dead" and row["Failed"] for row in rows):
        return "failed", "Failed tasks"
    if any(row["State"] == "running" for row in rows):
        return "running", "Tasks are running"
    if not rows or any(row["State"] == "pending" for row in rows):
        return "pending", "No tasks have started"
    return "complete", "All tasks have completed"
