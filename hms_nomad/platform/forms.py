"""The forms that texts of a context have."""

from typing import Annotated

from hms_nomad.sections.section import Limits

DNS_NAME = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$"

Namespace = Annotated[str, Limits(pattern=r"^[A-Za-z0-9-]{1,128}$|^\*$")]
MountPath = Annotated[str, Limits(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=200)]
