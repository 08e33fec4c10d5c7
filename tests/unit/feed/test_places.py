"""Lines with their places, however frames cut them and wherever a reader goes on."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hms_nomad.clients.nomad_log_places import LineCounter, Place, PlacedLine
from hms_nomad.clients.nomad_logs import Frame

outputs = st.lists(
    st.lists(st.binary(max_size=6).filter(lambda line: b"\n" not in line), max_size=4), min_size=1, max_size=4
)
cuts = st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=5)


def frames(files: list[bytes], sizes: list[int], first: int = 0) -> list[Frame]:
    found, size = [], itertools.cycle(sizes)
    for number, data in enumerate(files, first):
        begin = 0
        while begin < len(data):
            step = next(size)
            found.append(Frame(f"alloc/logs/work.stdout.{number}", data[begin : begin + step]))
            begin += step
    return found


def read(pieces: list[Frame], after: Place | None = None) -> list[PlacedLine]:
    counter = LineCounter(after)
    found = [line for piece in pieces for line in counter.feed(piece)]
    return [*found, *counter.rest()]


@given(output=outputs, sizes=cuts)
def test_a_reader_that_goes_on_after_any_line_gets_the_rest(output: list[list[bytes]], sizes: list[int]) -> None:
    files = [b"".join(line + b"\n" for line in lines) for lines in output if lines]
    everything = read(frames(files, sizes))

    assert [line.text for line in everything] == [line.decode("utf-8", "replace") for lines in output for line in lines]
    for number, line in enumerate(everything, 1):
        assert read(frames(files, [*sizes, 3]), line.end) == everything[number:]


def test_a_line_that_spans_two_files_ends_in_the_second() -> None:
    assert read(frames([b"one\ntw", b"o\n"], [2])) == [
        PlacedLine(Place(0, 4), "one"),
        PlacedLine(Place(1, 2), "two"),
    ]


def test_what_was_deleted_before_it_was_read_is_told() -> None:
    found = read(frames([b"late\n"], [9], first=5), Place(3, 10))

    assert found == [PlacedLine(Place(5, 0), lost=Place(3, 10)), PlacedLine(Place(5, 5), "late")]


def test_a_file_that_goes_while_it_is_read_is_told_and_its_open_line_forgotten() -> None:
    pieces = [*frames([b"whole\nbro"], [20]), *frames([b"new\n"], [20], first=4)]

    assert read(pieces) == [
        PlacedLine(Place(0, 6), "whole"),
        PlacedLine(Place(4, 0), lost=Place(0, 9)),
        PlacedLine(Place(4, 4), "new"),
    ]


def test_a_silence_tells_how_far_everything_is_read() -> None:
    counter = LineCounter(None)

    assert list(counter.pause()) == []
    list(counter.feed(Frame("work.stdout.0", b"one\ntw")))
    assert list(counter.pause()) == []
    list(counter.feed(Frame("work.stdout.0", b"o\n")))
    assert list(counter.pause()) == [PlacedLine(Place(0, 8))]
