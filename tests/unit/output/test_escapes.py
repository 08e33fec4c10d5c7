"""The way out of a terminal that hands on every key."""

from __future__ import annotations

import pytest

from hms_nomad.output.escapes import Escapes


@pytest.mark.parametrize(
    ("typed", "passed", "left"),
    [
        (b"ls\r", b"ls\r", False),
        (b"~.", b"", True),
        (b"ls\r~.more", b"ls\r", True),
        (b"ls\n~.", b"ls\n", True),
        (b"~~.", b"~.", False),
        (b"cd ~\r", b"cd ~\r", False),
        (b"cd ~.", b"cd ~.", False),
        (b"~/bin\r", b"~/bin\r", False),
        (b"~\r~.", b"~\r", True),
        (b"\x03\x04", b"\x03\x04", False),
    ],
)
def test_a_tilde_and_a_dot_at_the_beginning_of_a_line_lead_out(typed: bytes, passed: bytes, left: bool) -> None:
    at_once, one_by_one = Escapes(), Escapes()
    assert (at_once.feed(typed), at_once.left) == (passed, left)
    keys = b""
    for key in typed:
        if not one_by_one.left:
            keys += one_by_one.feed(bytes([key]))
    assert (keys, one_by_one.left) == (passed, left)
