"""Blocking queries: an answer with its index, held back until there is a newer one or the time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hms_nomad.dev.agent.store import Store
from hms_nomad.dev.agent.values import RefusedError, parse_duration

_LONGEST_WAIT = 600.0
_USUAL_WAIT = 300.0


def namespace_of(request: Request) -> str:
    """The namespace that a request is about."""
    return request.query_params.get("namespace") or "default"


async def answer(request: Request, store: Store, table: str, scope: str, read: Callable[[], Any]) -> Response:
    """What ``read`` finds, with the index of ``table``; waits as the request asks for news of ``scope`` in it.

    ``scope`` is the key of a job or an object, "" for the whole table. ``read`` raises RefusedError for what is not
    there, which a blocking query waits for too.
    """
    asked, wait = _asked(request)
    deadline = time.monotonic() + wait
    while asked and store.last_index(table, scope) <= asked:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        await store.news(remaining)
    return with_index(store, table, read())


def with_index(store: Store, table: str, body: Any) -> Response:
    """An answer with the headers that name the index of ``table``."""
    index = max(store.last_index(table), 1)
    headers = {"X-Nomad-Index": str(index), "X-Nomad-KnownLeader": "true", "X-Nomad-LastContact": "0"}
    return JSONResponse(body, headers=headers)


def _asked(request: Request) -> tuple[int, float]:
    """The index that news must exceed (0 never waits), and for how many seconds to wait."""
    params = request.query_params
    try:
        index = int(params.get("index") or 0)
    except ValueError:
        raise RefusedError(400, "Invalid index") from None
    try:
        wait = parse_duration(params["wait"]) if params.get("wait") else _USUAL_WAIT
    except ValueError:
        raise RefusedError(400, "Invalid wait time") from None
    wait = min(wait, _LONGEST_WAIT)
    # As Nomad does, so that those who wait for the same thing do not all come back at once.
    return index, wait + random.random() * wait / 16  # noqa: S311
