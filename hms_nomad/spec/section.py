"""What every section of the language is made of: the strict frozen model, and the forms of its texts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

DNS_LABEL = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
USER = r"^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$"
FILE_PATH = r"^\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*(/\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)*$"
ABSOLUTE_PATH = r"^(/\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+$"
MODE = r"^0[0-7]{3}$"

HOST = r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"

ServiceName = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
HostName = Annotated[str, StringConstraints(pattern=HOST, max_length=253)]
Duration = Annotated[str, StringConstraints(pattern=DURATION)]
User = Annotated[str, StringConstraints(pattern=USER, max_length=64)]
FilePath = Annotated[str, StringConstraints(pattern=FILE_PATH, max_length=200)]
AbsolutePath = Annotated[str, StringConstraints(pattern=ABSOLUTE_PATH, max_length=200)]
Mode = Annotated[str, StringConstraints(pattern=MODE)]


class Section(BaseModel):
    """A mapping with known keys and values of exactly the declared types.

    What checks one is built when the first is read. Modules of sections postpone no annotations: pydantic would compile
    each of them once more at every start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
