"""The terminal, the documentation and editors say the same of every field."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from hms_nomad.spec.explain import UnknownFieldError, every_field, explain
from hms_nomad.spec.loader import examine, load_spec
from hms_nomad.spec.schema import spec_schema
from tests.unit.spec.lines import CHAPTER, FILE
from tests.unit.spec.test_rules import CAREFUL


def test_a_field_is_explained_by_its_path():
    doc = explain("scaling.cpu.high")
    assert (doc.path, doc.type, doc.required, doc.default) == ("scaling.cpu.high", "number", False, 70)
    assert doc.description == "Above this one instance is added."
    assert doc.limits == ("at least 0", "at most 100")


def test_a_section_lists_the_fields_below_it():
    assert explain("scaling").children == (
        "scaling.min",
        "scaling.max",
        "scaling.cpu",
        "scaling.memory",
        "scaling.requests_per_instance",
        "scaling.latency_p99",
        "scaling.schedule",
        "scaling.every",
        "scaling.cooldown",
    )
    assert explain("").children[:3] == ("name", "version", "image")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("routes.path", "routes[].path"),
        ("routes[0].path", "routes[].path"),
        ("routes[].path", "routes[].path"),
        ("routes[2]", "routes"),
        ("probes.gve.path", "probes.NAME.path"),
        ("probes.path", "probes.NAME.path"),
        ("env.LOG_LEVEL", "env"),
        ("uses[0]", "uses"),
    ],
)
def test_entries_of_lists_and_mappings_need_no_exact_name(asked, found):
    assert explain(asked).path == found


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("scaling.cpu.hihg", "did you mean scaling.cpu.high?"),
        ("drain", "did you mean rollout.drain?"),
        ("retires", "did you mean mesh.retries?"),
        ("xyzzy", "hms-nomad explain lists all fields"),
    ],
)
def test_an_unknown_field_gets_the_nearest_name(asked, hint):
    with pytest.raises(UnknownFieldError) as caught:
        explain(asked)
    assert str(caught.value) == f"there is no field {asked!r}; {hint}"


def test_every_field_has_a_meaning_and_a_type():
    for doc in every_field():
        assert doc.description.endswith("."), doc.path
        assert doc.type
        assert explain(doc.path) == doc


SCHEMA = jsonschema.Draft202012Validator(spec_schema())


@pytest.mark.parametrize("text", [CHAPTER, CAREFUL])
def test_the_schema_takes_what_the_loader_takes(text):
    SCHEMA.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "change",
    [
        ("port: 3000", "prot: 3000"),
        ("port: 3000", "port: '3000'"),
        ("port: 3000", "port: 0"),
        ("1.0.0", "1.2"),
        ("[POST]", "[post]"),
        ("receipt-svc", "Receipt"),
        ("  max: 10", "  every: 1 minute"),
        ("path: /receipt", "path: receipt"),
    ],
)
def test_editors_and_the_loader_agree_on_mistakes(change):
    text = CHAPTER.replace(*change)
    assert examine(text, FILE).spec is None
    assert not SCHEMA.is_valid(yaml.safe_load(text))


def test_the_schema_is_one_that_editors_understand():
    jsonschema.Draft202012Validator.check_schema(spec_schema())


def test_the_examples_of_the_reference_are_specs():
    page = (Path(__file__).parents[3] / "docs/spec.md").read_text(encoding="utf-8")
    chapter, open_values, carried, job, hatch = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert load_spec(chapter, FILE).name == "receipt-svc"
    assert load_spec(open_values, FILE, "staging").scaling.max == 3
    assert load_spec(open_values, FILE, None, {"tag": "1.2"}).image == "ghcr.io/gov/receipt:1.2"
    assert load_spec(carried, FILE, sources=lambda source: source.encode()).files["app.py"].content == "app.py"
    assert load_spec(job, FILE).schedule is not None
    assert load_spec(chapter + hatch, FILE).nomad["job"] == {"Priority": 70}
