"""The routes of the cluster: agent, nodes, namespaces, scaling policies, events; access lists are off."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hms_nomad.dev.agent.blocking import answer, namespace_of, with_index
from hms_nomad.dev.agent.core import Core
from hms_nomad.dev.agent.http_shapes import alloc_row
from hms_nomad.dev.agent.jobs import policies_of
from hms_nomad.dev.agent.node import VERSION
from hms_nomad.dev.agent.values import Json, RefusedError


class ClusterRoutes:
    """What is told of the one server and its one node."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store

    async def agent(self, request: Request) -> Response:
        """``GET /v1/agent/self``, members, servers and health; ``PUT /v1/agent/leave`` style calls are refused."""
        what = request.scope["path_parts"][0]
        settings = self._core.settings
        if what == "self":
            return JSONResponse(self._self())
        if what == "members":
            member = {
                "Name": f"{settings.name}.global",
                "Addr": settings.host,
                "Port": settings.port,
                "Status": "alive",
            }
            return JSONResponse({"ServerName": settings.name, "ServerRegion": "global", "Members": [member]})
        if what == "servers":
            return JSONResponse([f"{settings.host}:{settings.port}"])
        if what == "health":
            return JSONResponse({"client": {"ok": True, "message": "ok"}, "server": {"ok": True, "message": "ok"}})
        raise RefusedError(404, "the embedded agent does not know this part of the API")

    async def status(self, request: Request) -> Response:
        """``GET /v1/status/leader`` and ``peers``."""
        own = f"{self._core.settings.host}:{self._core.settings.port}"
        return JSONResponse([own] if request.scope["path_parts"] == ["peers"] else own)

    async def regions(self, request: Request) -> Response:
        """``GET /v1/regions``."""
        del request
        return JSONResponse(["global"])

    async def nodes(self, request: Request) -> Response:
        """``GET /v1/nodes``."""
        left_out = ("Attributes", "Meta", "NodeResources", "Links", "HTTPAddr")

        def read() -> list[Json]:
            nodes = self._store.tables["nodes"].values()
            rows = [{key: value for key, value in node.items() if key not in left_out} for node in nodes]
            return [{**row, "Version": VERSION} for row in rows]

        return await answer(request, self._store, "nodes", "", read)

    async def node(self, request: Request) -> Response:
        """``GET /v1/node/:id``, its allocations, and its eligibility."""
        node_id, *rest = request.scope["path_parts"]
        node = self._store.tables["nodes"].get(node_id)
        if node is None:
            raise RefusedError(404, "node not found")
        if not rest:
            return await answer(request, self._store, "nodes", node_id, lambda: self._store.tables["nodes"][node_id])
        if rest == ["allocations"]:
            return with_index(self._store, "allocs", [alloc_row(one) for one in self._store.tables["allocs"].values()])
        if rest == ["eligibility"] and request.method != "GET":
            body = json.loads(await request.body() or b"{}")
            with self._store.write() as transaction:
                wish = body.get("Eligibility") or node["SchedulingEligibility"]
                transaction.put("nodes", node_id, {**node, "SchedulingEligibility": wish}, "NodeEligibility")
                self._core.scheduler.freed()
                return JSONResponse({"NodeModifyIndex": transaction.index, "Index": transaction.index})
        raise RefusedError(404, "the embedded agent does not know this part of the API")

    async def namespaces(self, request: Request) -> Response:
        """``GET /v1/namespaces``."""
        return await answer(
            request, self._store, "namespaces", "", lambda: list(self._store.tables["namespaces"].values())
        )

    async def namespace(self, request: Request) -> Response:
        """``GET``, ``PUT`` and ``DELETE /v1/namespace/:name``."""
        name = (request.scope["path_parts"] or [""])[0]
        known = self._store.tables["namespaces"].get(name)
        if request.method == "GET":
            if known is None:
                raise RefusedError(404, "Namespace not found")
            return with_index(self._store, "namespaces", known)
        with self._store.write() as transaction:
            if request.method == "DELETE":
                transaction.remove("namespaces", name)
            else:
                body = json.loads(await request.body() or b"{}")
                chosen = {"Name": name or body.get("Name"), "Description": "", "Meta": None}
                transaction.put("namespaces", chosen["Name"], {**chosen, **body})
            return JSONResponse(None, headers={"X-Nomad-Index": str(transaction.index)})

    async def scaling(self, request: Request) -> Response:
        """``GET /v1/scaling/policies`` and ``/v1/scaling/policy/:id``."""
        parts = request.scope["path_parts"]
        if parts == ["policies"]:
            job, namespace = request.query_params.get("job") or "", namespace_of(request)
            fields = ("ID", "Enabled", "Type", "Target", "CreateIndex", "ModifyIndex")
            return await answer(
                request,
                self._store,
                "policies",
                "",
                lambda: [{key: row[key] for key in fields} for row in policies_of(self._store, namespace, job)],
            )
        policy_id = parts[-1]

        def read() -> Json:
            found = self._store.tables["policies"].get(policy_id)
            if found is None:
                raise RefusedError(404, "policy not found")
            return found

        return await answer(request, self._store, "policies", policy_id, read)

    async def events(self, request: Request) -> Response:
        """``GET /v1/event/stream``."""
        topics: dict[str, list[str]] = {}
        for topic in request.query_params.getlist("topic") or ["*"]:
            name, _, key = topic.partition(":")
            topics.setdefault(name, []).append(key or "*")
        index = int(request.query_params.get("index") or 0)
        stream = self._core.events.follow(topics, index, namespace_of(request))
        return StreamingResponse(stream, media_type="application/json")

    async def acl(self, request: Request) -> Response:
        """Access lists are off: whoever asks for its own token is told so, anything else is refused."""
        if request.scope["path_parts"] == ["token", "self"]:
            return JSONResponse(
                {"AccessorID": "acls-disabled", "Name": "ACLs disabled", "Type": "client", "Policies": None}
            )
        raise RefusedError(400, "ACL support disabled")

    def _self(self) -> Json:
        settings = self._core.settings
        consul = {
            "Name": "default",
            "Addr": settings.consul.partition("://")[2],
            "GRPCAddr": settings.consul_grpc,
            "GRPCCAFile": "",
            "EnableSSL": False,
            "ServiceIdentity": None,
        }
        config = {
            "Name": settings.name,
            "Region": "global",
            "Datacenter": settings.datacenter,
            "Version": {"Version": VERSION, "VersionPrerelease": "", "VersionMetadata": "embedded"},
            "Client": {"Enabled": True},
            "Server": {"Enabled": True},
            "Telemetry": {"PublishAllocationMetrics": True},
            "Consuls": [consul],
            "ACL": {"Enabled": False},
            "Embedded": True,
        }
        member = {"Name": f"{settings.name}.global", "Addr": settings.host, "Port": settings.port, "Status": "alive"}
        return {"config": config, "member": member, "stats": {"nomad": {"leader": "true", "server": "true"}}}
