"""A task's templates -> files and variables, and what of them has changed since.

Nomad's template language is that of consul-template; what of it is known here stands in ``FUNCTIONS``. Anything else is
refused with its name, so that no file is silently wrong.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.template_language import MissingError, Record, Template, TemplateError, shown
from hms_nomad.dev.agent.values import Json
from hms_nomad.patterns import lazy_pattern

__all__ = [
    "MissingError",
    "Sources",
    "TemplateError",
    "changes",
    "inside",
    "is_changing",
    "render",
    "trouble_with",
    "variables_of",
    "write",
]

_GROUP = lazy_pattern(r"\$(?:(\d+)|\{(\d+)\})")


class Sources(Struct, frozen=True):
    """Where values come from: a key of Consul's store (None: there is none), the instances of a service by its name,
    with "|any" those too that are not healthy, the names of all services, and the values of a variable of Nomad.
    """

    key: Callable[[str], str | None]
    service: Callable[[str], Sequence[Record]]
    services: Callable[[], Sequence[str]]
    variable: Callable[[str], Mapping[str, str] | None]


def write(task: Json, environment: TaskEnvironment, sources: Sources) -> None:
    """Write a task's files, and add the variables that templates give. Raises TemplateError and OSError."""
    for template in task["Templates"] or ():
        target, content = _rendered(template, environment, sources)
        _put(template, target, content)
        if template["Envvars"]:
            environment.extra |= variables_of(content.decode("utf-8", "replace"))
    payload = task["DispatchPayload"]
    if payload and payload.get("File"):
        target = inside(environment.directories.task(task["Name"]), f"local/{payload['File']}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(environment.alloc["Job"]["Payload"] or ""))


def is_changing(task: Json) -> bool:
    """True for a task with a template whose values may change while it runs."""
    return any(_calls(template) & _CHANGING for template in task["Templates"] or ())


def changes(task: Json, environment: TaskEnvironment, sources: Sources) -> list[Json]:
    """Write the files of a task that are not what they would be now; answers their templates. Raises as ``write``."""
    found = []
    for template in task["Templates"] or ():
        if _calls(template) & _CHANGING:
            target, content = _rendered(template, environment, sources)
            if not target.exists() or target.read_bytes() != content:
                _put(template, target, content)
                found.append(template)
    return found


def render(text: str, left: str, right: str, variables: Mapping[str, str], sources: Sources) -> bytes:
    """The content of a template. Raises TemplateError."""
    whole = Template(text, left, right, FUNCTIONS).render({**FUNCTIONS, **_asking(variables, sources)})
    return whole.encode("utf-8", "surrogateescape")


def trouble_with(template: Json) -> str:
    """What a template of a job asks for that is not known here, or nothing; what a file holds is not there to see."""
    try:
        _calls(template)
    except TemplateError as error:
        return str(error)
    return ""


def variables_of(text: str) -> dict[str, str]:
    """The lines NAME=value of a file."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.removeprefix("export ").strip()] = _unquoted(value)
    return found


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "\"'":
        return value
    if value[0] == '"':
        with contextlib.suppress(ValueError):
            return str(json.loads(value))
    return value[1:-1]


def inside(folder: Path, path: str) -> Path:
    """A place of a job below an allocation's directory. Raises TemplateError for one outside of it."""
    target = Path(path)
    if target.is_absolute():
        # NOMAD_SECRETS_DIR and the like stand in the path.
        if not target.is_relative_to(folder.parent):
            raise TemplateError(f"the file {path} would lie outside of the allocation")
        return target
    found = (folder / target).resolve()
    if not found.is_relative_to(folder.parent.resolve()):
        raise TemplateError(f"the file {path} would lie outside of the allocation")
    return found


def _calls(template: Json) -> set[str]:
    return Template(template["EmbeddedTmpl"], template["LeftDelim"], template["RightDelim"], FUNCTIONS).functions


def _rendered(template: Json, environment: TaskEnvironment, sources: Sources) -> tuple[Path, bytes]:
    folder = environment.directories.task(environment.task["Name"])
    text = template["EmbeddedTmpl"]
    if template["SourcePath"]:
        text = (folder / environment.on_machine(template["SourcePath"])).read_text(encoding="utf-8")
    known = environment.variables(whole=False)
    content = render(text, template["LeftDelim"], template["RightDelim"], known, sources)
    return inside(folder, environment.on_machine(template["DestPath"])), content


def _put(template: Json, target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_bytes(content)
    temporary.chmod(int(template["Perms"], 8))
    temporary.replace(target)


def _asking(variables: Mapping[str, str], sources: Sources) -> dict[str, Callable[..., Any]]:
    """The functions whose values come from elsewhere."""

    def key(name: str) -> str:
        found = sources.key(name)
        if found is None:
            raise MissingError(f"kv.block({name})")
        return found

    def key_or(name: str, default: str) -> str:
        found = sources.key(name)
        return default if found is None else found

    def variable(path: str) -> Record:
        found = sources.variable(path)
        if found is None:
            place = f"{variables.get('NOMAD_NAMESPACE')}.{variables.get('NOMAD_REGION')}"
            raise MissingError(f"nomad.var.block({path}@{place})")
        return Record(found)

    return {
        "nomadVar": variable,
        "env": lambda name: variables.get(name, ""),
        "key": key,
        "keyOrDefault": key_or,
        "service": lambda name: list(sources.service(name)),
        "services": lambda: [Record(Name=name) for name in sources.services()],
    }


def _printed(*values: Any) -> str:
    """As Go prints: a space between two values of which neither is a text."""
    found = ""
    for number, value in enumerate(values):
        apart = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        found += (" " if apart else "") + shown(value)
    return found


def _formatted(form: str, *values: Any) -> str:
    """What Go's Printf makes of texts and numbers."""
    return re.sub(r"%[vsd]", "%s", form) % tuple(shown(value) for value in values)


def _failed(reason: str) -> str:
    raise TemplateError(reason)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[key]
    return value


def _replaced(pattern: str, new: str, text: str) -> str:
    def filled(match: re.Match[str]) -> str:
        return _GROUP.sub(lambda found: match[int(found[1] or found[2])] or "", new)

    return re.sub(pattern, filled, text)


def _all_of(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _any_of(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "surrogateescape")


def _nowhere(*_: Any) -> Any:
    raise TemplateError("its value comes from elsewhere")


_CHANGING = {"key", "keyOrDefault", "service", "services", "nomadVar"}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("env", *_CHANGING), _nowhere),
    "base64Decode": _decoded,
    "toLower": str.lower,
    "toUpper": str.upper,
    "trimSpace": str.strip,
    "trimPrefix": lambda part, text: text.removeprefix(part),
    "trimSuffix": lambda part, text: text.removesuffix(part),
    "toJSON": _json,
    "print": _printed,
    "printf": _formatted,
    "replaceAll": lambda old, new, text: text.replace(old, new),
    "sprig_fail": _failed,
    "regexMatch": lambda pattern, text: re.search(pattern, text) is not None,
    "regexReplaceAll": _replaced,
    "index": _index,
    "len": len,
    "eq": lambda first, *others: first in others,
    "ne": lambda first, other: first != other,
    "and": _all_of,
    "or": _any_of,
    "not": lambda value: not value,
}
"""What a template may call."""
