"""What all parts of a context have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a context: it never changes, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
