"""An answer together with the index at which a blocking query goes on."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Snapshot(Struct, Generic[T], frozen=True):
    """An answer of a blocking query; pass ``index`` to the next call to wait for a newer one (0 never waits)."""

    index: int
    value: T


def next_index(asked: int, answered: str | None) -> int:
    """The index for the next blocking query from the one that was ``asked`` with and the header that was ``answered``.

    It is 0, which starts anew, when the server's went back (a restored snapshot), and never 0 otherwise, because that
    would not wait.
    """
    found = int(answered or 0)
    return 0 if found < asked else max(found, 1)
