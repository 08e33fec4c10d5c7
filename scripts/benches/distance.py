"""A server and a time -> a port behind which the server seems that far away."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue


@contextlib.contextmanager
def far_away(port: int, round_trip: float) -> Iterator[int]:
    """A port of 127.0.0.1 that leads to ``port``; an answer comes ``round_trip`` seconds later than it would.

    Opening a connection takes one round trip too, as over a real distance.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    opened: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                opened.extend((near, far))
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _start(near, far, round_trip / 2, round_trip)
                _start(far, near, round_trip / 2, 0.0)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for sock in (listener, *opened):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def _start(source: socket.socket, sink: socket.socket, delay: float, first: float) -> None:
    """Pass on what ``source`` sends, each piece ``delay`` seconds later, and the first one ``first`` more."""
    pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def read() -> None:
        more = first
        data = b"x"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            pieces.put((time.monotonic() + delay + more, data))
            more = 0.0

    def write() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)

    for work in (read, write):
        threading.Thread(target=work, daemon=True).start()
