"""Names -> Platform: which cluster a command talks to, from named contexts, the environment and nothing hidden.

A context is a YAML file with the fields of ``hms_nomad.platform.model.Platform``. The servers' own environment
variables (NOMAD_ADDR, CONSUL_HTTP_ADDR, VAULT_ADDR and their kin) win over it, as operators expect of every tool.
What neither says has its default; ``origins`` tells which it was.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from hms_nomad.platform.model import Platform
from hms_nomad.platform.private import write_private
from hms_nomad.sections.reading import MisfitError, read
from hms_nomad.sections.saying import said
from hms_nomad.sections.section import as_data

CONTEXT_VARIABLE = "HMS_NOMAD_CONTEXT"
"""Environment variable that names the context; the flag ``--context`` wins over it."""

DIRECTORY_VARIABLE = "HMS_NOMAD_CONFIG_DIR"
"""Environment variable that moves the directory of the contexts."""

_CURRENT = "current-context"
_SUFFIX = ".yml"
_FALSE_WORDS = frozenset({"", "0", "f", "false", "no"})
_SERVERS: Mapping[str, Mapping[str, str]] = {
    "nomad": {
        "address": "NOMAD_ADDR",
        "ca_file": "NOMAD_CACERT",
        "client_cert": "NOMAD_CLIENT_CERT",
        "client_key": "NOMAD_CLIENT_KEY",
        "tls_server_name": "NOMAD_TLS_SERVER_NAME",
    },
    "consul": {
        "address": "CONSUL_HTTP_ADDR",
        "ca_file": "CONSUL_CACERT",
        "client_cert": "CONSUL_CLIENT_CERT",
        "client_key": "CONSUL_CLIENT_KEY",
        "tls_server_name": "CONSUL_TLS_SERVER_NAME",
    },
    "vault": {
        "address": "VAULT_ADDR",
        "ca_file": "VAULT_CACERT",
        "client_cert": "VAULT_CLIENT_CERT",
        "client_key": "VAULT_CLIENT_KEY",
        "tls_server_name": "VAULT_TLS_SERVER_NAME",
    },
}
_PLAIN: Mapping[str, str] = {"namespace": "NOMAD_NAMESPACE", "region": "NOMAD_REGION"}


class ContextError(Exception):
    """A context cannot be used; the text names the file and what would be right."""


class Origin(Struct, frozen=True):
    """A field of a platform by its path with dots, its value, and where that comes from: a variable, a file, or
    "default".
    """

    field: str
    value: Any
    source: str


class Contexts(Struct, frozen=True):
    """The named contexts of this user, and which one commands take when nothing else is said."""

    names: tuple[str, ...]
    current: str | None


def contexts_directory() -> Path:
    """Directory of the contexts: ``HMS_NOMAD_CONFIG_DIR``, else the user's configuration directory."""
    if named := os.environ.get(DIRECTORY_VARIABLE):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_config_dir("hms-nomad"))


def list_contexts() -> Contexts:
    """All contexts by name, sorted."""
    names = tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _folder().glob(f"*{_SUFFIX}")))
    return Contexts(names=names, current=_current())


def load_platform(name: str | None = None) -> Platform:
    """The platform a command talks to.

    ``name`` is that of ``--context``; without it ``HMS_NOMAD_CONTEXT`` counts, then the current context, then the
    servers' default addresses on this machine. Raises ContextError for an unknown or broken context.
    """
    chosen = name or os.environ.get(CONTEXT_VARIABLE) or _current()
    fields = _read(chosen) if chosen else {}
    return _validated(_with_environment(fields), chosen)


def origins(name: str | None = None) -> tuple[Origin, ...]:
    """Every field that ``load_platform`` answers, in the order of the model, and where it comes from."""
    chosen = name or os.environ.get(CONTEXT_VARIABLE) or _current()
    fields = _read(chosen) if chosen else {}
    file = str(_file(chosen)) if chosen else ""
    variables = {
        f"{server}.{field}": variable
        for server, known in _SERVERS.items()
        for field, variable in known.items()
        if os.environ.get(variable)
    }
    variables |= {field: variable for field, variable in _PLAIN.items() if os.environ.get(variable)}
    body = as_data(_validated(_with_environment(fields), chosen))
    return tuple(
        Origin(path, value, variables.get(path) or (file if _says(fields, path.split(".")) else "default"))
        for path, value in _leaves(body)
    )


def _leaves(body: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in body.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _says(fields: Any, path: Sequence[str]) -> bool:
    """Whether a file names a field, or says null for a section around it."""
    for part in path:
        if not isinstance(fields, dict):
            return fields is None
        if part not in fields:
            return False
        fields = fields[part]
    return True


def save_context(platform: Platform) -> Path:
    """Write a platform as the context of its name (mode 0600) and answer the file."""
    file = _file(platform.name)
    body = as_data(platform, defaults=False) | {"name": platform.name}
    keep_private(file, yaml.safe_dump(body, sort_keys=True, allow_unicode=True))
    return file


def use_context(name: str) -> None:
    """Make a context the current one. Raises ContextError when there is none of that name."""
    _read(name)
    keep_private(contexts_directory() / _CURRENT, f"{name}\n")


def remove_context(name: str) -> None:
    """Remove a context, and the choice of it; one that is not there is no error."""
    _file(name).unlink(missing_ok=True)
    if _current() == name:
        (contexts_directory() / _CURRENT).unlink(missing_ok=True)


def keep_private(file: Path, text: str) -> None:
    """Write a private file (0600) below the contexts' directory, with the folders (0700) that lack.

    Raises ContextError when it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(file, text)
    except OSError as error:
        raise ContextError(f"{file} cannot be written: {error.strerror}") from None


def _folder() -> Path:
    return contexts_directory() / "contexts"


def _file(name: str) -> Path:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ContextError(f"{name!r} cannot name a context; use letters, digits and dashes")
    return _folder() / f"{name}{_SUFFIX}"


def _current() -> str | None:
    file = contexts_directory() / _CURRENT
    try:
        return _text_of(file).strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ContextError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ContextError(f"{file} names no context; choose one with: hms-nomad context use NAME") from None


def _text_of(file: Path) -> str:
    """What a file holds; a pipe or a device would be read for ever. Raises OSError and UnicodeDecodeError."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file")
    return file.read_text(encoding="utf-8")


def _read(name: str) -> dict[str, Any]:
    file = _file(name)
    try:
        body = yaml.safe_load(_text_of(file))
    except FileNotFoundError:
        known = ", ".join(list_contexts().names) or "none"
        raise ContextError(f"there is no context {name!r} (known: {known}); see hms-nomad context list") from None
    except OSError as error:
        raise ContextError(f"{file} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ContextError(f"{file}: this is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        # A text that is no UTF-8, and a date that no calendar has.
        raise ContextError(f"{file}: this is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(body, dict):
        raise ContextError(f"{file}: a context is a mapping of fields such as nomad and consul")
    return body | {"name": name}


def _with_environment(fields: dict[str, Any]) -> dict[str, Any]:
    merged = dict(fields)
    for server, variables in _SERVERS.items():
        found = {field: os.environ[variable] for field, variable in variables.items() if os.environ.get(variable)}
        if server == "consul" and "address" in found:
            found["address"] = _consul_address(found["address"])
        if found and ("address" in found or server in merged or server != "vault"):
            stored = merged.get(server)
            merged[server] = _defaults(server) | (stored if isinstance(stored, dict) else {}) | found
    for field, variable in _PLAIN.items():
        if os.environ.get(variable):
            merged[field] = os.environ[variable]
    return merged


def _defaults(server: str) -> dict[str, Any]:
    address = getattr(Platform(), server)
    return {"address": address.address} if address else {}


def _consul_address(address: str) -> str:
    """Consul's own variable may lack the scheme; CONSUL_HTTP_SSL then says which one is meant."""
    if "://" in address:
        return address
    secure = os.environ.get("CONSUL_HTTP_SSL", "").lower() not in _FALSE_WORDS
    return f"{'https' if secure else 'http'}://{address}"


def _validated(fields: dict[str, Any], name: str | None) -> Platform:
    try:
        return read(Platform, fields)
    except MisfitError as error:
        source = _file(name) if name else "environment"
        raise ContextError(f"{source}: {said(error.misfits[0])}") from None
