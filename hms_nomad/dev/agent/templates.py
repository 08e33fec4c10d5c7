"""A task's templates -> files and variables: text as it stands, and the few functions that jobs of this program use.

Nomad's template language is that of consul-template. Here a text may ask for ``env``, ``key``, ``base64Decode``, plain
strings, and ``range service``; anything else is refused with its name, so that no file is silently wrong.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.values import Json

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`')
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\||[^\s|]+')
_FIELDS = {".Address": "address", ".Port": "port", ".Name": "name", ".ID": "id"}


class TemplateError(Exception):
    """A template that cannot be rendered here; the text says which part."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A healthy instance of a service, for ``range service``."""

    id: str
    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values come from: a key of Consul's store (None: there is none), and the instances of a service."""

    key: Callable[[str], str | None]
    service: Callable[[str], Sequence[Instance]]


def write(task: Json, environment: TaskEnvironment, sources: Sources) -> None:
    """Write a task's files, and add the variables that templates give. Raises TemplateError and OSError."""
    folder = environment.directories.task(task["Name"])
    for template in task["Templates"] or ():
        known = environment.variables(whole=False)
        text = template["EmbeddedTmpl"]
        if template["SourcePath"]:
            text = (folder / environment.on_machine(template["SourcePath"])).read_text(encoding="utf-8")
        content = render(text, template["LeftDelim"], template["RightDelim"], known, sources)
        target = inside(folder, environment.on_machine(template["DestPath"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.write_bytes(content)
        temporary.chmod(int(template["Perms"], 8))
        temporary.replace(target)
        if template["Envvars"]:
            environment.extra |= variables_of(content.decode("utf-8", "replace"))
    payload = task["DispatchPayload"]
    if payload and payload.get("File"):
        target = inside(folder, f"local/{payload['File']}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(environment.alloc["Job"]["Payload"] or ""))


def render(text: str, left: str, right: str, variables: Mapping[str, str], sources: Sources) -> bytes:
    """The content of a template. Raises TemplateError."""
    return _Renderer(left, right, variables, sources).run(text)


def trouble_with(template: Json) -> str:
    """What a template of a job asks for that is not known here, or nothing; what a file holds is not there to see."""
    nothing = Sources(lambda _: "", lambda name: [Instance("", name, "", 0)])
    try:
        render(template["EmbeddedTmpl"], template["LeftDelim"], template["RightDelim"], {}, nothing)
    except TemplateError as error:
        return str(error)
    except ValueError:
        # Something that is no Base64: the task will say so.
        return ""
    return ""


def variables_of(text: str) -> dict[str, str]:
    """The lines NAME=value of a file."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name.removeprefix("export ").strip()] = value[1:-1] if quoted else value
    return found


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


class _Renderer:
    def __init__(self, left: str, right: str, variables: Mapping[str, str], sources: Sources) -> None:
        self._left, self._right, self._variables, self._sources = left or "{{", right or "}}", variables, sources

    def run(self, text: str) -> bytes:
        pieces = self._pieces(text)
        rendered, rest = self._block(pieces, None)
        if rest:
            raise TemplateError(f"{rest[0][1]!r} has no beginning")
        return rendered

    def _pieces(self, text: str) -> list[tuple[bool, str]]:
        """Texts and codes in their order; trim markers are applied."""
        found: list[tuple[bool, str]] = []
        rest, trims = text, False
        while True:
            before, left, rest = rest.partition(self._left)
            before = before.lstrip() if trims else before
            if not left:
                return [*found, (False, before)]
            code, right, rest = rest.partition(self._right)
            if not right:
                raise TemplateError(f"{self._left} without {self._right}")
            if code.startswith("- "):
                before, code = before.rstrip(), code[2:]
            trims = code.endswith(" -")
            found += [(False, before), (True, code.removesuffix(" -").strip())]

    def _block(self, pieces: list[tuple[bool, str]], item: Instance | None) -> tuple[bytes, list[tuple[bool, str]]]:
        out = b""
        while pieces:
            is_code, text = pieces[0]
            if is_code and (text in ("end", "else") or text.startswith("else ")):
                return out, pieces
            pieces = pieces[1:]
            if not is_code:
                out += text.encode()
            elif text.startswith("range "):
                part, pieces = self._range(text, pieces)
                out += part
            elif not text.startswith("/*"):
                out += self._value(text, item)
        return out, pieces

    def _range(self, code: str, pieces: list[tuple[bool, str]]) -> tuple[bytes, list[tuple[bool, str]]]:
        words = _WORD.findall(code)
        if len(words) != 3 or words[1] != "service":
            raise TemplateError(f"{{{{ {code} }}}} is not known to the embedded agent")
        found = self._sources.service(_literal(words[2]))
        out, after = b"", pieces
        for instance in found:
            part, after = self._block(pieces, instance)
            out += part
        if not found:
            _, after = self._block(pieces, Instance("", "", "", 0))
        if after and after[0][1] == "else":
            part, after = self._block(after[1:], None)
            out = out if found else part
        if not after or after[0][1] != "end":
            raise TemplateError(f"{{{{ {code} }}}} has no end")
        return out, after[1:]

    def _value(self, code: str, item: Instance | None) -> bytes:
        words = _WORD.findall(code)
        stages = " ".join(words).split(" | ") if "|" in words else [" ".join(words)]
        value = self._first(_WORD.findall(stages[0]), code, item)
        for stage in stages[1:]:
            value = _piped(stage, value, code)
        return value

    def _first(self, words: list[str], code: str, item: Instance | None) -> bytes:
        if len(words) == 1 and _STRING.fullmatch(words[0]):
            return _literal(words[0]).encode()
        if len(words) == 1 and words[0] in _FIELDS and item is not None:
            return str(getattr(item, _FIELDS[words[0]])).encode()
        if len(words) == 2 and words[0] == "env":
            return self._variables.get(_literal(words[1]), "").encode()
        if len(words) in (2, 3) and words[0] in ("key", "keyOrDefault"):
            found = self._sources.key(_literal(words[1]))
            if found is None and words[0] == "key":
                raise TemplateError(f"Consul has no key {_literal(words[1])}")
            return (found if found is not None else _literal(words[2])).encode()
        raise TemplateError(f"{{{{ {code} }}}} is not known to the embedded agent")


def _piped(stage: str, value: bytes, code: str) -> bytes:
    if stage == "base64Decode":
        return base64.b64decode(value)
    if stage == "toLower":
        return value.lower()
    if stage == "toUpper":
        return value.upper()
    if stage == "trimSpace":
        return value.strip()
    if stage == "toJSON":
        return json.dumps(value.decode()).encode()
    raise TemplateError(f"{{{{ {code} }}}} is not known to the embedded agent")


def _literal(word: str) -> str:
    match = _STRING.fullmatch(word)
    if match is None:
        raise TemplateError(f"{word} is no string")
    if match[2] is not None:
        return match[2]
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), match[1])
