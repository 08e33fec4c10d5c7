"""One guarded HTTP session per server, which python-nomad, python-consul2 and hvac all send through.

The libraries disagree on time limits, certificate checks, redirects and errors; here every call gets the same ones,
whatever a library passes. Nothing is read from the environment: no proxies, no other authorities, no netrc.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from threading import BoundedSemaphore
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import requests
from msgspec import Struct
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidJSONError
from urllib3.exceptions import HTTPError

from hms_nomad.clients.broken import broken
from hms_nomad.clients.classify import Request, classify, lost_answer, not_sent
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.direct import DirectCalls
from hms_nomad.clients.errors import ConflictError, ServerError, UnavailableError, UnknownOutcomeError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

_FIRST_BACKOFF_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 5.0
_LONGEST_ERROR_BODY = 65536
_CONNECTIONS = 16
# Blocking queries and streams, one a service that waits and eight of a fleet at most, need the other connections.
_SMALL_CALLS_AT_ONCE = 12
_ANY_STATUS = frozenset(range(300, 600))


class _Call(Struct, frozen=True):
    request: Request
    read_timeout: float
    accepted: frozenset[int]


_CURRENT: ContextVar[_Call] = ContextVar("hms_nomad_current_call")
_PERMIT: ContextVar[Callable[[str], None] | None] = ContextVar("hms_nomad_write_permit", default=None)


@contextmanager
def before_writes(permit: Callable[[str], None]) -> Iterator[None]:
    """Inside, ``permit`` hears of each write's operation before it is sent by this thread, and may raise to forbid it.

    What ``permit`` itself writes is not asked for.
    """
    mark = _PERMIT.set(permit)
    try:
        yield
    finally:
        _PERMIT.reset(mark)


def ask_permit(operation: str) -> None:
    """Tell the ``permit`` of this thread, where there is one, of a write that is about to be sent."""
    permit = _PERMIT.get()
    if permit is not None:
        mark = _PERMIT.set(None)
        try:
            permit(operation)
        finally:
            _PERMIT.reset(mark)


def nothing_settled() -> None:
    """For writes that are the same when they are done twice: after a lost answer they are simply sent again."""


def blocking_timeout(read_timeout: float, wait: float) -> float:
    """Seconds to wait for the answer of a blocking query: servers add up to 1/16 to ``wait`` so as to spread load.

    With a ``wait`` of 0 it is an ordinary question.
    """
    return max(read_timeout, wait * 17 / 16 + 5) if wait > 0 else read_timeout


def backoff(attempt: int) -> float:
    """Seconds before try number ``attempt`` (from 1): full jitter below a ceiling that doubles from 0.2 to 5."""
    ceiling = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt, 10))
    return random.uniform(_FIRST_BACKOFF_SECONDS / 2, ceiling)  # noqa: S311 - spreads load, guards nothing


class Transport:
    """Sends for one server: names the operation, sets the limits, classifies what comes back, and retries reads."""

    def __init__(self, server: str, connection: Connection, token_header: str, params: Mapping[str, str]) -> None:
        """``params`` are sent with every request; the token travels in ``token_header`` and nowhere else."""
        self.server = server
        self.connection = connection
        self.session = _GuardedSession(connection, params)
        self._small_calls = BoundedSemaphore(_SMALL_CALLS_AT_ONCE)
        self._token_header = token_header
        self.session.headers.update(self.token_headers())

    def token_headers(self) -> dict[str, str]:
        """The header that carries the token, for what is not sent through the session; empty without a token."""
        return {self._token_header: self.connection.token} if self.connection.token else {}

    def __repr__(self) -> str:
        return f"Transport({self.server} at {self.connection.address})"

    def read(
        self,
        operation: str,
        send: Callable[[], T],
        *,
        wait: float = 0.0,
        retry: bool = True,
        accepted: frozenset[int] = frozenset(),
    ) -> T:
        """Run ``send``, which asks through the session and changes nothing; try again while the fault is transient.

        ``wait`` is that of a blocking query in seconds; statuses in ``accepted`` are answers, not errors.
        Raises the errors of ``hms_nomad.clients.errors``.
        """
        if not retry or self.connection.retry_seconds <= 0:
            return self._once(operation, send, write=False, wait=wait, accepted=accepted)
        return self._repeated(lambda: self._once(operation, send, write=False, wait=wait, accepted=accepted))

    def write(
        self,
        operation: str,
        send: Callable[[], T],
        settled: Callable[[], T | None] | None = None,
        accepted: frozenset[int] = frozenset(),
    ) -> T:
        """Run ``send``, and again where the server said that it did not take the request up.

        When an answer is lost, ``settled`` reads what became of the write: its result when it was done, None when it
        was not and may be sent again. Without ``settled``, and when that cannot be found out, UnknownOutcomeError is
        raised. Statuses in ``accepted`` are answers, not errors.
        """
        ask_permit(operation)
        if self.connection.retry_seconds <= 0:
            return self._once(operation, send, write=True, accepted=accepted)
        attempt = _Write(lambda: self._once(operation, send, write=True, accepted=accepted), settled)
        try:
            return self._repeated(attempt.run)
        except UnavailableError:
            if attempt.lost is not None:
                raise attempt.lost from None
            raise

    def _repeated(self, send: Callable[[], T]) -> T:
        """Try until the fault is none that passes by itself, or time or the command's budget of repetitions is over."""
        began = monotonic()
        try:
            return self._earned(send)
        except ServerError as error:
            if not _may_pass(error):
                raise
            first = error
        return self._again(send, first, monotonic() - began)

    def _again(self, send: Callable[[], T], first: ServerError, spent: float) -> T:
        """Go on after a first failed try that took ``spent`` seconds."""
        # Loaded here, since most commands see no such fault.
        import tenacity

        retries = self.connection.retries
        patience = max(self.connection.retry_seconds, retries.patience_seconds) - spent
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: _may_pass(error) and retries.take()),
            wait=_pause,
            stop=tenacity.stop_before_delay(patience),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise first
                return self._earned(send)
        raise AssertionError("tenacity ends with a result or an error")

    def _earned(self, send: Callable[[], T]) -> T:
        answer = send()
        self.connection.retries.earn()
        return answer

    def clock(self, path: str) -> float:
        """What the server's clock shows, in seconds since 1970, to the second; ``path`` is one that anybody may read.

        Every answer has it (https://www.rfc-editor.org/rfc/rfc9110#name-date). Raises the errors of
        ``hms_nomad.clients.errors``.
        """
        with self.calling("read its clock", write=False, accepted=_ANY_STATUS):
            answer = self.session.get(f"{self.connection.address}{path}")
            return parsedate_to_datetime(answer.headers["Date"]).timestamp()

    def request(self, operation: str, *, write: bool) -> Request:
        """The description of an operation, for errors that are made outside a call."""
        return Request(self.server, operation, self.connection.address, write)

    @contextmanager
    def calling(
        self, operation: str, *, write: bool, read_timeout: float | None = None, accepted: frozenset[int] = frozenset()
    ) -> Iterator[None]:
        """Everything sent inside belongs to ``operation``; statuses in ``accepted`` are answers, not errors."""
        request = self.request(operation, write=write)
        mark = _CURRENT.set(_Call(request, read_timeout or self.connection.read_timeout, accepted))
        try:
            yield
        except ServerError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, requests.RequestException) as error:
            # The answer was no JSON, or JSON of another shape: a proxy's page, or a body that was cut.
            raise lost_answer(request, f"the answer cannot be read ({type(error).__name__})") from None
        finally:
            _CURRENT.reset(mark)

    def _once(
        self,
        operation: str,
        send: Callable[[], T],
        *,
        write: bool,
        wait: float = 0.0,
        accepted: frozenset[int] = frozenset(),
    ) -> T:
        timeout = blocking_timeout(self.connection.read_timeout, wait)
        # Threads of a fleet that all begin at once take turns, so that a server sees few connections of one command.
        small = wait == 0 and _CURRENT.get(None) is None
        with (
            self._small_calls if small else nullcontext(),
            self.calling(operation, write=write, read_timeout=timeout, accepted=accepted),
        ):
            return send()


class _Write(Generic[T]):
    """One write over its tries; ``lost`` is the error of a try whose answer was lost, until what became of it is known.

    Writes compare and set, so a try that arrives late can at worst make the next one lose to it.
    """

    def __init__(self, send: Callable[[], T], settled: Callable[[], T | None] | None) -> None:
        self._send = send
        self._settled = settled
        self.lost: UnknownOutcomeError | None = None

    def run(self) -> T:
        """The next try, or what became of the one before."""
        if self.lost is not None and (found := self._look()) is not None:
            return found
        try:
            return self._send()
        except UnknownOutcomeError as error:
            if self._settled is not None:
                self.lost = error
                error.repeatable = True
            raise
        except ConflictError:
            if self.lost is not None and (found := self._look()) is not None:
                return found
            raise

    def _look(self) -> T | None:
        return self._settled() if self._settled is not None else None


def _may_pass(error: BaseException) -> bool:
    """A try again may end well: the server was busy, or a write can be looked up and sent again."""
    if isinstance(error, UnknownOutcomeError):
        return error.repeatable
    return isinstance(error, UnavailableError) and error.transient


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    wished = error.retry_after if isinstance(error, UnavailableError) else None
    return max(wished or 0.0, backoff(state.attempt_number))


class _GuardedSession(requests.Session):
    """Overrules what the libraries pass for certificates, time limits and redirects, and raises only our errors."""

    def __init__(self, connection: Connection, params: Mapping[str, str]) -> None:
        super().__init__()
        self.trust_env = False
        self.params = self._params = dict(params)
        self._connection = connection
        # A server that answered once is there: when it refuses a connection later on, it is being restarted.
        self.reached = False
        self.headers["User-Agent"] = "hms-nomad"
        adapter = _Adapter(connection.tls_server_name)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self._direct = DirectCalls(connection, adapter)

    def __repr__(self) -> str:
        return f"_GuardedSession({self._connection.address})"

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        json: Any = None,
        **more: Any,
    ) -> requests.Response:
        """Send a small request straight on, any other one by all the ways of requests."""
        if not self._direct.takes(url, params, data, more):
            return super().request(method, url, params=params, data=data, headers=headers, json=json, **more)
        call = _CURRENT.get()
        query, sent = {**self._params, **(params or {})}, {**self.headers, **(headers or {})}
        try:
            response = self._direct.send(method, url, query, sent, data, json, call.read_timeout)
        except InvalidJSONError as error:
            raise not_sent(call.request, f"the request cannot be made ({type(error).__name__})") from None
        except (OSError, HTTPError) as error:
            raise broken(call.request, error, self._connection, reached=self.reached) from None
        for hook in self.hooks["response"]:
            hook(response)
        return self._judged(call, response, streamed=False)

    def close(self) -> None:
        """Close the idle connections; the session can be used again."""
        self._direct.close()
        super().close()

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """What cannot be put into a request was never sent (requests' own texts repeat headers, so they are left out).

        python-nomad and hvac would turn requests' error into one of theirs.
        """
        try:
            return super().prepare_request(request)
        except (requests.RequestException, UnicodeError) as error:
            raise not_sent(_CURRENT.get().request, f"the request cannot be made ({type(error).__name__})") from None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request of the current operation (requests calls this for every method)."""
        call = _CURRENT.get()
        kwargs |= {
            "timeout": (self._connection.connect_timeout, call.read_timeout),
            "verify": self._connection.verify,
            "cert": self._connection.certificate,
            # A redirect would carry the token to a host that nobody configured.
            "allow_redirects": False,
            "proxies": {},
        }
        try:
            response = super().send(request, **kwargs)
            return self._judged(call, response, streamed=bool(kwargs.get("stream")))
        except (OSError, HTTPError) as error:
            # requests' errors are OSErrors; a plain one is a certificate's file that is gone by now.
            raise broken(call.request, error, self._connection, reached=self.reached) from None

    def _judged(self, call: _Call, response: requests.Response, *, streamed: bool) -> requests.Response:
        self.reached = True
        if response.status_code < 300 or response.status_code in call.accepted:
            return response
        body = _error_body(response, streamed=streamed)
        raise classify(call.request, response.status_code, self._redacted(body), response.headers)

    def _redacted(self, text: str) -> str:
        token = self._connection.token
        return text.replace(token, "(token)") if token else text


class _Adapter(HTTPAdapter):
    """Checks the certificate against the configured name where the address is not the certificate's."""

    def __init__(self, server_name: str | None) -> None:
        self._names: dict[str, Any] = (
            {"server_hostname": server_name, "assert_hostname": server_name} if server_name else {}
        )
        super().__init__(pool_connections=1, pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **(kwargs | self._names))


def _error_body(response: requests.Response, *, streamed: bool) -> str:
    if not streamed:
        return response.content[:_LONGEST_ERROR_BODY].decode("utf-8", "replace")
    with response:
        return next(response.iter_content(_LONGEST_ERROR_BODY), b"").decode("utf-8", "replace")
