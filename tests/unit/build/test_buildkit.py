"""What BuildKit tells of its progress becomes a line a step, and what is no such message becomes nothing."""

from __future__ import annotations

import base64

from hms_nomad.build.buildkit import Trace


def field(number, value):
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def message(*fields):
    return base64.b64encode(b"".join(fields)).decode()


def step(name, digest=b"d1", *more):
    return field(1, field(1, digest) + field(3, name) + b"".join(more))


STARTED = field(5, field(1, 7))


def test_each_step_is_told_once_when_it_begins_with_what_it_prints_and_its_error():
    trace = Trace()
    assert list(trace.lines(message(step(b"[1/2] FROM base")))) == []
    assert list(trace.lines(message(step(b"[1/2] FROM base", b"d1", STARTED)))) == ["[1/2] FROM base"]
    assert list(trace.lines(message(step(b"[1/2] FROM base", b"d1", STARTED)))) == []
    cached = step(b"[2/2] COPY . .", b"d2", field(4, 1), STARTED)
    log = field(3, field(1, b"d2") + field(3, 1) + field(4, b"one\ntwo\n"))
    assert list(trace.lines(message(cached, log))) == ["[2/2] COPY . . (cached)", "one", "two"]
    failed = step(b"[2/2] RUN x", b"d3", STARTED, field(7, b"exit code: 1"))
    assert list(trace.lines(message(failed))) == ["[2/2] RUN x", "[2/2] RUN x: exit code: 1"]


def test_its_inner_steps_are_left_out():
    assert list(Trace().lines(message(step(b"[internal] load metadata", b"d", STARTED)))) == []


def test_what_is_no_message_is_no_line():
    for text in ("", "no base64", base64.b64encode(b"\x0a\xff").decode(), base64.b64encode(b"\x0b").decode()):
        assert list(Trace().lines(text)) == []


def test_a_real_message_of_moby_is_read():
    real = (
        "GmQKR3NoYTI1NjoyNDY3ZTQ5ZDNlN2Q2MDM2MmU3MTc0OGZjYWJmNGFkMjE4YWYyYzI3MzVhODVmYWNkYjhkM2ZkYjhkMTE4MmI1"
        "EgwIrcKZ2AYQxO/mtAIYASIJaGVsbG8gdzEK"
    )
    assert list(Trace().lines(real)) == ["hello w1"]
