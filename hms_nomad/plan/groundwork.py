"""Objects of the foundation and what is stored of each -> the steps that are due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.compile.desired import OWNER_MARK
from hms_nomad.compile.foundation import BaseObject
from hms_nomad.plan.change import Action, Change, FieldChange, ForeignObjectError

_MARKS = frozenset({"description", "Description", "Meta"})
# These go with their mounts.
_PARTS = frozenset({"vault authority", "vault login keys"})


class Stored(Struct, frozen=True):
    """What a server holds of an object: ``body`` is in the words of the wanted one and may hold more.

    ``ours`` says whether it carries our mark; ``id`` and ``index`` are what the server wants to hear when it is written
    again.
    """

    body: Mapping[str, Any]
    ours: bool
    id: str = ""
    index: int = 0


class Step(Struct, frozen=True):
    """One object with what is stored of it, and the change that is due; ``left`` says why an object of ours stays."""

    wanted: BaseObject
    stored: Stored | None
    change: Change
    left: str = ""


class Groundwork(Struct, frozen=True):
    """All steps in the order in which they are made; ``stanzas`` are what agents' files must say, by the file's name.

    ``notes`` say what is left out on this cluster, and why.
    """

    steps: tuple[Step, ...]
    stanzas: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def effective(self) -> tuple[Step, ...]:
        """The steps that change anything."""
        return tuple(step for step in self.steps if step.change.action is not Action.KEEP)


def step_of(wanted: BaseObject, stored: Stored | None) -> Step:
    """What is due for an object of which ``stored`` is there.

    Raises ForeignObjectError when somebody else made one of that name, and made it otherwise.
    """
    if stored is None:
        fields = tuple(FieldChange(key, None, value) for key, value in _said(wanted.body).items())
        return Step(wanted, None, Change(wanted.kind, wanted.name, Action.CREATE, fields, wanted.body, 0))
    differing = differences(stored.body, wanted.body)
    if differing and not stored.ours and any(change.path not in _MARKS for change in differing):
        paths = ", ".join(change.path for change in differing if change.path not in _MARKS)
        fix = f"it differs in {paths}: make it so, or remove it"
        raise ForeignObjectError(wanted.kind, wanted.name, fix)
    # What somebody else made just so serves as well, and stays theirs.
    action = Action.UPDATE if differing and stored.ours else Action.KEEP
    change = Change(wanted.kind, wanted.name, action, differing, wanted.body, stored.index)
    return Step(wanted, stored, change)


def removable(wanted: BaseObject, stored: Stored | None) -> bool:
    """Whether an object is ours to take away, and does not go with another one."""
    return stored is not None and stored.ours and wanted.kind not in _PARTS


def removal_of(wanted: BaseObject, stored: Stored | None, kept: str) -> Step:
    """The removal of an object; ``kept`` says why it has to stay ("": it goes)."""
    action = Action.KEEP if kept else Action.DELETE
    change = Change(wanted.kind, wanted.name, action, (), None, stored.index if stored else 0)
    return Step(wanted, stored, change, kept)


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """The fields of ``wanted`` that are stored otherwise; what a server adds by itself is none."""
    return tuple(
        FieldChange(key, stored.get(key), value)
        for key, value in wanted.items()
        if _projected(stored.get(key), value) != value
    )


def _projected(stored: Any, wanted: Any) -> Any:
    """What is stored, without what nobody asked for: servers add their defaults."""
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        return {key: _projected(stored.get(key), value) for key, value in wanted.items()}
    if isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        return [_projected(one, other) for one, other in zip(stored, wanted, strict=True)]
    return "" if stored is None and wanted == "" else stored


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _MARKS and value not in ("", OWNER_MARK)}
