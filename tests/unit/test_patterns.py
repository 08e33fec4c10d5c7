"""Patterns are compiled when they are used, and all of them can be."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from hms_nomad.patterns import lazy_pattern

HOUSE = Path(__file__).parents[2] / "hms_nomad"


def modules_with_patterns() -> list[str]:
    files = [path for path in HOUSE.rglob("*.py") if "lazy_pattern(" in path.read_text(encoding="utf-8")]
    return sorted(".".join(("hms_nomad", *path.relative_to(HOUSE).with_suffix("").parts)) for path in files)


def test_a_pattern_is_compiled_at_its_first_use():
    broken = lazy_pattern("(")
    with pytest.raises(re.error):
        broken.search("x")


def test_a_pattern_answers_as_that_of_the_library_does():
    words = lazy_pattern(r"(?P<first>\w)\w*", re.ASCII)
    assert words.sub(r"\g<first>", "one two") == "o t"
    assert (words.flags & re.ASCII, words.groupindex["first"]) == (re.ASCII, 1)
    assert lazy_pattern(rb"\d+").findall(b"1 22") == [b"1", b"22"]


@pytest.mark.parametrize("name", [name for name in modules_with_patterns() if name != "hms_nomad.patterns"])
def test_every_pattern_of_a_module_can_be_compiled(name):
    module = import_module(name)
    found = [one for value in vars(module).values() for one in _inside(value) if type(one).__name__ == "_Pattern"]
    assert found
    assert all(one.pattern for one in found)


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return [one for part in value.values() for one in _inside(part)]
    if isinstance(value, list | tuple):
        return [one for part in value for one in _inside(part)]
    return [value]


def test_no_module_compiles_a_pattern_when_it_is_loaded():
    early = []
    for path in sorted(HOUSE.rglob("*.py")):
        body = [one for one in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(one, ast.ClassDef)]
        code = [ast.unparse(one) for one in body if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
        early += [f"{path}: {line}" for line in code if "re.compile(" in line]
    assert not early
