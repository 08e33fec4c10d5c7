"""The routes of variables and of the locks on them, by which the instances of a program elect one."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hms_nomad.dev.agent.blocking import answer, namespace_of
from hms_nomad.dev.agent.core import Core
from hms_nomad.dev.agent.store import Transaction, variable_key
from hms_nomad.dev.agent.values import Json, RefusedError, duration_text, nanoseconds, new_id, parse_duration

_TTL_SECONDS = 15.0
_OPERATIONS = ("lock-acquire", "lock-renew", "lock-release")


class _LockedError(Exception):
    """Somebody else holds the lock; what is told of the variable is kept."""

    def __init__(self, variable: Json) -> None:
        super().__init__()
        self.variable = variable


class VariableRoutes:
    """Everything below /v1/vars and /v1/var."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store
        # When each lock runs out, and until when nobody else gets it after that, in seconds since 1970.
        self._ends: dict[str, float] = {}
        self._free: dict[str, float] = {}

    async def listed(self, request: Request) -> Response:
        """``GET /v1/vars``: what there is, without values."""
        namespace, prefix = namespace_of(request), request.query_params.get("prefix") or ""

        def read() -> list[Json]:
            rows = self._store.tables["variables"].values()
            chosen = [one for one in rows if namespace in ("*", one["Namespace"]) and one["Path"].startswith(prefix)]
            return [_metadata(one) for one in sorted(chosen, key=lambda one: str(one["Path"]))]

        return await answer(request, self._store, "variables", "", read)

    async def variable(self, request: Request) -> Response:
        """``/v1/var/PATH``: read, write, delete, and the lock on it."""
        path = "/".join(request.scope["path_parts"])
        key = variable_key(namespace_of(request), path)
        if request.method == "GET":
            return await answer(request, self._store, "variables", key, lambda: self._existing(key))
        wished = [one for one in _OPERATIONS if one in request.query_params]
        if len(wished) > 1:
            raise RefusedError(400, "multiple lock operations")
        body: Json = json.loads(await request.body() or b"{}")
        try:
            match (request.method, *wished):
                case ("DELETE",):
                    answered = self._delete(request, key)
                case (_, "lock-acquire"):
                    answered = self._acquire(key, path, namespace_of(request), body)
                case (_, "lock-renew"):
                    answered = self._renew(key, body)
                case (_, "lock-release"):
                    answered = self._release(key, body)
                case _:
                    answered = self._write(request, key, path, body)
        except _LockedError as locked:
            answered = JSONResponse(_metadata(locked.variable), 409)
        return answered

    def _existing(self, key: str) -> Json:
        found = self._store.tables["variables"].get(key)
        if found is None:
            raise RefusedError(404, "variable not found")
        return found

    def _write(self, request: Request, key: str, path: str, body: Json) -> Response:
        if not body.get("Items"):
            raise RefusedError(400, "variable missing required Items object")
        if body.get("Lock"):
            raise RefusedError(400, "variable should not contain lock definition")
        before = self._store.tables["variables"].get(key)
        self._check(request, before)
        if before is not None and self._held(key, before):
            raise _LockedError(before)
        with self._store.write() as transaction:
            return JSONResponse(self._put(transaction, key, path, namespace_of(request), body["Items"], None))

    def _delete(self, request: Request, key: str) -> Response:
        before = self._store.tables["variables"].get(key)
        self._check(request, before)
        if before is not None and self._held(key, before):
            raise _LockedError(before)
        with self._store.write() as transaction:
            transaction.remove("variables", key)
        return Response(status_code=204)

    def _check(self, request: Request, before: Json | None) -> None:
        """Check-and-set: the index that the caller read, 0 for what must not be there."""
        wanted = request.query_params.get("cas")
        if wanted is None:
            return
        if not wanted.isdigit():
            raise RefusedError(400, f"can not parse cas: {wanted}")
        if int(wanted) != (before["ModifyIndex"] if before else 0):
            raise _LockedError(before or {"ModifyIndex": 0})

    def _acquire(self, key: str, path: str, namespace: str, body: Json) -> Response:
        before = self._store.tables["variables"].get(key)
        wish = body.get("Lock") or {}
        now = self._core.clock()
        own = before is not None and before["Lock"] and before["Lock"]["ID"] == wish.get("ID")
        if before is not None and not own and (self._held(key, before) or self._free.get(key, 0.0) > now):
            raise _LockedError(before)
        lock = {
            "ID": wish.get("ID") or new_id(),
            "TTL": duration_text(nanoseconds(_seconds(wish.get("TTL")))),
            "LockDelay": duration_text(nanoseconds(_seconds(wish.get("LockDelay")))),
        }
        items = body.get("Items") or (before or {}).get("Items") or {}
        self._ends[key] = now + _seconds(lock["TTL"])
        with self._store.write() as transaction:
            return JSONResponse(self._put(transaction, key, path, namespace, items, lock))

    def _renew(self, key: str, body: Json) -> Response:
        variable = self._holders(key, body)
        self._ends[key] = self._core.clock() + _seconds(variable["Lock"]["TTL"])
        return JSONResponse(_metadata(variable))

    def _release(self, key: str, body: Json) -> Response:
        variable = self._holders(key, body)
        self._ends.pop(key, None)
        items = body.get("Items") or variable["Items"]
        with self._store.write() as transaction:
            return JSONResponse(self._put(transaction, key, variable["Path"], variable["Namespace"], items, None))

    def _holders(self, key: str, body: Json) -> Json:
        """The variable, for whoever holds its lock."""
        variable = self._existing(key)
        if not self._held(key, variable):
            raise RefusedError(409, "variable doesn't hold a lock")
        if variable["Lock"]["ID"] != (body.get("Lock") or {}).get("ID"):
            raise RefusedError(409, "attempting to modify locked variable")
        return variable

    def _held(self, key: str, variable: Json) -> bool:
        """True while somebody holds the lock; one that an earlier agent gave gets its time anew."""
        if not variable["Lock"]:
            return False
        now, ttl = self._core.clock(), _seconds(variable["Lock"]["TTL"])
        end = self._ends.setdefault(key, now + ttl)
        if now < end:
            return True
        self._free[key] = end + _seconds(variable["Lock"]["LockDelay"])
        return False

    def _put(self, transaction: Transaction, key: str, path: str, namespace: str, items: Json, lock: Any) -> Json:
        before, now = self._store.tables["variables"].get(key), time.time_ns()
        body = {
            "Namespace": namespace,
            "Path": path,
            "Items": items,
            "Lock": lock,
            "CreateTime": before["CreateTime"] if before else now,
            "ModifyTime": now,
            **({"CreateIndex": before["CreateIndex"]} if before else {}),
        }
        return transaction.put("variables", key, body)


def _metadata(variable: Json) -> Json:
    return {name: value for name, value in variable.items() if name not in ("Items", "Lock")}


def _seconds(value: Any) -> float:
    """A duration as a client of Go sends it: a text, or nanoseconds; the usual one where it says none."""
    if not value:
        return _TTL_SECONDS
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise RefusedError(400, str(error)) from None
    return float(value) / 1e9
