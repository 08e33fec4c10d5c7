"""A plan is an ordered list of changes: what an object is, what it becomes, and which index was read."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.plan.foresight import Foresight


class Action(StrEnum):
    """What happens to an object."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    KEEP = "keep"


class FieldChange(Struct, frozen=True):
    """One field that differs; ``path`` is dotted, ``None`` stands for a field that is not there."""

    path: str
    before: Any
    after: Any


class Change(Struct, frozen=True):
    """One object: ``body`` is what will be written (None for delete), ``index`` what must be found (0: nothing)."""

    kind: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...]
    body: Mapping[str, Any] | None
    index: int


class Plan(Struct, frozen=True):
    """What a deploy of one service would do.

    ``changes`` stand in the order of applying: Consul defaults, resolver, router, intentions, the job, then
    the gateway's route.
    ``release_before`` is the release that runs now (None: nothing runs). ``unfinished`` says that the job equals the
    desired one although its last deployment failed. ``foresight`` is what Nomad's scheduler says of the registration
    (None: nothing would be registered, or Nomad was not asked). ``images`` are the names that were pinned, with what
    they stand for.
    """

    service: str
    release_before: str | None
    release_after: str
    digest: str
    changes: tuple[Change, ...]
    unfinished: bool = False
    under_way: bool = False
    foresight: Foresight | None = None
    images: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that change anything."""
        return tuple(change for change in self.changes if change.action is not Action.KEEP)

    @property
    def empty(self) -> bool:
        """True when a deploy would do nothing at all."""
        return not self.effective and not self.unfinished

    @property
    def waits(self) -> bool:
        """True when a deploy would change nothing, and only wait for a deployment of this job that runs already."""
        return self.under_way and not self.effective

    @property
    def new_release(self) -> bool:
        """True when every running instance will be replaced by one of another release."""
        return self.release_before is not None and self.release_before != self.release_after

    @property
    def replaces(self) -> bool:
        """True when running instances will be replaced, be it by others of the same release, as Nomad foresees it.

        That happens where somebody edited the job by hand, and where a release did not become healthy.
        """
        return self.new_release or (self.foresight is not None and self.foresight.replaces)


class OtherKindError(Exception):
    """A job of that name is of a kind that Nomad does not turn into the wanted one."""

    def __init__(self, name: str, stored: str, wanted: str) -> None:
        super().__init__(
            f"Nomad knows {name!r} as {stored}, and does not turn it into {wanted}; end and forget it first: "
            f"hms-nomad stop {name} --purge"
        )


class OtherFleetError(Exception):
    """A fleet of that name is deployed from another place, or what is kept of it is not ours."""


class ForeignObjectError(Exception):
    """An object of that name exists and carries no mark of ours; it is never changed or deleted."""

    def __init__(self, kind: str, name: str, fix: str = "remove it or choose another name for the service") -> None:
        super().__init__(f"{kind} {name!r} exists and was not made by hms-nomad; {fix}")
        self.kind = kind
        self.name = name
