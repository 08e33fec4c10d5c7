"""The forms that texts of the language have."""

from __future__ import annotations

from typing import Annotated

from hms_nomad.sections.forms import DNS_LABEL
from hms_nomad.sections.section import Limits

DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
USER = r"^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$"
FILE_PATH = r"^\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*(/\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)*$"
ABSOLUTE_PATH = r"^(/\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+$"
MODE = r"^0[0-7]{3}$"

HOST = r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"

ServiceName = Annotated[str, Limits(pattern=DNS_LABEL, max_length=63, kind="name")]
HostName = Annotated[str, Limits(pattern=HOST, max_length=253)]
Duration = Annotated[str, Limits(pattern=DURATION, kind="duration")]
User = Annotated[str, Limits(pattern=USER, max_length=64)]
FilePath = Annotated[str, Limits(pattern=FILE_PATH, max_length=200)]
AbsolutePath = Annotated[str, Limits(pattern=ABSOLUTE_PATH, max_length=200)]
Mode = Annotated[str, Limits(pattern=MODE)]
