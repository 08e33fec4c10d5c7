"""What all parts of a context have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a context: it never changes, and a key that it does not know is an error.

    What checks one is built when the first is read, and a default is made without being checked. Modules of sections
    postpone no annotations: pydantic would compile each of them once more at every start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
