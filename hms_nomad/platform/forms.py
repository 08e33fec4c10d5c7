"""The forms that texts of a context have."""

from typing import Annotated

from hms_nomad.sections.section import Limits

LABEL = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
DNS_NAME = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
RATE = r"^[1-9][0-9]{0,6}/[smh]$"

Namespace = Annotated[str, Limits(pattern=r"^[A-Za-z0-9-]{1,128}$|^\*$")]
MountPath = Annotated[str, Limits(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=200)]
