"""Every fault of a server, classified once by status and text, so that callers decide by type alone."""

from __future__ import annotations


class ServerError(Exception):
    """A server refused, failed or could not be reached.

    ``server`` is "nomad", "consul" or "vault"; ``operation`` says in words what was asked ("read job receipt-svc");
    ``address`` is the URL that was called; ``detail`` is the server's own text; ``status`` the HTTP status, if any.
    """

    def __init__(self, server: str, operation: str, address: str, detail: str, status: int | None = None) -> None:
        super().__init__(f"{server} at {address}: cannot {operation}: {detail}")
        self.server = server
        self.operation = operation
        self.address = address
        self.detail = detail
        self.status = status


class ConflictError(ServerError):
    """The object changed since its index was read; read again and decide anew."""


class InvalidRequestError(ServerError):
    """The server understood and refused the content; sending it again changes nothing."""


class DeniedError(ServerError):
    """The token lacks a right."""


class NotFoundError(ServerError):
    """The object does not exist (raised only where absence is not an ordinary answer)."""


class UnavailableError(ServerError):
    """Nothing was changed: refused connection, no leader, 429, 502-504, or a timeout of a read.

    ``transient`` says that the same read may succeed in a moment (an election, a busy server, the restart of a server
    that this client reached before); a server that was never reached or a certificate that is not trusted is not
    transient. ``retry_after`` is the server's own wish in seconds.
    """

    def __init__(
        self,
        server: str,
        operation: str,
        address: str,
        detail: str,
        status: int | None = None,
        *,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(server, operation, address, detail, status)
        self.transient = transient
        self.retry_after = retry_after


class UnknownOutcomeError(ServerError):
    """A write was sent and its answer was lost; read back before writing again.

    ``repeatable`` says that the client itself knows how to do that, and does so while there is time.
    """

    repeatable = False


class DeadlineExceededError(TimeoutError):
    """What was waited for did not come in time; the text says what was missing."""
