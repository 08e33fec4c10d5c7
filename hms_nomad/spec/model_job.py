"""What only a job has: when it runs, and how often it is tried; and which fields each kind of spec takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hms_nomad.spec.section import Duration, Section

ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"

Kind = Literal["service", "job"]

NEEDED: dict[str, tuple[str, ...]] = {"service": ("port",), "job": ()}
"""Fields that a kind needs beside those that every spec needs."""

_ONLY_SERVICES = ("port", "protocol", "routes", "scaling", "health", "probes", "actions", "allow", "mesh", "rollout")
UNKNOWN_TO: dict[str, frozenset[str]] = {
    "service": frozenset({"schedule", "attempts"}),
    "job": frozenset(_ONLY_SERVICES),
}
"""Fields that have no meaning for a kind."""


class Schedule(Section):
    """When a job starts by itself."""

    cron: str = Field(
        description="Minute, hour, day of the month, month and day of the week.",
        examples=["0 3 * * *"],
        max_length=100,
    )
    timezone: Annotated[str, StringConstraints(pattern=ZONE, max_length=64)] = Field(
        "UTC", description="Time zone of these times.", examples=["Europe/Berlin"]
    )
    overlap: bool = Field(False, description="True: it starts even while the run before goes on.")


class Attempts(Section):
    """What happens when a job's program fails."""

    most: int = Field(1, ge=1, le=100, description="How often it is started before the run has failed.")
    delay: Duration = Field("15s", description="Time between two attempts.")
