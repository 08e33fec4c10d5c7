"""A misfit -> one sentence, for files that are not specs: those have findings with codes."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from hms_nomad.sections.reading import Misfit
from hms_nomad.sections.shape import BOUNDS, members


def said(misfit: Misfit) -> str:
    """Where it is and what is wrong, such as "rules.0.at_most.cpu must be at least 1, not 0". Texts are not repeated:
    what a context holds may be private."""
    place = ".".join(str(step) for step in misfit.path) or "the file"
    return f"{place} {_wrong(misfit)}" if misfit.kind != "contradiction" else f"{place}: {misfit.limit}"


def _wrong(misfit: Misfit) -> str:
    if misfit.kind == "missing":
        return "is missing"
    if misfit.kind == "unknown":
        known = list(members(misfit.shape.model)) if misfit.shape.model else []
        near = get_close_matches(str(misfit.path[-1]), known, 1, 0.6)
        return f"is unknown: did you mean {near[0]}?" if near else f"is unknown: the keys here are {', '.join(known)}"
    if misfit.kind == "pattern":
        return f"{'is a key that ' if misfit.of_key else ''}must have the form {misfit.limit}"
    if misfit.kind in BOUNDS:
        return f"must be {BOUNDS[misfit.kind].format(misfit.limit)}, not {misfit.value}"
    if misfit.kind in {"min_length", "max_length"}:
        one, more = ("character", "characters") if isinstance(misfit.value, str) else ("entry", "entries")
        bound = "at least" if misfit.kind == "min_length" else "at most"
        return f"must have {bound} {misfit.limit} {one if misfit.limit == 1 else more}"
    return f"must be {misfit.shape.one}, not {kind_of(misfit.value)}"


def kind_of(value: Any) -> str:
    """What a value is, as a person says it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list | tuple) else "a mapping"
