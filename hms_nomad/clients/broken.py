"""A connection that failed or broke -> one of our errors, told apart by whether the request can have arrived."""

from __future__ import annotations

import http.client
import socket
import ssl

import requests
from urllib3.exceptions import (
    HTTPError,
    IncompleteRead,
    InvalidChunkLength,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

from hms_nomad.clients.classify import Request, lost_answer, not_sent
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import ServerError

_CUT_SHORT = (http.client.IncompleteRead, IncompleteRead, InvalidChunkLength)
_BROKEN = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    HTTPError,
)


def broken(  # noqa: PLR0911
    request: Request, error: Exception, connection: Connection, *, reached: bool = True
) -> ServerError:
    """The error for a connection that failed or broke, told apart by whether the request can have arrived.

    ``reached`` says that the server answered an earlier request.
    """
    if isinstance(error, requests.exceptions.SSLError):
        return _broken_tls(request, _innermost(error))
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return not_sent(request, f"no connection within {connection.connect_timeout:g} s", transient=reached)
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(reason, NameResolutionError):
        return not_sent(request, "the host name cannot be resolved")
    if isinstance(reason, NewConnectionError):
        return not_sent(request, f"no connection: {_innermost(reason)}", transient=reached)
    if isinstance(error, LocationValueError):
        return not_sent(request, "the host name cannot be resolved")
    if isinstance(error, requests.exceptions.ReadTimeout | ReadTimeoutError):
        return lost_answer(request, "connected, but no answer in time")
    if isinstance(error, _BROKEN):
        return lost_answer(request, f"the connection broke: {_innermost(error)}")
    return not_sent(request, f"the request cannot be made ({type(error).__name__})")


def broken_socket(request: Request, error: OSError, connection: Connection, *, reached: bool = True) -> ServerError:
    """The same for a connection that was opened without requests, before anything was sent over it."""
    if isinstance(error, ssl.SSLError):
        return _broken_tls(request, _innermost(error))
    if isinstance(error, socket.gaierror):
        return not_sent(request, "the host name cannot be resolved")
    if isinstance(error, TimeoutError):
        return not_sent(request, f"no connection within {connection.connect_timeout:g} s", transient=reached)
    return not_sent(request, f"no connection: {_innermost(error)}", transient=reached)


def _broken_tls(request: Request, words: str) -> ServerError:
    """TLS fails before the request is sent, or the server refuses our certificate before it looks at the request."""
    lower = words.lower()
    if "alert" in lower and ("certificate" in lower or "unknown ca" in lower):
        return not_sent(request, f"it refuses our client certificate, or wants one: {words}")
    if "certificate" in lower or "hostname" in lower:
        return not_sent(request, f"its certificate is not trusted: {words}")
    if "wrong version number" in lower or "record layer failure" in lower or "http request" in lower:
        return not_sent(request, "it does not speak https; is http meant?")
    if "handshake" in lower or "protocol version" in lower or "no protocols" in lower:
        return not_sent(request, f"no encryption could be agreed on: {words}")
    return lost_answer(request, f"the encrypted connection broke: {words}")


def _innermost(error: BaseException) -> str:
    """The operating system's or OpenSSL's own words, without the layers of library names around them."""
    seen: BaseException = error
    for _ in range(10):
        if isinstance(seen, _CUT_SHORT):
            return "the answer was cut short"
        inner = getattr(seen, "reason", None)
        nested = [inner, *seen.args, seen.__cause__, seen.__context__]
        below = next((found for found in nested if isinstance(found, BaseException) and found is not seen), None)
        if below is None:
            break
        seen = below
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return str(seen).rsplit(": ", 1)[-1] if str(seen) else type(seen).__name__
