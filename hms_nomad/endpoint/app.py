"""Mirror -> the ASGI application: who asks gets JSON at once, or when something has changed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hms_nomad.endpoint.mirror import Held, Mirror
from hms_nomad.output.document import as_text, document
from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.duration import seconds

INDEX_HEADER = "X-Registry-Index"
STALE_HEADER = "X-Registry-Stale"

_ID_HEADER = "X-Request-Id"
_ID = lazy_pattern(r"[\x21-\x7e]{1,128}")
_DEFAULT_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 300.0
_RETRY_AFTER_SECONDS = 2
_PARAMETERS = frozenset({"index", "wait"})
_METHODS = "GET, HEAD"


class RegistryApp:
    """What ``GET /v1/services``, ``GET /v1/services/NAME`` and ``GET /health`` answer, out of a mirror."""

    def __init__(self, mirror: Mirror) -> None:
        """``mirror`` is followed while the application runs."""
        self._mirror = mirror
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    def asgi(self) -> Starlette:
        """The application that a server runs."""
        routes = [
            Route("/v1/services", self._services, methods=["GET"]),
            Route("/v1/services/{name}", self._service, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
        ]
        handlers: Mapping[Any, Any] = {HTTPException: _refused, Exception: _broken}
        made = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._life)
        made.router.redirect_slashes = False
        return made

    def close(self) -> None:
        """Answer everybody who waits now, with what there is; nobody waits from here on. Also for signal handlers."""
        self._closing = True
        self._tell()

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        del app
        self._loop = asyncio.get_running_loop()
        self._mirror.start(self._tell)
        try:
            yield
        finally:
            self._mirror.stop()

    def _tell(self) -> None:
        """Wake who waits, from any thread; one that outlives the loop has nobody to tell."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        woken, self._news = self._news, asyncio.Event()
        woken.set()

    async def _services(self, request: Request) -> Response:
        held = await self._awaited(request, self._mirror.services)
        return _answer(request, held, "registry-services", {"services": held.value})

    async def _service(self, request: Request) -> Response:
        name = request.path_params["name"]
        held = await self._awaited(request, lambda: self._mirror.service(name))
        if held.value is None:
            said = _said(held)
            return _error(request, 404, f"the registry has no service {name!r}", said, _headers(held))
        return _answer(request, held, "registry-service", {"service": held.value})

    async def _health(self, request: Request) -> Response:
        _parameters(request, frozenset())
        held = _now(self._mirror.services)
        return _answer(request, held, "registry-health", {"status": "ok", "services": len(held.value)})

    async def _awaited(self, request: Request, look: Callable[[], Held]) -> Held:
        """What ``look`` finds once it is something else than the index in the request, or when the wait is over."""
        parameters = _parameters(request, _PARAMETERS)
        index, wait = parameters.get("index"), _wait(parameters.get("wait"))
        if index is None and "wait" in parameters:
            raise HTTPException(400, "wait needs the index of the answer that is known: ?index=INDEX&wait=30s")
        until = time.monotonic() + wait
        while True:
            # The event first: what comes between the look and the wait is not missed.
            news, held = self._news, _now(look)
            left = until - time.monotonic()
            if index is None or held.index != index or left <= 0 or self._closing:
                return held
            fresh = self._mirror.fresh_seconds()
            # What nothing confirms gets stale without any news.
            patience = left if held.stale else min(left, fresh + 0.1)
            try:
                await asyncio.wait_for(news.wait(), patience)
            except TimeoutError:
                continue


def _now(look: Callable[[], Held]) -> Held:
    try:
        return look()
    except LookupError as error:
        retry = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
        raise HTTPException(503, str(error.args[0]), retry) from None


def _parameters(request: Request, known: frozenset[str]) -> dict[str, str]:
    """The query's parameters by name. Refuses unknown ones: an answer to another question helps nobody."""
    given = request.query_params.multi_items()
    for name, _ in given:
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise HTTPException(400, f"there is no parameter {name!r} here; there are: {allowed}")
    if len(given) != len(dict(given)):
        raise HTTPException(400, "a parameter is given twice")
    return dict(given)


def _wait(text: str | None) -> float:
    if text is None:
        return _DEFAULT_WAIT_SECONDS
    try:
        value = float(text) if text.isdecimal() and text.isascii() else seconds(text)
    except ValueError:
        raise HTTPException(400, f"wait {text!r} is no time; write for example 30s, 5m or seconds") from None
    if not 0 <= value <= _LONGEST_WAIT_SECONDS:
        raise HTTPException(400, f"wait {text!r} is too long; {_LONGEST_WAIT_SECONDS / 60:g}m at most")
    return value


def _said(held: Held) -> dict[str, Any]:
    return {"index": held.index, "age_seconds": held.age_seconds, "stale": held.stale, "reason": held.reason}


def _headers(held: Held) -> dict[str, str]:
    return {
        INDEX_HEADER: held.index,
        STALE_HEADER: "true" if held.stale else "false",
        "Age": str(round(held.age_seconds)),
    }


def _answer(request: Request, held: Held, schema: str, body: Mapping[str, Any]) -> Response:
    return _json(request, 200, document(schema, {**_said(held), **body}), _headers(held))


def _error(
    request: Request,
    status: int,
    text: str,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the form of the gateway's."""
    return _json(request, status, {"error": text, "status": status, **(more or {})}, headers or {})


def _json(request: Request, status: int, body: dict[str, Any], headers: Mapping[str, str]) -> Response:
    given = request.headers.get(_ID_HEADER, "")
    identity = given if _ID.fullmatch(given) else str(uuid.uuid4())
    text = as_text({**body, "request_id": identity}, indent=None) + "\n"
    shared = {_ID_HEADER: identity, "Cache-Control": "no-store"}
    return Response(text, status, {**shared, **headers}, "application/json")


async def _refused(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        return _error(request, 405, f"the registry is read-only: {_METHODS}", None, {"Allow": _METHODS})
    known = "there are /v1/services, /v1/services/NAME and /health"
    unknown = error.status_code == 404
    return _error(request, error.status_code, known if unknown else error.detail, None, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    """The server itself writes down ``error``."""
    del error
    return _error(request, 500, "a fault of the registry itself; its log says more")
