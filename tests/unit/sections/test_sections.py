"""Data becomes a section, or is refused with everything that does not fit."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_nomad.sections.json_schema import section_schema
from hms_nomad.sections.reading import Misfit, MisfitError, read
from hms_nomad.sections.saying import said
from hms_nomad.sections.section import Limits, Section, as_data, field

Label = Annotated[str, Limits(pattern=r"^[a-z]+$", max_length=5)]


class Door(Section):
    """A way in."""

    short_for: ClassVar[str] = "name"

    name: Label = field(description="What it is called.", examples=["front"])
    wide: float | None = field(default=None, gt=0, lt=10)


class House(Section):
    """Where somebody lives."""

    number: int = field(ge=1, le=999)
    doors: tuple[Door, ...] = field(default=(), min_length=1, max_length=2)
    rooms: dict[Label, Annotated[int, Limits(ge=1)]] = field(default={})
    style: Literal["old", "new"] = "new"
    owner: bool | str | None = None
    built: date | None = None
    let: bool = False
    front: Door = Door(name="front")
    notes: dict[str, str] = field(default={})

    def contradiction(self) -> str:
        return "an old house has a date" if self.style == "old" and self.built is None else ""


def misfits(data: object) -> list[Misfit]:
    with pytest.raises(MisfitError) as refused:
        read(House, data)
    return refused.value.misfits


def test_data_becomes_a_frozen_section_that_knows_what_was_given():
    house = read(House, {"number": 7, "doors": ["back", {"name": "side", "wide": 2}], "built": "1907-05-01"})
    assert house == House(number=7, doors=(Door(name="back"), Door(name="side", wide=2.0)), built=date(1907, 5, 1))
    assert house.given == {"number", "doors", "built"}
    assert (house.doors[1].given, house.front.given) == ({"name", "wide"}, frozenset())
    with pytest.raises(AttributeError):
        house.number = 8  # type: ignore[misc]


def test_a_changed_section_is_another_one_and_what_was_changed_counts_as_given():
    house = read(House, {"number": 7})
    assert (house.changed(let=True).let, house.let) == (True, False)
    assert house.changed(let=True).given == {"number", "let"}


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        ({}, [(("number",), "missing")]),
        ([], [((), "type")]),
        ({"number": 0}, [(("number",), "ge")]),
        ({"number": 1000}, [(("number",), "le")]),
        ({"number": 1.0}, [(("number",), "type")]),
        ({"number": True}, [(("number",), "type")]),
        ({"number": None}, [(("number",), "type")]),
        ({"number": 1, "doors": []}, [(("doors",), "min_length")]),
        ({"number": 1, "doors": ["a"] * 3}, [(("doors",), "max_length")]),
        ({"number": 1, "doors": "a"}, [(("doors",), "type")]),
        ({"number": 1, "doors": [{"wide": 0}]}, [(("doors", 0, "name"), "missing"), (("doors", 0, "wide"), "gt")]),
        ({"number": 1, "doors": [{"name": "a", "wide": 10}]}, [(("doors", 0, "wide"), "lt")]),
        ({"number": 1, "doors": ["a\n"]}, [(("doors", 0, "name"), "pattern")]),
        ({"number": 1, "doors": ["aaaaaa1"]}, [(("doors", 0, "name"), "max_length")]),
        ({"number": 1, "rooms": {"A": 0}}, [(("rooms", "A"), "pattern"), (("rooms", "A"), "ge")]),
        ({"number": 1, "rooms": {1: 1}}, [(("rooms", 1), "type")]),
        ({"number": 1, "style": "odd"}, [(("style",), "choice")]),
        ({"number": 1, "style": ["old"]}, [(("style",), "choice")]),
        ({"number": 1, "style": "old"}, [((), "contradiction")]),
        ({"number": 1, "owner": 3}, [(("owner",), "type")]),
        ({"number": 1, "built": "yesterday"}, [(("built",), "type")]),
        ({"number": 1, "let": "yes"}, [(("let",), "type")]),
        ({"number": 1, "numbr": 1, "y": 2}, [(("numbr",), "unknown"), (("y",), "unknown")]),
    ],
)
def test_everything_that_does_not_fit_is_named(data, kinds):
    assert [(one.path, one.kind) for one in misfits(data)] == kinds


def test_endless_mistakes_are_not_all_listed():
    assert len(misfits({"number": 1, "rooms": {f"a{number}": 0 for number in range(100_000)}})) < 5_000
    assert len(misfits({"number": 1, "doors": [7] * 100_000})) < 5_000
    assert len(misfits({f"a{number}": 0 for number in range(100_000)})) < 5_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "number is missing"),
        ([], "the file must be a section, not a list"),
        ({"number": 0}, "number must be at least 1, not 0"),
        ({"number": "private"}, "number must be a whole number, not text"),
        ({"number": 1, "doors": []}, "doors must have at least 1 entry"),
        ({"number": 1, "doors": ["aaaaaa"]}, "doors.0.name must have at most 5 characters"),
        ({"number": 1, "doors": ["1"]}, "doors.0.name must have the form ^[a-z]+$"),
        ({"number": 1, "rooms": {"A": 1}}, "rooms.A is a key that must have the form ^[a-z]+$"),
        ({"number": 1, "style": "odd"}, "style must be one of old, new, not text"),
        ({"number": 1, "owner": 3}, "owner must be true or false or text, not a number"),
        ({"number": 1, "built": 3}, "built must be a date, not a number"),
        ({"number": 1, "numbr": 1}, "numbr is unknown: did you mean number?"),
        ({"number": 1, "doors": [{"name": "a", "x": 1}]}, "doors.0.x is unknown: the keys here are name, wide"),
        ({"number": 1, "style": "old"}, "the file: an old house has a date"),
    ],
)
def test_a_misfit_is_said_in_words(data, words):
    assert said(misfits(data)[0]) == words


def test_a_section_becomes_the_data_that_it_was_made_of():
    data = {"number": 7, "doors": [{"name": "back", "wide": 2.0}], "built": "1907-05-01", "rooms": {"hall": 1}}
    house = read(House, data)
    assert as_data(house, defaults=False) == data
    assert read(House, as_data(house)) == house
    assert "wide" not in as_data(House(number=1, doors=(Door(name="a"),)), nothing=False)["doors"][0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1001) | st.floats(allow_nan=False) | st.text("ab1", max_size=7),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "wide", "a"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(House.__struct_fields__)), VALUES))
def test_the_schema_and_the_reader_agree(data):
    data = {key: value for key, value in data.items() if key not in {"built", "style", "front"}}
    definitions: dict[str, object] = {}
    schema = {**section_schema(House, definitions), "$defs": definitions}
    # JSON Schema takes 1.0 for a whole number.
    fits = jsonschema.Draft202012Validator(schema).is_valid(data) and type(data.get("number")) is int
    try:
        read(House, data)
        read_well = True
    except MisfitError:
        read_well = False
    if read_well:
        assert fits
    elif fits:
        assert any(isinstance(part, float) for part in data.get("rooms", {}).values()), data
