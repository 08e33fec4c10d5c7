"""How many instances run, as frozen models: bounds, what is measured, and minimums by the clock."""

from typing import Annotated, Literal

from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import Duration

TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"

Percent = Annotated[float, Limits(ge=0, le=100)]
TimeOfDay = Annotated[str, Limits(pattern=TIME_OF_DAY)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class CpuBounds(Section):
    """Bounds of the CPU rule, in percent of what the instances reserved."""

    high: Percent = field(default=70, description="Above this one instance is added.")
    low: Percent = field(default=30, description="Below this one instance is taken away.")


class MemoryBounds(Section):
    """Bounds of the memory rule, in percent of what the instances reserved."""

    high: Percent = field(default=80, description="Above this one instance is added.")
    low: Percent = field(default=50, description="Below this one instance may be taken away.")


class ScheduledMinimum(Section):
    """Instances that always run at certain hours (UTC), beside what the load asks for."""

    at: TimeOfDay = field(description="When it begins.", examples=["07:30"])
    until: TimeOfDay = field(
        description="When it ends; on the next day where it is not later than the beginning.", examples=["18:00"]
    )
    days: tuple[Day, ...] = field(default=(), description="Days on which it begins; all of them when empty.")
    min: int = field(ge=1, le=10_000, description="Instances that run at least.", examples=[4])


class Scaling(Section):
    """Between how many instances the service runs, and what moves the count.

    One instance is added when any rule asks for it; one is taken away when all of them agree.
    """

    min: int = field(default=1, ge=0, le=10_000, description="Instances that always run.")
    max: int = field(default=1, ge=1, le=10_000, description="Instances that are never exceeded.")
    cpu: CpuBounds = field(default=CpuBounds(), description="The CPU rule.")
    memory: MemoryBounds | None = field(default=None, description="The memory rule; none when absent.")
    requests_per_instance: float | None = field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Requests a second above which one instance is added, below half of which one may be taken away.",
        examples=[50],
    )
    latency_p99: Duration | None = field(
        default=None,
        description="Time within which 99 of 100 answers shall come, or one instance is added.",
        examples=["300ms"],
    )
    schedule: tuple[ScheduledMinimum, ...] = field(default=(), description="Minimums by the clock.")
    every: Duration = field(default="15s", description="Time between two evaluations.")
    cooldown: Duration = field(default="60s", description="Rest after an instance was taken away.")
