"""A command in a running task: what is typed goes in, what it writes comes out, and its exit code ends it.

Nomad speaks of this over a WebSocket, in JSON: pieces of stdin and sizes of the terminal one way, pieces of stdout and
stderr and at last the exit code the other way. A refusal comes as the reason with which the connection is closed.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from msgspec import Struct

from hms_nomad.clients.broken import broken_socket
from hms_nomad.clients.classify import Request, classify, lost_answer, not_sent
from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.transport import Transport

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_LARGEST_MESSAGE = 4 * 1024 * 1024
_REFUSED = 500
"""The status that stands for a refusal: like those that Nomad answers with 500, its text decides what it is."""


class Typed(Struct, frozen=True):
    """Something for the command's stdin; nothing (``b""``) is its end."""

    data: bytes


class Resized(Struct, frozen=True):
    """The terminal has this many rows and columns from now on."""

    rows: int
    columns: int


class TaskCommand(Struct, frozen=True):
    """What runs where: the words of a command in a task of an allocation, with a terminal of its own if ``tty``."""

    allocation: str
    task: str
    words: tuple[str, ...]
    tty: bool = False

    @property
    def operation(self) -> str:
        """In words, for errors. The command's own words stay out: one may be a password."""
        return f"run a command in task {self.task} of allocation {self.allocation[:8]}"


def run_in_task(
    transport: Transport,
    path: str,
    params: dict[str, str],
    command: TaskCommand,
    incoming: Iterable[Typed | Resized],
    wrote: Callable[[str, bytes], None],
) -> int:
    """Run a command and answer its exit code; ``path`` and ``params`` are those of the call.

    ``incoming`` is read by a thread of its own until it ends or the command does. ``wrote`` hears of each piece of
    "stdout" or "stderr". Raises the errors of ``hms_nomad.clients.errors``, UnknownOutcomeError where the connection
    ends before the command.
    """
    request = transport.request(command.operation, write=True)
    query = params | {"task": command.task, "tty": json.dumps(command.tty), "command": json.dumps(command.words)}
    socket = transport.write(command.operation, lambda: _opened(request, transport, f"{path}?{urlencode(query)}"))
    with socket:
        threading.Thread(target=_send, args=(socket, incoming), daemon=True).start()
        return _received(socket, request, wrote)


def _opened(request: Request, transport: Transport, path: str) -> ClientConnection:
    """The connection, once the server has agreed to it; the command may have begun then."""
    # Loaded here: it takes 60 ms, and no other command needs it.
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
    from websockets.sync.client import connect

    connection = transport.connection
    options: dict[str, Any] = {"server_hostname": connection.tls_server_name} if connection.tls_server_name else {}
    try:
        if connection.secure:
            options["ssl"] = connection.tls()
        opened = connect(
            f"ws{connection.address.removeprefix('http')}{path}",
            **options,
            additional_headers=transport.token_headers(),
            user_agent_header="hms-nomad",
            compression=None,
            proxy=None,
            open_timeout=connection.connect_timeout + connection.read_timeout,
            max_size=_LARGEST_MESSAGE,
        )
    except InvalidStatus as error:
        answer = error.response
        body = bytes(answer.body or b"").decode("utf-8", "replace")
        raise classify(request, answer.status_code, body, dict(answer.headers.raw_items())) from None
    except InvalidMessage:
        raise lost_answer(request, "the answer cannot be read") from None
    except InvalidHandshake as error:
        raise not_sent(request, f"it takes no commands over a WebSocket ({type(error).__name__})") from None
    except ConnectionClosed as error:
        # In TLS 1.3 a server refuses our certificate only when the first bytes have gone out.
        if isinstance(error.__cause__, OSError):
            raise broken_socket(request, error.__cause__, connection) from None
        raise lost_answer(request, "the connection broke") from None
    except OSError as error:
        raise broken_socket(request, error, connection) from None
    return cast("ClientConnection", opened)


def _send(socket: ClientConnection, incoming: Iterable[Typed | Resized]) -> None:
    """Send what is typed, as it comes; where the connection has ended, whoever receives says so."""
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed):
        for one in incoming:
            socket.send(json.dumps(_message(one)))


def _message(one: Typed | Resized) -> dict[str, Any]:
    if isinstance(one, Resized):
        return {"tty_size": {"height": one.rows, "width": one.columns}}
    if not one.data:
        return {"stdin": {"close": True}}
    return {"stdin": {"data": base64.b64encode(one.data).decode()}}


def _received(socket: ClientConnection, request: Request, wrote: Callable[[str, bytes], None]) -> int:
    """Hand out what the command writes until its exit code comes."""
    from websockets.exceptions import ConnectionClosed

    while True:
        try:
            frame = json.loads(socket.recv())
            for stream in ("stdout", "stderr"):
                if data := (frame.get(stream) or {}).get("data"):
                    wrote(stream, base64.b64decode(data, validate=True))
            if frame.get("exited"):
                return int((frame.get("result") or {}).get("exit_code") or 0)
        except ConnectionClosed as end:
            raise _ended(request, end.rcvd.reason if end.rcvd else "") from None
        except (ValueError, TypeError, AttributeError):
            raise lost_answer(request, "what the command wrote cannot be read") from None


def _ended(request: Request, reason: str) -> ServerError:
    """Why no exit code came: the server's reason to refuse, or a connection that broke."""
    if reason:
        return classify(request, _REFUSED, reason, {})
    return lost_answer(request, "the connection ended before the command did")
