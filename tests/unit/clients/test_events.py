"""The event stream from a server that breaks off, repeats itself, falls silent, or says something else."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.clients import nomad_events
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import DeadlineExceededError, DeniedError, UnavailableError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_events import EventReader
from hms_nomad.clients.nomad_types import Event
from tests.certificates import Authority
from tests.wire import Answer, Wire

HEARTBEAT = b"{}\n"
SILENCE = b""
TOPICS = {"Job": ["web"]}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nomad_events, "backoff", lambda _: 0.0)


def _line(index: int, *keys: str) -> bytes:
    events = [{"Topic": "Job", "Type": "JobRegistered", "Key": key, "Payload": {"Job": {}}} for key in keys or ("web",)]
    return json.dumps({"Index": index, "Events": events}).encode() + b"\n"


def _stream(*parts: bytes) -> Answer:
    return Answer(parts=parts)


def _events(wire: Wire, seconds: float | None = 30.0, index: int = 0, **fields: Any) -> Iterator[Event]:
    client = NomadClient(Connection(wire.address, **{"retry_seconds": 0.3, **fields}))
    return client.events(TOPICS, index=index, deadline=None if seconds is None else time.monotonic() + seconds)


def _indexes(events: Iterator[Event], count: int) -> list[int]:
    return [event.index for event in itertools.islice(events, count)]


def test_events_are_handed_out_as_they_come() -> None:
    with Wire(_stream(HEARTBEAT, _line(7), HEARTBEAT, _line(8, "web", "web"), SILENCE)) as wire:
        assert _indexes(_events(wire), 3) == [7, 8, 8]
        assert "topic=Job%3Aweb" in wire.questions[0].path
        assert wire.questions[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_lines_that_come_in_pieces_are_put_together(size: int) -> None:
    whole = HEARTBEAT + _line(7) + _line(8)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    with Wire(_stream(*pieces, SILENCE)) as wire:
        assert _indexes(_events(wire), 2) == [7, 8]


def test_a_broken_stream_is_taken_up_after_the_last_event() -> None:
    first = _stream(HEARTBEAT, _line(7), _line(8), _line(9)[:20])
    again = _stream(HEARTBEAT, _line(7), _line(8), _line(9), _line(10), SILENCE)
    faults = [Answer(status=500, body="No cluster leader"), Answer(drop=True)]
    with Wire(first, Answer(body="[]"), *faults, again) as wire:
        assert _indexes(_events(wire), 4) == [7, 8, 9, 10]
        streams = [question.path for question in wire.questions if "/event/stream" in question.path]
        assert "index=0" in streams[0]
        assert all("index=9" in path for path in streams[1:])
        assert len(streams) == 4


def test_a_server_that_begins_too_early_is_not_heard_twice() -> None:
    with Wire(_stream(HEARTBEAT, _line(3), _line(50), _line(51), SILENCE)) as wire:
        assert _indexes(_events(wire, index=50), 2) == [50, 51]


@pytest.mark.parametrize("junk", [b"not json\n", b"[]\n", b'"text"\n', b"\xff\xfe\n"])
def test_a_line_that_is_no_event_breaks_the_stream(junk: bytes) -> None:
    with Wire(_stream(HEARTBEAT, _line(7), junk, _line(8)), _stream(HEARTBEAT, _line(8), SILENCE)) as wire:
        assert _indexes(_events(wire), 2) == [7, 8]
        assert len(wire.questions) == 2


def test_without_a_deadline_the_servers_may_stay_away_only_so_long() -> None:
    with Wire(_stream(HEARTBEAT, _line(7)), Answer(status=500, body="No cluster leader")) as wire:
        events = _events(wire, seconds=None)
        assert next(events).index == 7

        with pytest.raises(UnavailableError, match="No cluster leader"):
            next(events)
        assert len(wire.questions) > 2


def test_a_server_that_was_never_reached_is_not_waited_for() -> None:
    with Wire(Answer()) as wire:
        closed = wire.address

    with pytest.raises(UnavailableError, match="Connection refused"):
        next(NomadClient(Connection(closed)).events(TOPICS, deadline=time.monotonic() + 60))


def test_what_makes_another_try_useless_is_raised_at_once() -> None:
    with Wire(Answer(status=403, body="Permission denied")) as wire:
        with pytest.raises(DeniedError):
            next(_events(wire))
        assert len(wire.questions) == 1


def test_silence_instead_of_a_first_word_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nomad answers 200 and nothing more where the token may not read the events."""
    monkeypatch.setattr(nomad_events, "_FIRST_WORD_SECONDS", 0.2)
    with Wire(_stream(SILENCE), Answer(status=403, body="Permission denied")) as wire:
        with pytest.raises(DeniedError):
            next(_events(wire))
        assert wire.questions[1].path.startswith("/v1/jobs")


def test_a_stream_that_the_server_ends_is_looked_into_even_after_a_heartbeat() -> None:
    with Wire(_stream(HEARTBEAT), Answer(status=403, body="Permission denied")) as wire:
        with pytest.raises(DeniedError):
            next(_events(wire, seconds=None))
        assert wire.questions[1].path.startswith("/v1/jobs")


def test_silence_with_the_right_to_read_is_taken_for_a_broken_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nomad_events, "_FIRST_WORD_SECONDS", 0.2)
    with Wire(_stream(SILENCE), Answer(body="[]"), _stream(HEARTBEAT, _line(7), SILENCE)) as wire:
        assert _indexes(_events(wire), 1) == [7]


def test_a_stream_that_falls_silent_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nomad_events, "_SILENCE_SECONDS", 0.2)
    with Wire(_stream(HEARTBEAT, _line(7), SILENCE), _stream(HEARTBEAT, _line(8), SILENCE)) as wire:
        assert _indexes(_events(wire), 2) == [7, 8]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_deadline_that_comes_near_shortens_the_next_read(secure: bool, tmp_path: Path) -> None:
    """The connection began with 30 s to wait; a read that begins just before the deadline must not take them."""
    authority = Authority(tmp_path / "ca")
    trust = {"ca_file": authority.file} if secure else {}
    moments = [0.0]
    with Wire(_stream(HEARTBEAT, _line(7), SILENCE), certificate=authority.issue("server") if secure else None) as wire:
        client = NomadClient(Connection(wire.address, **trust))
        reader = EventReader(
            client._transport,
            client._event.stream,
            TOPICS,
            deadline=1000.0,
            clock=lambda: moments.pop(0) if len(moments) > 1 else moments[0],
        )
        events = reader.read()
        assert next(events).index == 7
        moments[:] = [999.8, 1000.1]

        with pytest.raises(DeadlineExceededError, match="in time"):
            next(events)
