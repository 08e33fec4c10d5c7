"""The language of templates, as far as jobs of this program use it: text -> a template, checked when it is read.

It is that of Go's text/template with some functions of consul-template: pipelines, variables, ``if``, ``range`` and
``with``. A function that is not known here is refused by the words in which it stands, before anything is rendered.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

_TOKEN = lazy_pattern(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+)|(?P<mark>:=|[|(),=])"""
    r"""|(?P<variable>\$\w*)|(?P<fields>(?:\.\w+)+)|(?P<dot>\.)|(?P<word>[A-Za-z_]\w*))"""
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_BLOCKS = ("if", "range", "with")
Function = Callable[..., Any]
Scopes = ChainMap[str, Any]


class TemplateError(Exception):
    """A template that cannot be rendered here; the text says which part."""


class MissingError(TemplateError):
    """A value is not there yet; the text is Nomad's word for it, such as kv.block(NAME)."""


class Record(dict[str, Any]):
    """A value with fixed fields: one that it lacks is a mistake, while that of a map is only missing."""


class _Call(Struct, frozen=True):
    name: str


class _Value(Struct, frozen=True):
    """A constant, a variable (``$x``, ``$``), the dot (""), or a pipeline in brackets; then names of fields."""

    kind: str
    what: Any
    fields: tuple[str, ...] = ()


class _Pipe(Struct, frozen=True):
    names: tuple[str, ...]
    declares: bool
    commands: tuple[tuple[_Call | _Value, ...], ...]
    code: str


class _Block(Struct):
    """``if``, ``range`` or ``with``: its conditions with their bodies, in order; ``otherwise`` is the last ``else``."""

    kind: str
    branches: list[tuple[_Pipe, list[Any]]]
    otherwise: list[Any] = msgspec.field(default_factory=list)


class Template:
    """A template that was read. ``functions`` are the names of those that it calls."""

    def __init__(self, text: str, left: str, right: str, known: Mapping[str, Any]) -> None:
        """``known`` holds the names of the functions there are. Raises TemplateError."""
        self.functions: set[str] = set()
        self._known, self._left, self._right = known, left or "{{", right or "}}"
        self._pieces = list(self._split(text))
        self._next = 0
        self._nodes, end = self._body()
        if end:
            raise TemplateError(f"{self._shown(end)} has no beginning")

    def render(self, functions: Mapping[str, Function]) -> str:
        """The text with everything filled in. Raises TemplateError."""
        return "".join(_Evaluation(functions).body(self._nodes, None, ChainMap({"$": None})))

    def _split(self, text: str) -> Iterator[tuple[bool, str]]:
        """Texts and codes in their order; trim markers are applied, comments are left out."""
        rest, trims = text, False
        while True:
            before, left, rest = rest.partition(self._left)
            before = before.lstrip() if trims else before
            if not left:
                yield False, before
                return
            code, right, rest = rest.partition(self._right)
            if not right:
                raise TemplateError(f"{self._left} without {self._right}")
            if code.startswith("- "):
                before, code = before.rstrip(), code[2:]
            trims = code.endswith(" -")
            code = code.removesuffix(" -").strip()
            yield False, before
            if not code.startswith("/*"):
                yield True, code

    def _shown(self, code: str) -> str:
        return f"{self._left} {code} {self._right}"

    def _body(self) -> tuple[list[Any], str]:
        """What stands up to an ``else`` or ``end``, and that code; "" at the end of the text."""
        nodes: list[Any] = []
        while self._next < len(self._pieces):
            is_code, text = self._pieces[self._next]
            self._next += 1
            if not is_code:
                nodes.append(text)
                continue
            word = text.partition(" ")[0]
            if word in ("end", "else"):
                return nodes, text
            nodes.append(self._block(text) if word in _BLOCKS else self._pipe(text, text))
        return nodes, ""

    def _block(self, code: str) -> _Block:
        kind, _, condition = code.partition(" ")
        block = _Block(kind, [])
        pipe = self._pipe(condition, code)
        while True:
            nodes, end = self._body()
            block.branches.append((pipe, nodes))
            if end.startswith("else if ") and kind == "if":
                pipe = self._pipe(end.removeprefix("else if "), end)
                continue
            if end == "else":
                block.otherwise, end = self._body()
            if end != "end":
                raise TemplateError(f"{self._shown(code)} has no end")
            return block

    def _pipe(self, text: str, code: str) -> _Pipe:
        tokens = _tokens(text)
        if tokens is None:
            raise TemplateError(f"{self._shown(code)} is not known to the embedded agent")
        names: list[str] = []
        words = [word for _, word in tokens]
        if ":=" in words or "=" in words:
            at = words.index(":=") if ":=" in words else words.index("=")
            names = [word for kind, word in tokens[:at] if kind == "variable"]
            tokens = tokens[at + 1 :]
        commands, rest = self._commands(tokens, code)
        if rest or not all(commands):
            raise TemplateError(f"{self._shown(code)} is not known to the embedded agent")
        return _Pipe(tuple(names), ":=" in words, tuple(commands), self._shown(code))

    def _commands(
        self, tokens: list[tuple[str, str]], code: str
    ) -> tuple[list[tuple[_Call | _Value, ...]], list[tuple[str, str]]]:
        commands: list[list[_Call | _Value]] = [[]]
        while tokens:
            (kind, word), tokens = tokens[0], tokens[1:]
            if word == ")" and kind == "mark":
                return [tuple(one) for one in commands], [(kind, word), *tokens]
            if word == "|" and kind == "mark":
                commands.append([])
            elif word == "(" and kind == "mark":
                inner, tokens = self._commands(tokens, code)
                if not tokens or not all(inner):
                    raise TemplateError(f"{self._shown(code)} is not known to the embedded agent")
                fields, tokens = _fields(tokens[1:])
                commands[-1].append(_Value("pipe", _Pipe((), False, tuple(inner), self._shown(code)), fields))
            else:
                fields, tokens = _fields(tokens) if kind == "variable" else ((), tokens)
                commands[-1].append(self._operand(kind, word, fields, code))
        return [tuple(one) for one in commands], []

    def _operand(self, kind: str, word: str, fields: tuple[str, ...], code: str) -> _Call | _Value:
        if kind == "string":
            return _Value("constant", _literal(word))
        if kind == "number":
            return _Value("constant", int(word))
        if kind == "variable":
            return _Value("variable", word, fields)
        if kind in ("fields", "dot"):
            return _Value("variable", "", tuple(word.split(".")[1:]) if kind == "fields" else ())
        if kind == "word" and word in ("true", "false"):
            return _Value("constant", word == "true")
        if kind == "word" and word in self._known:
            self.functions.add(word)
            return _Call(word)
        raise TemplateError(f"{self._shown(code)} is not known to the embedded agent")


class _Evaluation:
    """Fills a template in."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions

    def body(self, nodes: Sequence[Any], dot: Any, variables: Scopes) -> Iterator[str]:
        """The texts of some nodes."""
        for node in nodes:
            if isinstance(node, str):
                yield node
            elif isinstance(node, _Block):
                yield from self._block(node, dot, variables.new_child())
            else:
                value = self._pipe(node, dot, variables)
                if node.names:
                    name = node.names[-1]
                    known = next((scope for scope in variables.maps if name in scope), variables)
                    (variables if node.declares else known)[name] = value
                else:
                    yield shown(value)

    def _block(self, block: _Block, dot: Any, variables: Scopes) -> Iterator[str]:
        for pipe, nodes in block.branches:
            value = self._pipe(pipe, dot, variables)
            if block.kind == "range":
                rows = list(value.items()) if isinstance(value, Mapping) else list(enumerate(value or ()))
                for key, row in rows:
                    inner = variables.new_child()
                    inner.update(zip(pipe.names[-2:], (key, row)[-len(pipe.names) :], strict=False))
                    yield from self.body(nodes, row, inner)
                if rows:
                    return
            elif value:
                inner = variables.new_child({pipe.names[-1]: value} if pipe.names else {})
                yield from self.body(nodes, value if block.kind == "with" else dot, inner)
                return
        yield from self.body(block.otherwise, dot, variables)

    def _pipe(self, pipe: _Pipe, dot: Any, variables: Mapping[str, Any]) -> Any:
        value: list[Any] = []
        for first, *rest in pipe.commands:
            arguments = [self._operand(one, pipe, dot, variables) for one in rest] + value
            if isinstance(first, _Call):
                try:
                    value = [self._functions[first.name](*arguments)]
                except (TypeError, ValueError, LookupError, AttributeError) as error:
                    raise TemplateError(f"{pipe.code}: {first.name}: {error}") from None
            elif arguments:
                raise TemplateError(f"{pipe.code}: what stands first is no function")
            else:
                value = [self._operand(first, pipe, dot, variables)]
        return value[0]

    def _operand(self, one: _Call | _Value, pipe: _Pipe, dot: Any, variables: Mapping[str, Any]) -> Any:
        if isinstance(one, _Call):
            return self._functions[one.name]()
        if one.kind == "constant":
            return one.what
        if one.kind == "pipe":
            value = self._pipe(one.what, dot, variables)
        elif one.what == "":
            value = dot
        elif one.what in variables:
            value = variables[one.what]
        else:
            raise TemplateError(f"{pipe.code}: there is no variable {one.what}")
        for name in one.fields:
            if not isinstance(value, Mapping) or (isinstance(value, Record) and name not in value):
                raise TemplateError(f"{pipe.code}: there is no .{name}")
            value = value.get(name, "<no value>")
        return value


def shown(value: Any) -> str:
    """A value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<no value>" if value is None else str(value)


def _tokens(text: str) -> list[tuple[str, str]] | None:
    found: list[tuple[str, str]] = []
    text = text.strip()
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            return None
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _fields(tokens: list[tuple[str, str]]) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Fields that stand right behind a variable or brackets."""
    if tokens and tokens[0][0] == "fields":
        return tuple(tokens[0][1].split(".")[1:]), tokens[1:]
    return (), tokens


def _literal(word: str) -> str:
    if word.startswith("`"):
        return word[1:-1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), word[1:-1])
