"""Events -> where they are kept: lines of a file, or batches that are sent to an HTTP server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import InvalidRequestError, UnavailableError
from hms_nomad.clients.transport import Transport

BATCH_TYPE = "application/cloudevents-batch+json"
"""How the HTTP binding of CloudEvents calls a list of events
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md, 3.3)."""

_BLOCK = 65536


class Sink(Protocol):
    """Takes events. A call that ends without an error has kept all of them."""

    def deliver(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Keep the events, in their order. Raises the errors of ``hms_nomad.clients.errors``."""


class FileSink:
    """A file that gets one line of JSON an event. What a break cut off in its last line is taken away first."""

    def __init__(self, file: Path) -> None:
        """Raises InvalidRequestError when the file cannot be written."""
        self._file = file
        try:
            with file.open("ab+") as stream:
                stream.truncate(_end_of_lines(stream))
        except OSError as error:
            raise InvalidRequestError("the sink", "write events", str(file), error.strerror or str(error)) from None

    def deliver(self, events: Sequence[Mapping[str, Any]]) -> None:
        """See Sink. The lines are on the disk when this ends; UnavailableError when there is no room for them."""
        lines = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)
        try:
            with self._file.open("ab") as stream:
                stream.truncate(_end_of_lines(stream))
                stream.write(lines)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            detail = error.strerror or str(error)
            raise UnavailableError("the sink", "write events", str(self._file), detail, transient=True) from None


class HttpSink:
    """A server that takes batches of events by POST, and has kept a batch when it answers with a status of 200 to 299.

    Raises the errors of ``hms_nomad.clients.errors``: InvalidRequestError and DeniedError for a batch that it will
    never take, UnavailableError and UnknownOutcomeError for what may pass.
    """

    def __init__(self, url: str, token: str = "", ca_file: str | None = None) -> None:
        """``token`` is sent as a bearer token, over https or to this machine only. Raises InvalidRequestError."""
        connection = Connection(url, token, ca_file=ca_file, retry_seconds=0.0)
        self._transport = Transport("the sink", connection, "Authorization", {})
        if token:
            self._transport.session.headers["Authorization"] = f"Bearer {token}"

    def deliver(self, events: Sequence[Mapping[str, Any]]) -> None:
        """See Sink."""
        body = json.dumps(list(events), ensure_ascii=False).encode()
        headers = {"Content-Type": BATCH_TYPE}
        session, url = self._transport.session, self._transport.connection.address
        self._transport.write(f"deliver {len(events)} events", lambda: session.post(url, data=body, headers=headers))

    def close(self) -> None:
        """Close the idle connection."""
        self._transport.session.close()


def _end_of_lines(stream: Any) -> int:
    """How many bytes of a file are whole lines."""
    end = os.fstat(stream.fileno()).st_size
    with Path(stream.name).open("rb") as reader:
        while end > 0:
            start = max(0, end - _BLOCK)
            reader.seek(start)
            found = reader.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
