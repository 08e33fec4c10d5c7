"""Checks of services of provider "nomad", which the agent itself makes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import requests

from hms_nomad.dev.agent.services import service_address
from hms_nomad.dev.agent.values import SECOND, Json

_OUTPUT = 256


class NativeChecks:
    """Asks what is to be asked of one allocation, and remembers the last answers."""

    def __init__(self, alloc: Json, group: Json, fill: Callable[[Any], Any]) -> None:
        self._alloc, self._fill = alloc, fill
        services = [*(group["Services"] or ()), *(one for task in group["Tasks"] for one in task["Services"] or ())]
        self._checks = [
            (service, check)
            for service in services
            if service["Provider"] == "nomad"
            for check in service["Checks"] or ()
        ]
        self.results: dict[str, Json] = {}
        for number, (service, check) in enumerate(self._checks):
            self._note(number, service, check, "pending", "nomad: waiting to run", 0)

    def passing(self) -> list[bool]:
        """Which checks pass."""
        return [one["Status"] == "success" for one in self.results.values()]

    async def run(self, over: asyncio.Event) -> None:
        """Ask until the allocation is over."""
        await asyncio.gather(*(self._repeat(number, *pair, over) for number, pair in enumerate(self._checks)))

    async def _repeat(self, number: int, service: Json, check: Json, over: asyncio.Event) -> None:
        interval = (check.get("Interval") or 10 * SECOND) / SECOND
        while not over.is_set():
            status, output, code = await asyncio.to_thread(self._ask, service, check)
            self._note(number, service, check, status, output, code)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), interval)

    def _ask(self, service: Json, check: Json) -> tuple[str, str, int]:
        label = check["PortLabel"] or service["PortLabel"]
        address, port = service_address(self._alloc, service, label, self._fill)
        timeout = (check.get("Timeout") or 5 * SECOND) / SECOND
        try:
            if check["Type"] != "http":
                with socket.create_connection((address, port), timeout):
                    return "success", "nomad: tcp ok", 0
            url = f"{check['Protocol'] or 'http'}://{address}:{port}{self._fill(check['Path']) or '/'}"
            with requests.Session() as session:
                session.trust_env = False
                answer = session.request(
                    check["Method"] or "GET", url, timeout=timeout, verify=not check["TLSSkipVerify"]
                )
        except (OSError, requests.RequestException) as error:
            return "failure", f"nomad: {error}"[:_OUTPUT], 0
        status = "success" if answer.status_code < 400 else "failure"
        return status, f"nomad: http {'ok' if answer.ok else answer.text}"[:_OUTPUT], answer.status_code

    def _note(self, number: int, service: Json, check: Json, status: str, output: str, code: int) -> None:
        self.results[str(number)] = {
            "ID": str(number),
            "Check": check["Name"],
            "Group": self._alloc["Name"],
            "Task": service["TaskName"],
            "Service": service["Name"],
            "Mode": "healthiness",
            "Status": status,
            "StatusCode": code,
            "Output": output,
            "Timestamp": int(time.time()),
        }
