"""python-nomad's endpoints on our guarded session: what every part of the Nomad client sends through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from nomad import api

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import InvalidRequestError, NotFoundError
from hms_nomad.clients.snapshot import Snapshot, next_index
from hms_nomad.clients.transport import Transport

T = TypeVar("T")
EMBEDDED_HEADER = "X-HMS-Nomad-Embedded"
"""A header of every answer of the embedded agent, by which it is known that this is no Nomad."""


class NomadCalls:
    """The endpoints of one Nomad cluster, bound to one namespace and region, which every call states.

    The endpoint classes are made one by one and without the token: ``nomad.Nomad`` would read the environment, open a
    session for each of its 37 endpoints, leave certificates unchecked and show the token in its ``repr``.
    """

    def __init__(self, connection: Connection, namespace: str = "default", region: str | None = None) -> None:
        """``connection`` says how the cluster is reached; ``region`` is the agent's own when None."""
        self.namespace = namespace
        self.region = region
        self._params = {"namespace": namespace} | ({"region": region} if region else {})
        self._transport = Transport("nomad", connection, "X-Nomad-Token", self._params)
        self.embedded = False
        """True once the embedded agent of a development stack has answered, which stands in for a Nomad."""
        self._transport.session.hooks["response"].append(self._recognize)
        settings = {
            "address": connection.address,
            "session": self._transport.session,
            "timeout": connection.read_timeout,
            "verify": connection.verify,
        }
        self._status = api.Status(**settings)
        self._agent = api.Agent(**settings)
        self._acl = api.Acl(**settings)
        self._nodes = api.Nodes(**settings)
        self._node = api.Node(**settings)
        self._jobs = api.Jobs(**settings)
        self._job = api.Job(**settings)
        self._validate = api.Validate(**settings)
        self._evaluation = api.Evaluation(**settings)
        self._allocation = api.Allocation(**settings)
        self._allocations = api.Allocations(**settings)
        self._deployment = api.Deployment(**settings)
        self._deployments = api.Deployments(**settings)
        self._client = api.Client(**settings)
        self._scaling = api.Scaling(**settings)
        self._namespaces = api.Namespaces(**settings)
        self._event = api.Event(**settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.connection.address}, namespace={self.namespace!r})"

    @property
    def address(self) -> str:
        """The URL of the cluster's API."""
        return self._transport.connection.address

    def close(self) -> None:
        """Close the idle connections; the client can be used again."""
        self._transport.session.close()

    def _recognize(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        self.embedded |= EMBEDDED_HEADER in answer.headers

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

    def _snapshot(
        self,
        operation: str,
        endpoint: Any,
        path: tuple[str, ...],
        parse: Callable[[Any], T],
        *,
        index: int,
        wait: float,
    ) -> Snapshot[T]:
        """A blocking query: waits up to ``wait`` seconds for something newer than ``index`` when that is not 0."""
        params = {"index": index, "wait": f"{int(wait * 1000)}ms"} if index > 0 else {}

        def send() -> Snapshot[T]:
            answer = endpoint.request(*path, method="get", params=dict(params))
            return Snapshot(next_index(index, answer.headers.get("X-Nomad-Index")), parse(answer.json()))

        return self._transport.read(operation, send, wait=wait if index > 0 else 0.0)

    def _segment(self, operation: str, identifier: str) -> str:
        """``identifier`` as one segment of a path; an empty one would ask another endpoint."""
        if not identifier:
            raise InvalidRequestError("nomad", operation, self.address, "the id is empty")
        if identifier in (".", ".."):
            raise InvalidRequestError("nomad", operation, self.address, f"{identifier} cannot stand in a path")
        return quote(identifier, safe="")


def rows(parse: Callable[[Mapping[str, Any]], T]) -> Callable[[Any], tuple[T, ...]]:
    """A parser for a JSON list (null counts as empty) from the parser of one row."""

    def parse_rows(body: Any) -> tuple[T, ...]:
        if body is not None and not isinstance(body, list):
            raise TypeError("a list was expected")
        return tuple(parse(row) for row in body or ())

    return parse_rows


def absent(read: Callable[[], T]) -> T | None:
    """The answer of ``read``, or None when there is no such object."""
    try:
        return read()
    except NotFoundError:
        return None
