"""Frames and lines of a task's output, however the network cuts them."""

from __future__ import annotations

import base64
import itertools
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_logs import FrameDecoder, Lines, LogReader
from tests.wire import Answer, Wire

HEARTBEAT = b"{}"
DEAD = '{"ID": "a", "ClientStatus": "complete"}'
RUNNING = '{"ID": "a", "ClientStatus": "running", "TaskStates": {"work": {"State": "running"}}}'

output = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12)
cuts = st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=8)


def _frame(data: bytes) -> bytes:
    return json.dumps({"Data": base64.b64encode(data).decode(), "File": "alloc/logs/work.stdout.0"}).encode()


def _pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    found, rest = [], data
    for size in itertools.cycle(sizes):
        if not rest:
            return found
        found.append(rest[:size])
        rest = rest[size:]
    return found


def _client(wire: Wire) -> NomadClient:
    return NomadClient(Connection(wire.address, retry_seconds=0.0))


@given(lines=st.lists(output), sizes=cuts)
def test_lines_are_the_same_however_they_are_cut(lines: list[str], sizes: list[int]) -> None:
    reader = Lines()
    data = "".join(f"{line}\n" for line in lines).encode()

    found = [line for piece in _pieces(data, sizes) for line in reader.feed(piece)]

    assert found == lines
    assert list(reader.rest()) == []


def test_a_last_line_without_an_end_is_a_line() -> None:
    reader = Lines()

    assert list(reader.feed(b"one\ntw")) == ["one"]
    assert list(reader.rest()) == ["tw"]
    assert list(reader.rest()) == []


def test_what_is_no_text_is_replaced_and_control_characters_stay() -> None:
    reader = Lines()

    assert list(reader.feed(b"a\xffb\x1b[1m\r\n\x00\n")) == ["a\N{REPLACEMENT CHARACTER}b\x1b[1m\r", "\x00"]


def test_a_line_without_end_comes_in_pieces() -> None:
    reader = Lines()
    mebibyte = 1024 * 1024

    found = list(reader.feed(b"x" * (2 * mebibyte + 3)))

    assert [len(piece) for piece in found] == [mebibyte, mebibyte]
    assert list(reader.rest()) == ["xxx"]


@given(chunks=st.lists(st.binary(min_size=1, max_size=20)), sizes=cuts)
def test_frames_are_the_same_however_they_are_cut(chunks: list[bytes], sizes: list[int]) -> None:
    decoder = FrameDecoder()
    data = b"".join(_frame(chunk) + HEARTBEAT for chunk in chunks)

    found = [frame for piece in _pieces(data, sizes) for frame in decoder.feed(piece)]

    assert found == [frame for chunk in chunks for frame in (chunk, None)]


@pytest.mark.parametrize("junk", [b"<html>", b'{"Data": "!"}', b"[]"])
def test_what_is_no_frame_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        list(FrameDecoder().feed(junk))


def test_a_news_of_a_file_is_no_heartbeat() -> None:
    assert list(FrameDecoder().feed(b'{"FileEvent": "file deleted", "File": "x"}{}')) == [None]


def test_a_followed_log_ends_after_the_last_line_of_a_dead_task() -> None:
    frames = Answer(parts=(_frame(b"one\n"), HEARTBEAT, _frame(b"two\n"), HEARTBEAT, HEARTBEAT, b""))
    with Wire(frames, Answer(body=RUNNING), Answer(body=DEAD)) as wire:
        assert list(_client(wire).logs("a", "work", follow=True)) == ["one", "two"]


def test_what_comes_after_the_death_of_a_task_is_read_too() -> None:
    frames = Answer(parts=(_frame(b"one\n"), HEARTBEAT, _frame(b"last words"), HEARTBEAT, HEARTBEAT, b""))
    with Wire(frames, Answer(body=DEAD)) as wire:
        assert list(_client(wire).logs("a", "work", follow=True)) == ["one", "last words"]


def test_following_ends_at_the_next_heartbeat_when_it_is_told_to() -> None:
    stop = threading.Event()
    with Wire(Answer(parts=(_frame(b"one\n"), HEARTBEAT, _frame(b"two\n"), b"")), Answer(body=RUNNING)) as wire:
        lines = _client(wire).logs("a", "work", follow=True, stop=stop)
        assert next(lines) == "one"
        stop.set()
        assert list(lines) == []


def test_a_page_instead_of_frames_is_unavailable() -> None:
    with Wire(Answer(body="<html>hello</html>")) as wire, pytest.raises(UnavailableError, match="frames"):
        list(_client(wire).logs("a", "work", follow=True))


def test_a_log_that_is_cut_short_is_unavailable() -> None:
    with Wire(Answer(body="one\ntwo", declared=500)) as wire:
        lines = _client(wire).logs("a", "work")
        assert next(lines) == "one"

        with pytest.raises(UnavailableError, match="cut short"):
            list(lines)


@given(lines=st.lists(output, max_size=8), count=st.integers(min_value=0, max_value=9), open_end=st.booleans())
def test_a_tail_is_the_last_lines(lines: list[str], count: int, open_end: bool) -> None:
    text = "\n".join(lines) + ("" if open_end or not lines else "\n")
    whole = Lines()
    everything = [*whole.feed(text.encode()), *whole.rest()]

    reader = Lines()
    tail = LogReader._cut(text.encode(), 100_000, count)

    assert [*reader.feed(tail), *reader.rest()] == (everything[-count:] if count else [])
