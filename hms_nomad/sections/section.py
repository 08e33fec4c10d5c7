"""What a section of a file is: a frozen record whose fields say what they mean and what they may hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Any, ClassVar, Self, TypedDict, TypeVar, Unpack, dataclass_transform, overload

from msgspec import NODEFAULT, Struct, StructMeta
from msgspec.structs import fields, replace

_T = TypeVar("_T")


class Limits(Struct, frozen=True):
    """What a value keeps to besides its type: metadata of a type (``Annotated[str, Limits(...)]``) or of a field.

    Lengths count the characters of a text and the entries of a list or mapping. ``pattern`` is searched in a text; a
    ``$`` stands for its very end. ``kind`` names texts of one form, such as durations.
    """

    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    kind: str | None = None


UNLIMITED = Limits()


class Field(Struct, frozen=True):
    """The declaration of one field; ``default`` is ``msgspec.NODEFAULT`` where a value is needed."""

    default: Any
    description: str
    examples: Sequence[Any]
    limits: Limits


class _Said(TypedDict, total=False):
    """What ``field`` takes besides a default: the meaning of a field, examples, and its ``Limits``."""

    description: str
    examples: Sequence[Any]
    pattern: str | None
    min_length: int | None
    max_length: int | None
    ge: float | None
    gt: float | None
    le: float | None
    lt: float | None


@overload
def field(*, default: _T, **said: Unpack[_Said]) -> _T: ...


@overload
def field(**said: Unpack[_Said]) -> Any: ...


def field(
    *, default: Any = NODEFAULT, description: str = "", examples: Sequence[Any] = (), **limits: Any
) -> Any:  # what type checkers take it for is the field's own type
    """Declare a field of a section: its default, its meaning, examples, and the limits of ``Limits``."""
    return Field(default, description, examples, Limits(**limits))


class _SectionType(StructMeta):
    """Takes what ``field`` declares out of a class's body, so that a struct with plain defaults is left."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: bool) -> _SectionType:
        """A class whose instances are frozen, are made with names, and remember what was given."""
        declared = {key: value for key, value in namespace.items() if isinstance(value, Field)}
        for key, one in declared.items():
            if one.default is NODEFAULT:
                del namespace[key]
            else:
                namespace[key] = one.default
        namespace["_declared"] = declared
        return super().__new__(cls, name, bases, namespace, frozen=True, kw_only=True, dict=True)


@dataclass_transform(field_specifiers=(field,), kw_only_default=True, frozen_default=True)
class Section(Struct, metaclass=_SectionType, frozen=True):
    """A mapping with known keys. Modules of sections postpone no annotations: they would be compiled at each reading.

    ``read`` makes one of data; what is built by itself is not checked.
    """

    _declared: ClassVar[dict[str, Field]] = {}

    short_for: ClassVar[str] = ""
    """The field that a text in place of the section stands for; "" where the section has no such short form."""

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that the data said, whatever it said."""
        names: frozenset[str] = self.__dict__.get("given", frozenset())
        return names

    def contradiction(self) -> str:
        """What is wrong with fields that are right by themselves, in words; "" where nothing is."""
        return ""

    def changed(self, **fields: Any) -> Self:
        """The section with other values for some fields, which count as given."""
        return marked(replace(self, **fields), self.given | fields.keys())


_S = TypeVar("_S", bound=Section)


def marked(section: _S, names: frozenset[str]) -> _S:
    """The same section, which knows now which of its fields were given."""
    section.__dict__["given"] = names
    return section


def declaration(model: type[Section], name: str) -> Field:
    """How a field was declared, by the section itself or by one that it extends."""
    for kind in model.__mro__:
        if name in (declared := kind.__dict__.get("_declared", {})):
            found: Field = declared[name]
            return found
    return Field(NODEFAULT, "", (), UNLIMITED)


def as_data(value: Any, *, defaults: bool = True, nothing: bool = True) -> Any:
    """A section, or a part of one, as JSON has it: mappings, lists, texts, numbers, booleans and null.

    Without ``defaults`` a field with its default value is left out, without ``nothing`` one that is None.
    """
    if isinstance(value, Section):
        usual = {} if defaults else defaults_of(type(value))
        body = {name: getattr(value, name) for name in value.__struct_fields__}
        return {
            name: as_data(part, defaults=defaults, nothing=nothing)
            for name, part in body.items()
            if (name not in usual or usual[name] != part) and (nothing or part is not None)
        }
    if isinstance(value, dict):
        return {name: as_data(part, defaults=defaults, nothing=nothing) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(part, defaults=defaults, nothing=nothing) for part in value]
    return value.isoformat() if isinstance(value, date) else value


@cache
def defaults_of(model: type[Section]) -> dict[str, Any]:
    """The defaults of a section's fields by their names; those that must be given have none."""
    return {
        one.name: one.default if one.default_factory is NODEFAULT else one.default_factory()
        for one in fields(model)
        if not one.required
    }
