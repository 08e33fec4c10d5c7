"""What a task reads from Vault or from Nomad's variables when it starts, and that never stands in its job."""

from typing import Annotated, ClassVar, Literal

from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import Duration, FilePath, HostName, Mode

SECRET_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"  # noqa: S105 - a pattern
SIGNAL = r"^SIG[A-Z0-9]{2,10}$"

SecretName = Annotated[str, Limits(pattern=SECRET_NAME)]


class Secret(Section):
    """A secret by where it is kept, as an environment variable or as a file in `secrets/`.

    `NAME: vault:secret/receipt#password` is short for a section that says `ref` alone.
    """

    short_for: ClassVar[str] = "ref"

    ref: str = field(
        description="vault:PATH#FIELD, vault:PATH for all fields, nomad:var/PATH#FIELD, nomad:var/PATH, or pki for a "
        "certificate.",
        examples=["vault:secret/receipt#password"],
        min_length=1,
        max_length=500,
    )
    file: FilePath | None = field(
        default=None,
        description="File below secrets/ that gets it; an environment variable when absent.",
        examples=["db.json"],
    )
    names: tuple[HostName, ...] = field(
        default=(),
        description="Names of hosts in a certificate; NAME.mesh alone when empty.",
        examples=[["receipt.gov"]],
    )
    ttl: Duration | None = field(default=None, description="How long a certificate holds; 72h when absent.")
    change: Literal["restart", "signal", "none"] = field(
        default="restart", description="What happens to the task when the secret changes."
    )
    signal: Annotated[str, Limits(pattern=SIGNAL)] | None = field(
        default=None, description="Signal to send where change is signal.", examples=["SIGHUP"]
    )
    mode: Mode = field(default="0600", description="Rights of the file, in octal digits.")
