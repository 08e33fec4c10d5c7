"""What only a job or only an external service has, and which fields each kind of spec takes."""

from typing import Annotated, Literal

from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import AbsolutePath, Duration, HostName

ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"

Kind = Literal["service", "job", "external"]

NEEDED: dict[str, tuple[str, ...]] = {"service": ("port",), "job": (), "external": ("host", "port")}
"""Fields that a kind needs beside those that every spec needs."""

_ONLY_SERVICES = (
    *("port", "protocol", "routes", "scaling", "health", "probes", "actions", "allow", "mesh", "gateway", "rollout"),
)
_ONLY_JOBS = ("schedule", "attempts")
_ONLY_OUTSIDE = ("host", "tls")
# What only something that Nomad runs can have.
_RUNS = (
    *(
        "image",
        "build",
        "command",
        "args",
        "driver",
        "user",
        "env",
        "secrets",
        "files",
        "templates",
        "artifacts",
        "volumes",
        "tasks",
    ),
    *("resources", "placement", "nomad", "uses", "tcp", "scaling", "health", "probes", "actions", "rollout", "gateway"),
)
UNKNOWN_TO: dict[str, frozenset[str]] = {
    "service": frozenset((*_ONLY_JOBS, *_ONLY_OUTSIDE)),
    "job": frozenset((*_ONLY_SERVICES, *_ONLY_OUTSIDE)),
    "external": frozenset((*_RUNS, *_ONLY_JOBS)),
}
"""Fields that have no meaning for a kind."""


class Schedule(Section):
    """When a job starts by itself."""

    cron: str = field(
        description="Minute, hour, day of the month, month and day of the week.",
        examples=["0 3 * * *"],
        max_length=100,
    )
    timezone: Annotated[str, Limits(pattern=ZONE, max_length=64)] = field(
        default="UTC", description="Time zone of these times.", examples=["Europe/Berlin"]
    )
    overlap: bool = field(default=False, description="True: it starts even while the run before goes on.")


class OutsideTls(Section):
    """TLS on the way to an external service, made by the platform's egress."""

    ca_file: AbsolutePath = field(
        description="PEM file, as the egress sees it, of the authorities that may have signed the other side's "
        "certificate.",
        examples=["/etc/ssl/certs/ca-certificates.crt"],
    )
    server_name: HostName | None = field(
        default=None, description="Name expected in the certificate; the host when absent.", examples=["db.agency.gov"]
    )


class Attempts(Section):
    """What happens when a job's program fails."""

    most: int = field(default=1, ge=1, le=100, description="How often it is started before the run has failed.")
    delay: Duration = field(default="15s", description="Time between two attempts.")
