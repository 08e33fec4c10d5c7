"""A small request -> its answer, straight over the connections that requests keeps.

requests prepares each request anew and merges into it what is the same for all of them. For the small calls of an API
that took more processor time than everything else that a client does for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as BrokenConnection
from requests.exceptions import ConnectTimeout, InvalidJSONError, ReadTimeout
from requests.exceptions import SSLError as BrokenTls
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import Timeout
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from hms_nomad.clients.connection import Connection
from hms_nomad.patterns import lazy_pattern

_PLAIN_URL = lazy_pattern(r"(?:[A-Za-z0-9/:?=&%_~+,;@!$'()*\[\]-]|(?<!/)\.)+")
"""An address in which nothing has to be quoted, and no segment begins with a dot."""


class DirectCalls:
    """The small calls of one session to the address of its connection."""

    def __init__(self, connection: Connection, adapter: HTTPAdapter) -> None:
        """``adapter`` keeps the connections."""
        self._connection = connection
        self._adapter = adapter
        self._prefix = f"{connection.address}/"
        self._base = urlsplit(connection.address).path
        self._pool: Any = None

    def takes(self, url: str, params: Any, data: Any, more: Mapping[str, Any]) -> bool:
        """Whether a request is a small one; ``more`` are its other arguments, as requests names them."""
        if any(more.get(name) for name in ("stream", "files", "auth", "cookies", "hooks")):
            return False
        return (
            url.startswith(self._prefix)
            and isinstance(params or {}, dict)
            and (data is None or isinstance(data, str | bytes))
            and _PLAIN_URL.fullmatch(url) is not None
        )

    def send(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any],
        headers: Mapping[str, Any],
        body: str | bytes | None,
        document: Any,
        read_timeout: float,
    ) -> requests.Response:
        """Send a request that ``takes`` agreed to; ``document`` becomes a JSON body where there is no other.

        Raises the exceptions of requests.
        """
        sent = {name: value for name, value in headers.items() if value is not None}
        if document is not None and not body:
            try:
                body = json.dumps(document, allow_nan=False)
            except ValueError as error:
                raise InvalidJSONError(error) from None
            sent.setdefault("Content-Type", "application/json")
        query = urlencode({name: value for name, value in params.items() if value is not None}, doseq=True)
        path = self._base + url[len(self._prefix) - 1 :]
        if query:
            path += ("&" if "?" in path else "?") + query
        answer = self._sent(method, path, body.encode() if isinstance(body, str) else body, sent, read_timeout)
        response = requests.Response()
        response.url, response.status_code, response.reason = url, answer.status, answer.reason
        response.headers = CaseInsensitiveDict(answer.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response._content = answer.data  # noqa: SLF001 - what reading it would set
        return response

    def close(self) -> None:
        """Forget the connections, which the adapter closes."""
        self._pool = None

    def _sent(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], read_timeout: float) -> Any:
        """The answer with its body; faults in the words of requests, as its adapter tells them."""
        try:
            return self._connections().urlopen(
                method.upper(),
                path,
                body=body or None,
                headers=headers,
                redirect=False,
                assert_same_host=False,
                retries=self._adapter.max_retries,
                timeout=Timeout(connect=self._connection.connect_timeout, read=read_timeout),
            )
        except MaxRetryError as error:
            reason = error.reason
            if isinstance(reason, ConnectTimeoutError) and not isinstance(reason, NewConnectionError):
                raise ConnectTimeout(error) from None
            raise (BrokenTls(error) if isinstance(reason, SSLError) else BrokenConnection(error)) from None
        except SSLError as error:
            raise BrokenTls(error) from None
        except ReadTimeoutError as error:
            raise ReadTimeout(error) from None
        except (ProtocolError, ClosedPoolError) as error:
            raise BrokenConnection(error) from None

    def _connections(self) -> Any:
        where, pool = self._connection, self._pool
        if pool is None:
            some = requests.PreparedRequest()
            some.method, some.url = "GET", self._prefix
            pool = self._adapter.get_connection_with_tls_context(some, where.verify, cert=where.certificate)
            self._pool = pool
        if where.secure:
            # Raises OSError for a file that is gone by now.
            self._adapter.cert_verify(pool, self._prefix, where.verify, where.certificate)  # type: ignore[no-untyped-call]
        return pool
