"""What allocations use, as Nomad's API tells it: percent of a core, MHz, and bytes, measured between two questions."""

from __future__ import annotations

import asyncio
import time

from hms_nomad.dev.agent.alloc_runner import AllocRunner
from hms_nomad.dev.agent.core import Core
from hms_nomad.dev.agent.values import Json

_FIRST_SECONDS = 0.2


class Usage:
    """Remembers the last measurement of each task."""

    def __init__(self, core: Core) -> None:
        cores = int(core.node["Attributes"]["cpu.numcores"])
        self._mhz = float(core.node["Attributes"]["cpu.totalcompute"]) / cores
        self._before: dict[str, tuple[float, float]] = {}

    async def of(self, alloc: Json, runner: AllocRunner | None) -> Json:
        """The use of an allocation; zeros for one that does not run."""
        tasks = {}
        if runner is not None:
            for name in runner.tasks:
                tasks[name] = await self._task(alloc, runner, name)
        percent = sum(one["ResourceUsage"]["CpuStats"]["Percent"] for one in tasks.values())
        memory = sum(one["ResourceUsage"]["MemoryStats"]["RSS"] for one in tasks.values())
        return {"ResourceUsage": self._shaped(percent, memory), "Tasks": tasks, "Timestamp": time.time_ns()}

    async def _task(self, alloc: Json, runner: AllocRunner, name: str) -> Json:
        running = runner.tasks[name].running
        if running is None:
            return {"ResourceUsage": self._shaped(0.0, 0), "Timestamp": time.time_ns(), "Pids": None}
        key = f"{alloc['ID']}.{name}.{running.attempt}"
        if key not in self._before:
            self._before[key] = (time.monotonic(), (await running.usage())[0])
            await asyncio.sleep(_FIRST_SECONDS)
        when, spent = self._before[key]
        now_spent, memory = await running.usage()
        now = time.monotonic()
        percent = max(0.0, now_spent - spent) / max(now - when, 0.001) * 100
        if now - when > _FIRST_SECONDS:
            self._before[key] = (now, now_spent)
        return {"ResourceUsage": self._shaped(percent, memory), "Timestamp": time.time_ns(), "Pids": None}

    def _shaped(self, percent: float, memory: int) -> Json:
        return {
            "CpuStats": {"Percent": percent, "TotalTicks": percent / 100 * self._mhz, "Measured": ["Percent"]},
            "MemoryStats": {"RSS": memory, "Usage": memory, "Measured": ["RSS", "Usage"]},
            "DeviceStats": None,
        }
