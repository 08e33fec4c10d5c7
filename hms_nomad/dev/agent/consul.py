"""The Consul agent beside the embedded one: services and checks of instances are registered there for real."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from hms_nomad.dev.agent.template_language import Record
from hms_nomad.dev.agent.values import Json

T = TypeVar("T")
_SECONDS = 10.0
_THREADS = 8


class ConsulError(Exception):
    """Consul could not be asked, or refused; the text is its own."""


class ConsulAgent:
    """The few calls that an agent of Nomad makes. Each runs in a thread, so none holds up the others."""

    def __init__(self, address: str, token: str = "") -> None:
        """``address`` is the URL of its API ("": there is none)."""
        self.address = address
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_THREADS))
        if token:
            self._session.headers["X-Consul-Token"] = token
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="consul")

    async def run(self, work: Callable[[], T]) -> T:
        """Do something that waits, in one of the threads for it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """End the threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    def describe(self) -> Json:
        """What the agent says of itself; {} when it does not answer."""
        if not self.address:
            return {}
        try:
            found: Json = self._ask("GET", "/v1/agent/self")
        except ConsulError:
            return {}
        return found

    async def register(self, service: Json) -> None:
        """Register a service, or bring its registration up to date. Raises ConsulError."""
        await self.run(lambda: self._ask("PUT", "/v1/agent/service/register?replace-existing-checks=true", service))

    async def deregister(self, service_id: str) -> None:
        """Take a service away; one that is not there is no error. Raises ConsulError."""
        path = f"/v1/agent/service/deregister/{quote(service_id, safe='')}"
        await self.run(lambda: self._ask("PUT", path, missing=None))

    async def services(self) -> dict[str, Json]:
        """All services that this agent knows, by id. Raises ConsulError."""
        found: dict[str, Json] = await self.run(lambda: self._ask("GET", "/v1/agent/services"))
        return found

    async def checks(self) -> dict[str, dict[str, str]]:
        """The status of each check, by service and by its own id. Raises ConsulError."""
        rows: dict[str, Json] = await self.run(lambda: self._ask("GET", "/v1/agent/checks"))
        found: dict[str, dict[str, str]] = {}
        for row in rows.values():
            found.setdefault(row["ServiceID"], {})[row["CheckID"]] = row["Status"]
        return found

    async def report(self, check_id: str, status: str, text: str) -> None:
        """Tell the result of a check that the embedded agent runs. Raises ConsulError."""
        path = f"/v1/agent/check/update/{quote(check_id, safe='')}"
        await self.run(lambda: self._ask("PUT", path, {"Status": status, "Output": text}))

    def key(self, name: str) -> str | None:
        """The value of a key; None where there is none. Raises ConsulError."""
        rows = self._ask("GET", f"/v1/kv/{quote(name)}", missing=[])
        return base64.b64decode(rows[0]["Value"] or "").decode("utf-8", "replace") if rows else None

    def instances(self, service: str) -> Sequence[Record]:
        """The healthy instances of a service, or all of "NAME|any", as templates know them. Raises ConsulError."""
        name, _, which = service.partition("|")
        query = "" if which == "any" else "?passing=true"
        rows = self._ask("GET", f"/v1/health/service/{quote(name, safe='')}{query}")
        found = [
            Record(
                ID=row["Service"]["ID"],
                Name=row["Service"]["Service"],
                Address=row["Service"]["Address"] or row["Node"]["Address"],
                Port=int(row["Service"]["Port"]),
                Node=row["Node"]["Node"],
                Tags=row["Service"]["Tags"] or [],
                ServiceMeta=row["Service"]["Meta"] or {},
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (one["Node"], one["ID"]))

    def service_names(self) -> Sequence[str]:
        """The names of all services. Raises ConsulError."""
        return sorted(self._ask("GET", "/v1/catalog/services"))

    def _ask(self, method: str, path: str, body: Json | None = None, *, missing: Any = ...) -> Any:
        try:
            data = None if body is None else json.dumps(body)
            answer = self._session.request(method, self.address + path, data=data, timeout=_SECONDS)
        except requests.RequestException as error:
            raise ConsulError(f"Consul at {self.address} does not answer: {error}") from None
        if answer.status_code == 404 and missing is not ...:
            return missing
        if not answer.ok:
            raise ConsulError(f"Consul answered {answer.status_code}: {answer.text.strip()}")
        return answer.json() if answer.content.strip() else None
