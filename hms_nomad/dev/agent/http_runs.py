"""The routes of what runs: allocations with logs and use, deployments, evaluations."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hms_nomad.dev.agent import deployments, jobs, rollout
from hms_nomad.dev.agent.alloc_runner import AllocRunner, log_of
from hms_nomad.dev.agent.blocking import answer, namespace_of
from hms_nomad.dev.agent.changes import group_of
from hms_nomad.dev.agent.core import Core
from hms_nomad.dev.agent.environment import Directories
from hms_nomad.dev.agent.http_shapes import alloc_row
from hms_nomad.dev.agent.log_files import LogFile
from hms_nomad.dev.agent.store import key_of
from hms_nomad.dev.agent.usage import Usage
from hms_nomad.dev.agent.validation import joined
from hms_nomad.dev.agent.values import ENDED_DEPLOYMENT, Json, RefusedError

_HEARTBEAT_SECONDS = 1.0
_LOOK_SECONDS = 0.05


class RunRoutes:
    """Everything below allocations, deployments, evaluations and the client."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store
        self._usage = Usage(core)

    async def allocations(self, request: Request) -> Response:
        """``GET /v1/allocations``."""
        namespace = namespace_of(request)
        prefix = request.query_params.get("prefix") or ""

        def read() -> list[Json]:
            rows = self._store.tables["allocs"].values()
            chosen = [row for row in rows if namespace in ("*", row["Namespace"]) and row["ID"].startswith(prefix)]
            return [alloc_row(row) for row in sorted(chosen, key=lambda row: -int(row["CreateIndex"]))]

        return await answer(request, self._store, "allocs", "", read)

    async def allocation(self, request: Request) -> Response:
        """``GET /v1/allocation/:id`` and ``POST /v1/allocation/:id/stop``."""
        alloc_id, *rest = request.scope["path_parts"]
        if not rest:
            return await answer(request, self._store, "allocs", alloc_id, lambda: self._alloc(alloc_id))
        if rest == ["stop"] and request.method != "GET":
            alloc = self._alloc(alloc_id)
            job = self._store.tables["jobs"].get(key_of(alloc)) or alloc["Job"]
            with self._store.write() as transaction:
                moved = {**alloc, "DesiredTransition": {**(alloc["DesiredTransition"] or {}), "Migrate": True}}
                transaction.put("allocs", alloc_id, moved)
                found = jobs.evaluate(transaction, self._store, job, "alloc-stop")
                self._core.scheduler.soon(key_of(alloc))
                return JSONResponse({"EvalID": found["ID"], "Index": transaction.index})
        raise RefusedError(404, "Invalid allocation path")

    async def client(self, request: Request) -> Response:
        """``/v1/client/allocation/:id/...``."""
        alloc_id, what = request.scope["path_parts"][:2]
        alloc = self._known(alloc_id)
        if what == "checks":
            runner = self._core.client.runners.get(alloc_id)
            return JSONResponse(dict(runner.native.results) if runner and runner.native.results else None)
        if what == "stats":
            return JSONResponse(await self._usage.of(alloc, self._core.client.runners.get(alloc_id)))
        if what == "exec":
            raise RefusedError(501, "commands in tasks are not supported by the embedded agent")
        body = json.loads(await request.body() or b"{}")
        runner = self._runner(alloc)
        if what == "restart":
            await runner.restart(body.get("TaskName") or "")
            return JSONResponse({})
        if what == "signal":
            name = body.get("Signal") or ""
            number = signal.Signals.__members__.get(name, signal.SIGINT)
            await runner.send(body.get("Task") or "", number)
            return JSONResponse({})
        raise RefusedError(404, "unsupported endpoint")

    async def logs(self, request: Request) -> Response:
        """``GET /v1/client/fs/logs/:id``."""
        (alloc_id,) = request.scope["path_parts"]
        alloc = self._known(alloc_id)
        params = request.query_params
        group = group_of(alloc["Job"], alloc["TaskGroup"]) if alloc["Job"] else None
        runner = self._core.client.runners.get(alloc_id)
        states = runner.states if runner else alloc["TaskStates"] or {}
        directories = Directories(self._core.settings.data_dir / "alloc" / alloc_id)
        task, kind = params.get("task") or "", params.get("type") or "stdout"
        log = log_of(group or {"Tasks": []}, directories, states, task, kind)
        offset = int(params.get("offset") or 0)
        position = max(log.begin(), log.end() - offset) if params.get("origin") == "end" else log.begin() + offset
        follow, plain = params.get("follow") == "true", params.get("plain") == "true"
        kind_of_text = "text/plain" if plain else "application/json"
        return StreamingResponse(_stream(log, position, follow=follow, plain=plain), media_type=kind_of_text)

    async def deployments(self, request: Request) -> Response:
        """``GET /v1/deployments``."""
        namespace = namespace_of(request)

        def read() -> list[Json]:
            rows = [row for row in self._store.tables["deployments"].values() if namespace in ("*", row["Namespace"])]
            return sorted(rows, key=lambda row: -int(row["CreateIndex"]))

        return await answer(request, self._store, "deployments", "", read)

    async def deployment(self, request: Request) -> Response:
        """``/v1/deployment/...``: read, its allocations, promote, fail, pause, and verdicts on allocations."""
        first, *rest = request.scope["path_parts"]
        if not rest:
            return await answer(request, self._store, "deployments", first, lambda: self._deployment(first, 404))
        deployment_id = rest[0]
        if first == "allocations":
            return await answer(request, self._store, "allocs", "", lambda: self._deployed(deployment_id))
        body: Json = json.loads(await request.body() or b"{}")
        deployment = self._deployment(deployment_id, 404)
        match first:
            case "promote":
                return self._promote(deployment)
            case "fail":
                return self._fail(deployment)
            case "pause":
                return self._pause(deployment, paused=bool(body.get("Pause")))
            case "allocation-health":
                return self._judge(deployment, body)
        raise RefusedError(404, "Invalid deployment path")

    async def evaluation(self, request: Request) -> Response:
        """``GET /v1/evaluation/:id`` and its allocations."""
        eval_id, *rest = request.scope["path_parts"]
        if rest == ["allocations"]:
            rows = [alloc_row(row) for row in self._store.tables["allocs"].values() if row["EvalID"] == eval_id]
            return await answer(request, self._store, "allocs", "", lambda: rows)

        def read() -> Json:
            found = self._store.tables["evals"].get(eval_id)
            if found is None:
                raise RefusedError(404, "eval not found")
            return found

        return await answer(request, self._store, "evals", eval_id, read)

    async def evaluations(self, request: Request) -> Response:
        """``GET /v1/evaluations``."""
        namespace = namespace_of(request)
        rows = [row for row in self._store.tables["evals"].values() if namespace in ("*", row["Namespace"])]
        return await answer(request, self._store, "evals", "", lambda: rows)

    def _alloc(self, alloc_id: str) -> Json:
        found = self._store.tables["allocs"].get(alloc_id)
        if found is None:
            raise RefusedError(404, "alloc not found")
        return found

    def _known(self, alloc_id: str) -> Json:
        found = self._store.tables["allocs"].get(alloc_id)
        if found is None:
            raise RefusedError(404, f'Unknown allocation "{alloc_id}"')
        return found

    def _runner(self, alloc: Json) -> AllocRunner:
        runner = self._core.client.runners.get(alloc["ID"])
        if runner is None:
            raise RefusedError(500, "Task not running")
        return runner

    def _deployment(self, deployment_id: str, status: int) -> Json:
        found = self._store.tables["deployments"].get(deployment_id)
        if found is None:
            raise RefusedError(status, "deployment not found")
        return found

    def _deployed(self, deployment_id: str) -> list[Json]:
        """The rows of what a deployment placed or took over."""
        found = self._store.tables["deployments"].get(deployment_id)
        own = self._store.of_job("allocs", key_of(found)) if found else ()
        return [alloc_row(one) for one in own if one["DeploymentID"] == deployment_id]

    def _promote(self, deployment: Json) -> Response:
        if deployment["Status"] in ENDED_DEPLOYMENT:
            raise RefusedError(500, "can't promote terminal deployment")
        allocs = self._store.of_job("allocs", key_of(deployment))
        waiting = [one for one in deployment["TaskGroups"].values() if one["DesiredCanaries"] and not one["Promoted"]]
        if not waiting:
            raise RefusedError(500, "no canaries to promote")
        if missing := deployments.missing_canaries(deployment, allocs):
            raise RefusedError(500, joined(missing))
        job = self._job(deployment)
        with self._store.write() as transaction:
            rollout.promote(transaction, self._store, deployment, self._core.clock())
            found = jobs.evaluate(transaction, self._store, job, "deployment-watcher", DeploymentID=deployment["ID"])
        placed = {one for state in waiting for one in state["PlacedCanaries"] or ()}
        self._core.client.sync({one for one in placed if one in self._store.tables["allocs"]})
        return self._done(deployment, found)

    def _fail(self, deployment: Json) -> Response:
        if deployment["Status"] in ENDED_DEPLOYMENT:
            raise RefusedError(500, "can't fail terminal deployment")
        with self._store.write() as transaction:
            rollout.fail(transaction, self._store, deployment, deployments.FAILED_BY_USER)
            job = self._job(deployment)
            found = jobs.evaluate(transaction, self._store, job, "deployment-watcher", DeploymentID=deployment["ID"])
        return self._done(deployment, found)

    def _pause(self, deployment: Json, *, paused: bool) -> Response:
        if deployment["Status"] in ENDED_DEPLOYMENT:
            verb = "pause" if paused else "resume"
            raise RefusedError(500, f"can't {verb} terminal deployment")
        status = "paused" if paused else "running"
        text = deployments.PAUSED if paused else deployments.description(deployment["TaskGroups"])
        states = rollout.renewed(deployment["TaskGroups"], self._core.clock())
        with self._store.write() as transaction:
            rollout.change(transaction, deployment, status, text, TaskGroups=states)
            if paused:
                return JSONResponse(
                    {"EvalID": "", "DeploymentModifyIndex": transaction.index, "Index": transaction.index}
                )
            job = self._job(deployment)
            found = jobs.evaluate(transaction, self._store, job, "deployment-watcher", DeploymentID=deployment["ID"])
        return self._done(deployment, found)

    def _judge(self, deployment: Json, body: Json) -> Response:
        if deployment["Status"] in ENDED_DEPLOYMENT:
            raise RefusedError(500, "can't set health of allocations for a terminal deployment")
        verdicts = dict.fromkeys(body.get("HealthyAllocationIDs") or (), True)
        verdicts |= dict.fromkeys(body.get("UnhealthyAllocationIDs") or (), False)
        now = self._core.clock()
        with self._store.write() as transaction:
            judged: list[tuple[Json, bool]] = []
            for alloc_id, good in verdicts.items():
                alloc = self._known(alloc_id)
                status = {"Canary": False, **(alloc["DeploymentStatus"] or {}), "Healthy": good}
                judged.append((transaction.put("allocs", alloc_id, {**alloc, "DeploymentStatus": status}), good))
            rollout.counted(transaction, self._store, [], judged, now)
            job = self._job(deployment)
            found = jobs.evaluate(transaction, self._store, job, "deployment-watcher", DeploymentID=deployment["ID"])
        return self._done(deployment, found)

    def _job(self, deployment: Json) -> Json:
        found = self._store.tables["jobs"].get(key_of(deployment))
        if found is None:
            raise RefusedError(404, "job not found")
        return found

    def _done(self, deployment: Json, evaluation: Json) -> Response:
        self._core.scheduler.soon(key_of(deployment))
        index = self._store.index
        found = {"EvalID": evaluation["ID"], "EvalCreateIndex": index, "DeploymentModifyIndex": index, "Index": index}
        return JSONResponse({**found, "RevertedJobVersion": None})


async def _stream(log: LogFile, position: int, *, follow: bool, plain: bool) -> AsyncIterator[bytes]:
    """An output from a place on: as it is, or in frames; following, with an empty frame each second."""
    beat = time.monotonic()
    while True:
        for piece in log.read(position):
            position = piece.end
            yield piece.data if plain else _frame(log, piece.number, piece.offset, piece.data)
            await asyncio.sleep(0)
        if not follow:
            return
        if time.monotonic() - beat >= _HEARTBEAT_SECONDS:
            beat = time.monotonic()
            yield b"" if plain else b"{}"
        await asyncio.sleep(_LOOK_SECONDS)


def _frame(log: LogFile, number: int, offset: int, data: bytes) -> bytes:
    name = f"alloc/logs/{log.path.name.rpartition('.')[0]}.{number}"
    body: dict[str, Any] = {"File": name, "Offset": offset, "Data": base64.b64encode(data).decode("ascii")}
    return json.dumps(body).encode()
