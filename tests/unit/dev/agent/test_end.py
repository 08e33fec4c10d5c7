"""The end of an allocation: it is over when nothing of it is left."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any, cast

from hms_nomad.dev.agent.alloc_runner import AllocRunner, Machine
from hms_nomad.dev.agent.runner_process import Ended
from tests.unit.dev.agent.builders import NOW, alloc, job

_TURNS = 50


class Slow:
    """A driver whose tasks end when they are told to, and whose cleaning takes until it is let go."""

    attempt = 1

    def __init__(self) -> None:
        self.told, self.cleaning, self.let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.cleaned = False

    async def adopt(self, *_: Any) -> None:
        return None

    async def start(self, *_: Any) -> Slow:
        return self

    async def ended(self) -> Ended:
        await self.told.wait()
        return Ended(0, 0)

    async def send(self, number: signal.Signals) -> bool:
        self.told.set()
        return True

    async def clean(self, *_: Any) -> None:
        self.cleaning.set()
        await self.let_go.wait()
        self.cleaned = True


def test_an_allocation_is_over_when_what_its_tasks_left_is_gone(tmp_path: Path) -> None:
    async def ended() -> None:
        driver = Slow()
        nothing: Any = None
        machine = Machine(
            {"ID": "n", "Name": "node", "Datacenter": "dc1", "Attributes": {}, "Meta": {}},
            cast("Any", {"raw_exec": driver}),
            nothing,
            nothing,
            tmp_path / "alloc",
            tmp_path / "run",
            {},
            lambda *_: None,
            lambda: NOW,
        )
        runner = AllocRunner(alloc(job(), AllocatedResources={"Shared": {"Ports": []}}), machine, lambda _: None)
        running = asyncio.ensure_future(runner.run(None))
        await runner.tasks["main"].up.wait()
        await runner.stop(hurry=True)
        await driver.cleaning.wait()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        assert not runner.over.is_set()

        driver.let_go.set()
        await running
        assert runner.over.is_set()
        assert driver.cleaned

    asyncio.run(ended())
