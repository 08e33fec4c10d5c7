"""A local port -> a service in the mesh: every connection is carried on by mutual TLS to an instance.

Bytes are passed on as they come, so any protocol can be spoken; who the other side is has been proved before the
first one is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import threading
from collections.abc import Callable

from msgspec import Struct

from hms_nomad.clients.errors import DeniedError, InvalidRequestError, ServerError, UnavailableError
from hms_nomad.clients.http_call import Target, identity_of

_CHUNK = 65536
_CONNECT_SECONDS = 5.0


class Way(Struct, frozen=True):
    """Where a new connection is carried to, the first that answers, and with which TLS settings."""

    targets: tuple[Target, ...]
    context: ssl.SSLContext


class Carried(Struct, frozen=True):
    """A connection that was opened (``peer`` is the SPIFFE id at its other end), or why it was not (``failure``)."""

    instance: str
    peer: str
    failure: str = ""


def forward(
    port: int, way: Callable[[], Way], listening: Callable[[int], None], carried: Callable[[Carried], None]
) -> None:
    """Listen on ``port`` of 127.0.0.1 (0: any free one) until SIGINT or SIGTERM; carry each connection into the mesh.

    ``way`` is asked anew for each connection, so instances and certificates may change meanwhile. ``listening`` is told
    the port once it is open. Raises InvalidRequestError when the port cannot be had.
    """
    asyncio.run(_serve(port, way, listening, carried))


async def _serve(
    port: int, way: Callable[[], Way], listening: Callable[[int], None], carried: Callable[[Carried], None]
) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _carry(reader, writer, way, carried)
        except ServerError as error:
            carried(Carried("", "", str(error)))
        except asyncio.CancelledError:
            # The command ends; asyncio would report a connection that ends with it as an error of ours.
            return
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(accept, "127.0.0.1", port)
    except OSError as error:
        raise InvalidRequestError("this machine", "listen", f"127.0.0.1:{port}", error.strerror or str(error)) from None
    listening(server.sockets[0].getsockname()[1])
    ended = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    try:
        await ended.wait()
    finally:
        server.close()


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    way: Callable[[], Way],
    carried: Callable[[Carried], None],
) -> None:
    chosen = await asyncio.to_thread(way)
    far_reader, far_writer, target = await _open(chosen)
    carried(Carried(f"{target.host}:{target.port}", target.identity))
    pumps = [asyncio.create_task(_pump(reader, far_writer)), asyncio.create_task(_pump(far_reader, writer))]
    try:
        # TLS knows no half-closed connection: when one side has said all, the other's rest is awaited, then both end.
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        if pumps[0].done():
            await asyncio.wait(pumps, timeout=_CONNECT_SECONDS)
    finally:
        for pump in pumps:
            pump.cancel()
        far_writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await far_writer.wait_closed()


async def _open(way: Way) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Target]:
    """A connection to the first target that can be reached and proves who it is."""
    failure: ServerError = UnavailableError("the service", "open a connection", "the mesh", "it has no instance")
    for target in way.targets:
        address = f"{target.host}:{target.port}"
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(
                    target.host, target.port, ssl=way.context, server_hostname=target.server_name, limit=_CHUNK
                ),
                _CONNECT_SECONDS,
            )
        except (OSError, TimeoutError) as error:
            failure = UnavailableError(target.name, "open a connection", address, str(error) or "no answer in time")
            continue
        shown = identity_of(writer.get_extra_info("ssl_object"))
        if shown == target.identity:
            return reader, writer, target
        writer.close()
        failure = DeniedError(target.name, "open a connection", address, f"it is {shown}, not {target.identity}")
    raise failure


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
