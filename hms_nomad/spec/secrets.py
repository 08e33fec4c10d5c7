"""The text of a reference to a secret -> where it is kept: Vault, Nomad's variables, or a certificate to be issued."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

_PART = r"[A-Za-z0-9_@+=.-]{1,128}"
_PATH = lazy_pattern(rf"{_PART}(?:/{_PART})*\Z")
_FIELD = lazy_pattern(r"[A-Za-z0-9_.-]{1,128}\Z")
_VAULT, _NOMAD = "vault:", "nomad:var/"


class Reference(Struct, frozen=True):
    """A secret's place; ``field`` is "" for all fields of ``path``, and both are for a certificate."""

    store: Literal["vault", "nomad", "pki"]
    path: str = ""
    field: str = ""


def parse_reference(text: str) -> Reference:
    """The place that a text names. Raises ValueError that says what is wrong with it."""
    if text == "pki":
        return Reference("pki")
    if text.startswith(_VAULT):
        store: Literal["vault", "nomad"] = "vault"
        rest = text.removeprefix(_VAULT)
    elif text.startswith(_NOMAD):
        store, rest = "nomad", text.removeprefix(_NOMAD)
    else:
        raise ValueError("it begins with neither vault: nor nomad:var/, and is not pki")
    path, sign, field = rest.partition("#")
    if not _PATH.match(path) or any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is no path; parts of letters, digits and _@+=.- stand between single slashes")
    if store == "vault" and "/" not in path:
        raise ValueError(f"{path!r} is a mount alone; a secret has a path below it")
    if sign and not _FIELD.match(field):
        raise ValueError(f"{field!r} is no name of a field")
    return Reference(store, path, field)
