"""The docker driver: a task is a container of the machine's engine, its ports published on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hms_nomad.clients.engine_socket import EngineConnection
from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.drivers import DriverError, Running
from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.placement import LOOPBACK
from hms_nomad.dev.agent.runner_process import Ended
from hms_nomad.dev.agent.values import Json
from hms_nomad.dev.engine import ALLOCATION_LABEL, Engine

_SECONDS = 120.0
_FOREVER = 10_000_000.0


@dataclass(slots=True)
class Container:
    """A task that is a container."""

    engine: Engine
    id: str
    attempt: int

    async def ended(self) -> Ended:
        """Wait for its end."""
        answer = await _ask(
            self.engine, "POST", f"/containers/{self.id}/wait", seconds=_FOREVER, missing={"StatusCode": 137}
        )
        code = int(answer.get("StatusCode") or 0)
        return Ended(code, code - 128 if code > 128 else 0)

    async def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has ended."""
        try:
            await _ask(self.engine, "POST", f"/containers/{self.id}/kill?signal={number.name}")
        except DriverError:
            return False
        return True

    async def kill(self) -> None:
        """End it at once."""
        await self.send(signal.SIGKILL)

    async def usage(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of memory."""
        try:
            found = await _ask(self.engine, "GET", f"/containers/{self.id}/stats?stream=false&one-shot=true")
        except DriverError:
            return 0.0, 0
        used = ((found.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0
        return used / 1e9, int((found.get("memory_stats") or {}).get("usage") or 0)

    async def execute(self, command: tuple[str, ...], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Run a command in the container."""
        del environment
        try:
            body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, "Tty": True}
            made = await _ask(self.engine, "POST", f"/containers/{self.id}/exec", body)
            path = f"/exec/{made['Id']}"
            text = await _ask(self.engine, "POST", f"{path}/start", {"Tty": True}, seconds=seconds, raw=True)
            state = await _ask(self.engine, "GET", f"{path}/json")
        except DriverError as error:
            return 127, str(error)
        return int(state.get("ExitCode") or 0), str(text)


class DockerDriver:
    """Starts containers. Output goes through the engine's log of the container into the task's files."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._copies: set[asyncio.Task[None]] = set()

    async def start(self, environment: TaskEnvironment, folder: Path, attempt: int) -> Running:
        """Start a task. Raises DriverError."""
        name = _name(environment)
        await self._remove(name)
        body = _definition(environment)
        image = str(body["Image"])
        await self._pull(image)
        made = await _ask(self._engine, "POST", f"/containers/create?name={quote(name)}", body)
        await _ask(self._engine, "POST", f"/containers/{made['Id']}/start")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "container").write_text(f"{made['Id']} {attempt}", encoding="ascii")
        self._follow(made["Id"], environment, since=0)
        return Container(self._engine, made["Id"], attempt)

    async def adopt(self, environment: TaskEnvironment, folder: Path) -> Running | None:
        """What an earlier agent started of a task, or None."""
        try:
            container, _, attempt = (folder / "container").read_text(encoding="ascii").partition(" ")
            await _ask(self._engine, "GET", f"/containers/{container}/json")
        except (OSError, DriverError):
            return None
        self._follow(container, environment, since=1)
        return Container(self._engine, container, int(attempt))

    async def clean(self, environment: TaskEnvironment, folder: Path) -> None:
        """Remove a dead task's container."""
        await self._remove(_name(environment))
        with contextlib.suppress(OSError):
            (folder / "container").unlink()
            folder.rmdir()

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(DriverError):
            await _ask(self._engine, "DELETE", f"/containers/{name}?force=true")

    async def _pull(self, image: str) -> None:
        there = await _ask(self._engine, "GET", f"/images/{quote(image, safe='')}/json", missing={})
        if there:
            return
        said = await _ask(
            self._engine, "POST", f"/images/create?fromImage={quote(image, safe='')}", seconds=600, raw=True
        )
        last = [json.loads(line) for line in str(said).splitlines() if line.strip()]
        trouble = next((line["error"] for line in last if "error" in line), "")
        if trouble:
            raise DriverError(f"Failed to pull `{image}`: {trouble}")

    def _follow(self, container: str, environment: TaskEnvironment, since: int) -> None:
        one = asyncio.get_running_loop().create_task(self._copy(container, environment, since))
        self._copies.add(one)
        one.add_done_callback(self._copies.discard)

    async def _copy(self, container: str, environment: TaskEnvironment, since: int) -> None:
        """Write a container's output into the task's files, until it has ended."""
        logs, task = environment.directories.logs, environment.task["Name"]
        tail = "all" if not since else "0"
        path = f"/containers/{container}/logs?follow=true&stdout=true&stderr=true&tail={tail}"
        await asyncio.to_thread(_copy_frames, self._engine, path, logs, task)


def _name(environment: TaskEnvironment) -> str:
    return f"{environment.task['Name']}-{environment.alloc['ID']}"


def _definition(environment: TaskEnvironment) -> Json:
    task, group = environment.task, environment.group
    config: Json = environment.fill_all(task["Config"] or {})
    if not config.get("image"):
        raise DriverError("image name required for docker driver")
    directories = environment.directories
    own = directories.task(task["Name"])
    binds = [f"{directories.shared}:/alloc", f"{own / 'local'}:/local", f"{own / 'secrets'}:/secrets"]
    exposed, bindings = _published(environment, config)
    host: Json = {
        "Binds": [*binds, *(config.get("volumes") or ())],
        "PortBindings": bindings,
        "Memory": int(task["Resources"]["MemoryMB"]) * 1024 * 1024,
        "Init": config.get("init"),
        "ExtraHosts": ["host.docker.internal:host-gateway"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
    }
    if not emulation.in_bridge(group) and config.get("network_mode") == "host":
        host["NetworkMode"] = "host"
    body: Json = {
        "Image": config["image"],
        "Env": [f"{name}={value}" for name, value in environment.variables(whole=False).items()],
        "Labels": {
            ALLOCATION_LABEL: environment.alloc["ID"],
            "com.hashicorp.nomad.job_name": environment.alloc["Job"]["Name"],
            "com.hashicorp.nomad.task_name": task["Name"],
        },
        "ExposedPorts": exposed,
        "HostConfig": host,
    }
    if config.get("command"):
        body["Cmd"] = [config["command"], *map(str, config.get("args") or ())]
    elif config.get("args"):
        body["Cmd"] = [str(one) for one in config["args"]]
    if config.get("entrypoint"):
        body["Entrypoint"] = config["entrypoint"]
    if task["User"]:
        body["User"] = task["User"]
    return body


def _published(environment: TaskEnvironment, config: Json) -> tuple[Json, Json]:
    """The ports of a container and where they lead: those with a label, and what stands for the program's own."""
    wanted = set(config.get("ports") or ())
    labels = environment.alloc["AllocatedResources"]["Shared"]["Ports"] or ()
    pairs = [(str(port["Value"]), port["Value"]) for port in labels if port["Label"] in wanted]
    pairs += [(str(value), value) for name, value in environment.ports.items() if name.startswith("port ")]
    exposed: Json = {f"{inside}/tcp": {} for inside, _ in pairs}
    bindings = {f"{inside}/tcp": [{"HostIp": LOOPBACK, "HostPort": str(value)}] for inside, value in pairs}
    return exposed, bindings


async def _ask(
    engine: Engine,
    method: str,
    path: str,
    body: Json | None = None,
    *,
    seconds: float = _SECONDS,
    missing: Any = ...,
    raw: bool = False,
) -> Any:
    return await asyncio.to_thread(_call, engine, method, path, body, seconds, missing, raw)


def _call(engine: Engine, method: str, path: str, body: Json | None, seconds: float, missing: Any, raw: bool) -> Any:
    connection = EngineConnection(engine.socket, seconds)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DriverError(f"the container engine does not answer: {error}") from None
    finally:
        connection.close()
    if answer.status == 404 and missing is not ...:
        return missing
    if answer.status >= 400:
        raise DriverError(f"the container engine refuses: {_reason(content)}")
    if raw:
        return content.decode("utf-8", "replace")
    return json.loads(content) if content.strip() else {}


def _reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip()


def _copy_frames(engine: Engine, path: str, logs: Path, task: str) -> None:
    """Frames as the engine sends output without a terminal: 8 bytes of header (kind, size), then data."""
    connection = EngineConnection(engine.socket, _FOREVER)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        files = {1: logs / f"{task}.stdout.0", 2: logs / f"{task}.stderr.0"}
        with files[1].open("ab", buffering=0) as out, files[2].open("ab", buffering=0) as error:
            while len(header := answer.read(8)) == 8:
                data = answer.read(int.from_bytes(header[4:], "big"))
                (error if header[0] == 2 else out).write(data)
