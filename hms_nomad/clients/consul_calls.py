"""python-consul2's endpoints on our guarded session: what every part of the Consul client sends through."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import consul.base
import consul.std

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.snapshot import Snapshot, next_index
from hms_nomad.clients.transport import Transport

T = TypeVar("T")

JSON = consul.base.CB.json
# Accepted where the absence of an object is an answer like another, with an index to wait for it.
NOT_FOUND = frozenset({404})


class _Agent:
    """What python-consul2's endpoint classes expect of a ``consul.Consul``.

    That class itself lets CONSUL_HTTP_ADDR and CONSUL_HTTP_TOKEN overrule its arguments and warns when it is made.
    The token travels in the session's headers, so none stands here.
    """

    token = None
    dc = None
    consistency = "default"

    def __init__(self, http: Any) -> None:
        self.http = http


class ConsulCalls:
    """The endpoints of one Consul agent."""

    def __init__(self, connection: Connection) -> None:
        """``connection`` says how the agent is reached."""
        self._transport = Transport("consul", connection, "X-Consul-Token", {})
        self._http = consul.std.HTTPClient(verify=connection.verify, timeout=connection.read_timeout)
        self._http.base_uri = connection.address
        self._http.session = self._transport.session
        agent = _Agent(self._http)
        library = consul.base.Consul
        self._status = library.Status(agent)
        self._agent = library.Agent(agent)
        self._config = library.Config(agent)
        self._kv = library.KV(agent)
        self._session = library.Session(agent)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.connection.address})"

    @property
    def address(self) -> str:
        """The URL of the agent's API."""
        return self._transport.connection.address

    @property
    def has_token(self) -> bool:
        """Whether a token is sent at all."""
        return bool(self._transport.connection.token)

    def close(self) -> None:
        """Close the idle connections; the client can be used again."""
        self._transport.session.close()

    def _read(self, operation: str, send: Callable[[], Any], parse: Callable[[Any], T], *, retry: bool = True) -> T:
        return self._transport.read(operation, lambda: parse(send()), retry=retry)

    def _write(
        self,
        operation: str,
        send: Callable[[], Any],
        parse: Callable[[Any], T],
        settled: Callable[[], T | None] | None = None,
    ) -> T:
        return self._transport.write(operation, lambda: parse(send()), settled)

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """For endpoints that python-consul2 lacks or asks wrongly."""
        return self._http.get(JSON(), path, params=list((params or {}).items()))

    def _put(self, path: str, body: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> Any:
        """Like ``_get``; an empty answer is None."""
        return self._http.put(_optional, path, params=list((params or {}).items()), data=json.dumps(dict(body)))

    def _snapshot(
        self,
        operation: str,
        path: str,
        params: Mapping[str, Any],
        parse: Callable[[Any], T],
        *,
        index: int,
        wait: float,
        accepted: frozenset[int] = frozenset(),
    ) -> Snapshot[T]:
        """A blocking query: waits up to ``wait`` seconds for something newer than ``index`` when that is not 0.

        With 404 in ``accepted``, ``parse`` gets None for what does not exist.
        """
        waiting = [("index", index), ("wait", f"{int(wait * 1000)}ms")] if index > 0 else []

        def send() -> Snapshot[T]:
            answered, body = self._http.get(JSON(index=True), path, params=[*params.items(), *waiting])
            return Snapshot(next_index(index, answered), parse(body))

        return self._transport.read(operation, send, wait=wait if index > 0 else 0.0, accepted=accepted)

    def _segment(self, operation: str, name: str) -> str:
        """``name`` checked for use in a path, which python-consul2 quotes but for slashes and colons."""
        if not name:
            raise InvalidRequestError("consul", operation, self.address, "the name is empty")
        if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
            raise InvalidRequestError("consul", operation, self.address, f"{quote(name)} cannot stand in a path")
        return name


def truth(body: Any) -> bool:
    """A JSON true or false. Raises TypeError for anything else, which is no answer of Consul's."""
    if not isinstance(body, bool):
        raise TypeError("true or false was expected")
    return body


def _optional(response: Any) -> Any:
    return json.loads(response.body) if response.body.strip() else None
