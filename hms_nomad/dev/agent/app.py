"""Nomad's paths -> the routes that answer them; a refusal is plain text, as Nomad's own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hms_nomad.clients.nomad_calls import EMBEDDED_HEADER
from hms_nomad.dev.agent.core import Core
from hms_nomad.dev.agent.http_cluster import ClusterRoutes
from hms_nomad.dev.agent.http_jobs import JobRoutes
from hms_nomad.dev.agent.http_runs import RunRoutes
from hms_nomad.dev.agent.http_variables import VariableRoutes
from hms_nomad.dev.agent.values import RefusedError

_LOG = logging.getLogger(__name__)
_METHODS = ["GET", "PUT", "POST", "DELETE"]
Endpoint = Callable[[Request], Awaitable[Response]]


def application(core: Core) -> Starlette:
    """The API of an agent."""
    jobs, runs, cluster, variables = JobRoutes(core), RunRoutes(core), ClusterRoutes(core), VariableRoutes(core)
    table: list[tuple[str, Endpoint]] = [
        ("/v1/jobs", jobs.jobs),
        ("/v1/jobs/parse", jobs.parse),
        ("/v1/validate/job", jobs.validate),
        ("/v1/job/{rest:path}", jobs.job),
        ("/v1/allocations", runs.allocations),
        ("/v1/allocation/{rest:path}", runs.allocation),
        ("/v1/client/allocation/{rest:path}", runs.client),
        ("/v1/client/fs/logs/{rest:path}", runs.logs),
        ("/v1/deployments", runs.deployments),
        ("/v1/deployment/{rest:path}", runs.deployment),
        ("/v1/evaluations", runs.evaluations),
        ("/v1/evaluation/{rest:path}", runs.evaluation),
        ("/v1/agent/{rest:path}", cluster.agent),
        ("/v1/status/{rest:path}", cluster.status),
        ("/v1/regions", cluster.regions),
        ("/v1/nodes", cluster.nodes),
        ("/v1/node/{rest:path}", cluster.node),
        ("/v1/namespaces", cluster.namespaces),
        ("/v1/namespace", cluster.namespace),
        ("/v1/namespace/{rest:path}", cluster.namespace),
        ("/v1/scaling/{rest:path}", cluster.scaling),
        ("/v1/event/stream", cluster.events),
        ("/v1/acl/{rest:path}", cluster.acl),
        ("/v1/vars", variables.listed),
        ("/v1/var/{rest:path}", variables.variable),
        ("/{rest:path}", _unknown),
    ]

    @asynccontextmanager
    async def living(_: Starlette) -> Any:
        core.start()
        yield
        core.close()

    routes = [Route(path, _guarded(endpoint, path), methods=_METHODS) for path, endpoint in table]
    return Starlette(routes=routes, lifespan=living)


async def _unknown(request: Request) -> Response:
    raise RefusedError(404, f"the embedded agent has no {request.url.path}: only a real Nomad has")


def _guarded(endpoint: Endpoint, path: str) -> Endpoint:
    fixed = path.partition("{")[0].count("/")

    async def answer(request: Request) -> Response:
        # Ids may hold slashes, quoted: the parts are taken from the path as it was sent.
        raw = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        request.scope["path_parts"] = [unquote(part) for part in raw.split("/")[fixed:]] if "{" in path else []
        try:
            response = await endpoint(request)
        except RefusedError as refused:
            response = PlainTextResponse(refused.text, refused.status)
        except Exception:  # noqa: BLE001 - an answer is owed whatever happened
            _LOG.exception("%s %s", request.method, request.url.path)
            response = PlainTextResponse("the embedded agent failed; its log says where", 500)
        response.headers[EMBEDDED_HEADER] = "true"
        return response

    return answer
