"""Rules about the secrets of a service (HMS264 to HMS267, HMS354)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, quoted, spoken
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_secret import Secret
from hms_nomad.spec.registry import Hit, check
from hms_nomad.spec.runnable import runnables
from hms_nomad.spec.secrets import parse_reference

_NOMADS_OWN = ("api.sock", "envoy_bootstrap.json", "vault_token")
_PREFIX = "hms-env-"


@check(
    "HMS264",
    Level.ERROR,
    "A reference to a secret that leads nowhere",
    reads=("secrets", "tasks"),
    fix="write vault:secret/NAME#FIELD, nomad:var/PATH#FIELD, or pki",
    example="secrets: {DB_PASSWORD: hunter2}",
)
def reference_to_nowhere(spec: Spec) -> Iterator[Hit]:
    """A secret stands in the spec by where it is kept, never by what it is."""
    for place, secret in _secrets(spec):
        try:
            parse_reference(secret.ref)
        except ValueError as error:
            # The text itself is not shown: who mistakes the field for the secret's value has written that.
            why = str(error) if secret.ref.startswith(("vault:", "nomad:")) else "it is no reference"
            yield Hit(place, f"{spoken(place)} does not say where the secret is: {why}")


@check(
    "HMS265",
    Level.ERROR,
    "A secret whose fields do not belong together",
    reads=("secrets", "tasks"),
    fix="see hms-nomad explain secrets",
    example="secrets: {TLS: pki}",
)
def secret_fields(spec: Spec) -> Iterator[Hit]:
    """An environment is read once, so only a file can be changed under a running program, and have rights."""
    for place, secret in _secrets(spec):
        for message in _unfit(secret):
            yield Hit(place, f"{spoken(place)} {message}")


def _unfit(secret: Secret) -> Iterator[str]:
    certificate = secret.ref == "pki"
    if certificate and secret.file is None:
        yield "is a certificate, which needs a file"
    if not certificate and (secret.names or secret.ttl is not None):
        yield "has names or a ttl, which only a certificate (ref: pki) has"
    if secret.file is None and secret.change == "signal":
        yield "is a variable, which no signal changes; write change: restart or none, or give it a file"
    if secret.file is None and secret.mode != "0600":
        yield "has a mode, but no file"
    if secret.change == "signal" and secret.signal is None:
        yield "names no signal; write signal: SIGHUP"
    if secret.change != "signal" and secret.signal is not None:
        yield f"has a signal, but change is {secret.change}"


@check(
    "HMS266",
    Level.ERROR,
    "Two secrets at one place",
    reads=("secrets", "env", "tasks"),
    fix="give each a place of its own",
    example='env: {DB_PASSWORD: x}\nsecrets: {DB_PASSWORD: "vault:secret/receipt#password"}',
)
def places_that_collide(spec: Spec) -> Iterator[Hit]:
    """The later of two would replace the earlier one."""
    for at, task in runnables(spec):
        files: list[str] = []
        for name, secret in task.secrets.items():
            place: Path = (*at, "secrets", name)
            if secret.file is None:
                if name in task.env:
                    yield Hit(place, f"{name} stands in env, too", at_key=True)
                continue
            if secret.file in _NOMADS_OWN or secret.file.startswith(_PREFIX):
                yield Hit((*place, "file"), f"secrets/{secret.file} is a file of the platform")
            for other in files:
                if _overlap(secret.file, other):
                    yield Hit((*place, "file"), f"secrets/{secret.file} cannot stand beside secrets/{other}")
            files.append(secret.file)


@check(
    "HMS267",
    Level.ERROR,
    "A variable of the platform",
    reads=("secrets", "tasks"),
    fix="choose another name",
    example='secrets: {PORT: "vault:secret/receipt#port"}',
)
def variable_of_the_platform(spec: Spec) -> Iterator[Hit]:
    """Nomad and this program set some variables themselves, and what a service says of them would be lost."""
    for at, task in runnables(spec):
        for name, secret in task.secrets.items():
            if secret.file is None and (name == "PORT" or name.startswith(("NOMAD_", "HMS_", "CONSUL_", "VAULT_"))):
                yield Hit((*at, "secrets", name), f"{name} is set by the platform", at_key=True)


@check(
    "HMS354",
    Level.WARNING,
    "A secret that its task may not read",
    reads=("secrets", "user", "command", "tasks"),
    fix="name the user by its number, for example user: '10001'",
    example='user: app\nsecrets: {key: {ref: "vault:secret/receipt#key", file: key.pem}}',
)
def unreadable_secret(spec: Spec) -> Iterator[Hit]:
    """The node gives a file to the user of a number; of a name it does not know the number, and root keeps the file."""
    for at, task in runnables(spec):
        user = (task.user or "").partition(":")[0]
        for name, secret in task.secrets.items():
            if secret.file and user and user != "root" and not user.isdigit() and not int(secret.mode, 8) & 0o004:
                place: Path = (*at, "secrets", name)
                yield Hit(place, f"{spoken(place)} has mode {secret.mode}, and user {quoted(user)} has no number")


def _secrets(spec: Spec) -> Iterator[tuple[Path, Secret]]:
    for at, task in runnables(spec):
        yield from (((*at, "secrets", name), secret) for name, secret in task.secrets.items())


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
