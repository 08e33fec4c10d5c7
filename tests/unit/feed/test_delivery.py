"""Checkpoints and sinks: nothing is lost by a break, and nothing comes twice without saying so."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.apply.checkpoint import CheckpointError, open_checkpoint
from hms_nomad.clients.errors import InvalidRequestError, UnavailableError, UnknownOutcomeError
from hms_nomad.clients.event_sink import FileSink, HttpSink
from hms_nomad.workflows.feed.deliver import Delivery
from hms_nomad.workflows.feed.events import Item

ORIGIN = "test/default"


def event(id_: str) -> dict[str, Any]:
    return {"id": id_, "time": "2026-11-25T00:00:00Z", "type": "hms-nomad.test"}


class Sink:
    """Keeps what it is given; raises ``errors`` first, one a call."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.events: list[Mapping[str, Any]] = []

    def deliver(self, events: Sequence[Mapping[str, Any]]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.events += events


def test_what_was_on_its_way_when_a_feed_broke_off_is_sent_again_word_for_word_and_marked(tmp_path: Path) -> None:
    file = tmp_path / "at.json"
    with open_checkpoint(file, ORIGIN) as book:
        broken = Delivery(book, Sink(InvalidRequestError("sink", "x", "x", "killed here")), lambda _: None, None)
        with pytest.raises(InvalidRequestError):
            broken.take([Item("a", 7, event("one")), Item("a", 8, event("two"))])
    with open_checkpoint(file, ORIGIN) as book:
        assert book.positions == {"a": 8}
        sink = Sink()
        delivery = Delivery(book, sink, lambda _: None, None)
        delivery.repeat()
        delivery.take([Item("a", 9, event("three"))])
    assert [(one["id"], one["sequence"], one.get("redelivered")) for one in sink.events] == [
        ("one", "000000000001", True),
        ("two", "000000000002", True),
        ("three", "000000000003", None),
    ]
    with open_checkpoint(file, ORIGIN) as book:
        assert (book.pending, book.positions) == ((), {"a": 9})


def test_a_sink_that_did_not_answer_gets_the_events_again_marked(tmp_path: Path) -> None:
    sink = Sink(UnknownOutcomeError("the sink", "deliver", "x", "the connection broke"))
    with open_checkpoint(tmp_path / "at.json", ORIGIN) as book:
        Delivery(book, sink, lambda _: None, None).take([Item("a", 1, event("one"))])
    assert [one["redelivered"] for one in sink.events] == [True]


def test_a_sink_that_could_not_be_reached_has_seen_nothing(tmp_path: Path) -> None:
    sink, said = Sink(UnavailableError("the sink", "deliver", "x", "Connection refused")), []
    with open_checkpoint(tmp_path / "at.json", ORIGIN) as book:
        Delivery(book, sink, said.append, None).take([Item("a", 1, event("one"))])
    assert "redelivered" not in sink.events[0]
    assert "trying again" in said[0].message


def test_a_sink_that_stays_away_ends_a_feed_that_does_not_follow(tmp_path: Path) -> None:
    sink = Sink(*(UnavailableError("the sink", "deliver", "x", "down") for _ in range(3)))
    with open_checkpoint(tmp_path / "at.json", ORIGIN) as book, pytest.raises(UnavailableError):
        Delivery(book, sink, lambda _: None, 0.0).take([Item("a", 1, event("one"))])
    with open_checkpoint(tmp_path / "at.json", ORIGIN) as book:
        assert [one["id"] for one in book.pending] == ["one"]


def test_a_forgotten_source_leaves_the_checkpoint(tmp_path: Path) -> None:
    with open_checkpoint(tmp_path / "at.json", ORIGIN) as book:
        delivery = Delivery(book, Sink(), lambda _: None, None)
        delivery.take([Item("a", 1, event("one")), Item("b", 2)])
        delivery.take([Item("b", None, event("two"))])
        assert book.positions == {"a": 1}


def test_a_checkpoint_of_something_else_or_in_use_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "at.json"
    with open_checkpoint(file, ORIGIN) as book:
        book.prepare({"a": 1}, [])
        with pytest.raises(CheckpointError, match="another process"), open_checkpoint(file, ORIGIN):
            pass
    with pytest.raises(CheckpointError, match="not of other/default"), open_checkpoint(file, "other/default"):
        pass
    file.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="no checkpoint"), open_checkpoint(file, ORIGIN):
        pass
    with pytest.raises(CheckpointError, match="cannot be written"), open_checkpoint(tmp_path / "no" / "at", ORIGIN):
        pass


def test_without_a_file_nothing_is_numbered() -> None:
    with open_checkpoint(None, ORIGIN) as book:
        assert book.prepare({"a": 1}, [event("one")]) == [event("one")]


def test_a_file_gets_lines_and_loses_what_a_break_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b'{"id": "whole"}\n{"id": "cu')

    FileSink(file).deliver([event("ü")])

    assert [json.loads(line)["id"] for line in file.read_bytes().splitlines()] == ["whole", "ü"]
    with pytest.raises(InvalidRequestError, match="cannot write events"):
        FileSink(tmp_path)


@pytest.fixture
def server() -> Iterator[Any]:
    class Take(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.taken.append((self.path, dict(self.headers), json.loads(body)))  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take)
    found.taken, found.status = [], 202  # type: ignore[attr-defined]
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def test_a_server_gets_batches_with_its_token(server: Any) -> None:
    sink = HttpSink(f"http://127.0.0.1:{server.server_address[1]}/a/events", "s3cr3t")

    sink.deliver([event("one"), event("two")])
    sink.close()

    path, headers, body = server.taken[0]
    assert (path, [one["id"] for one in body]) == ("/a/events", ["one", "two"])
    assert headers["Content-Type"] == "application/cloudevents-batch+json"
    assert headers["Authorization"] == "Bearer s3cr3t"


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidRequestError), (413, InvalidRequestError), (503, UnavailableError)]
)
def test_a_server_that_refuses_a_batch_is_told_apart_from_one_that_is_busy(
    server: Any, status: int, error: type
) -> None:
    server.status = status
    with pytest.raises(error):
        HttpSink(f"http://127.0.0.1:{server.server_address[1]}/").deliver([event("one")])


def test_a_token_is_not_sent_over_a_network_in_the_clear() -> None:
    with pytest.raises(InvalidRequestError, match="unencrypted"):
        HttpSink("http://sink.example.gov/", "s3cr3t")
