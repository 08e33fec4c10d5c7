"""An answer that is still being written -> its bytes as they come, each read with a limit of its own.

``requests`` reads an answer without a length and without chunks to its end before it hands out anything, and Nomad's
event stream is such an answer without an end; besides, it knows only the time limit that the connection began with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from hms_nomad.clients.broken import broken
from hms_nomad.clients.classify import Request
from hms_nomad.clients.connection import Connection

# A compressed stream would be held back until the compressor has enough.
UNCOMPRESSED = {"Accept-Encoding": "identity"}
# With a size given, urllib3 notices an answer that ends before its declared length.
_LARGEST_PIECE = 65536


def arriving(
    response: requests.Response, request: Request, connection: Connection, silence: Callable[[], float]
) -> Iterator[bytes]:
    """The bytes of an answer that was asked for with ``stream=True``, as they come.

    ``silence`` says before each read how many seconds may pass without a byte; what it raises goes through. Raises
    UnavailableError when the connection breaks or is silent for longer.
    """
    while True:
        _limit(response, silence())
        try:
            data = response.raw.read1(_LARGEST_PIECE, decode_content=True)
        except HTTPError as error:
            raise broken(request, error, connection) from None
        if not data:
            return
        yield data


def _limit(response: requests.Response, seconds: float) -> None:
    """Let the next read of the socket end after ``seconds``; http.client keeps the socket inside its reader."""
    reader: Any = getattr(getattr(response.raw, "_fp", None), "fp", None)
    socket: Any = getattr(getattr(reader, "raw", None), "_sock", None)
    if socket is not None:
        socket.settimeout(max(seconds, 0.001))
