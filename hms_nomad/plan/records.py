"""A record's type -> what reads and writes it as JSON."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


def adapter_of(kind: type[T]) -> TypeAdapter[T]:
    """The adapter of a type, made when it is first needed: making one takes longer than many a command has."""
    return _made(cast("Hashable", kind))


@cache
def _made(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
