"""What a task reads from Vault or from Nomad's variables when it starts, and that never stands in its job."""

from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic_core import CoreSchema

from hms_nomad.spec.section import Duration, FilePath, HostName, Mode, Section

SECRET_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"  # noqa: S105 - a pattern
SIGNAL = r"^SIG[A-Z0-9]{2,10}$"

SecretName = Annotated[str, StringConstraints(pattern=SECRET_NAME)]


class Secret(Section):
    """A secret by where it is kept, as an environment variable or as a file in `secrets/`.

    `NAME: vault:secret/receipt#password` is short for a section that says `ref` alone.
    """

    ref: str = Field(
        description="vault:PATH#FIELD, vault:PATH for all fields, nomad:var/PATH#FIELD, nomad:var/PATH, or pki for a "
        "certificate.",
        examples=["vault:secret/receipt#password"],
        min_length=1,
        max_length=500,
    )
    file: FilePath | None = Field(
        None, description="File below secrets/ that gets it; an environment variable when absent.", examples=["db.json"]
    )
    # What has passed through the validator below is no JSON any more, where a list is a tuple.
    names: tuple[HostName, ...] = Field(
        (),
        description="Names of hosts in a certificate; NAME.mesh alone when empty.",
        examples=[["receipt.gov"]],
        strict=False,
    )
    ttl: Duration | None = Field(None, description="How long a certificate holds; 72h when absent.")
    change: Literal["restart", "signal", "none"] = Field(
        "restart", description="What happens to the task when the secret changes."
    )
    signal: Annotated[str, StringConstraints(pattern=SIGNAL)] | None = Field(
        None, description="Signal to send where change is signal.", examples=["SIGHUP"]
    )
    mode: Mode = Field("0600", description="Rights of the file, in octal digits.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"ref": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The section, or the text that is short for it."""
        section = handler.resolve_ref_schema(handler(schema))
        return {**section, "type": ["object", "string"]}
