"""Whatever a file holds, it becomes a spec or lines with places: never another exception, never a second line."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import MAX_FINDINGS
from hms_nomad.spec.loader import Examined, examine
from hms_nomad.spec.model import Source
from hms_nomad.spec.origins import origins
from hms_nomad.spec.report_formats import diagnostics_to_json, diagnostics_to_sarif
from hms_nomad.spec.selection import Selection
from tests.unit.spec.lines import CHAPTER
from tests.unit.spec.test_environments import TEXT
from tests.unit.spec.test_rules import CAREFUL

CHEAP = settings(max_examples=150)

SNIPPETS = st.sampled_from(
    [
        *(
            "&a",
            "*a",
            "<<:",
            "!!str",
            "---\n",
            "? ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            ": ",
            "\t",
            '"',
            "'",
            "|\n",
            "#",
            "%",
            "@",
        ),
        *("${var.x}", "${var.", "$${var.least}", "\n", "  ", "1.20", ".nan", "1e999", "null", "~", "true", "\\", "\0"),
    ]
)
WORDS = st.sampled_from(
    [*Source.__struct_fields__, "min", "max", "cpu", "path", "staging", "least", "job", "task", "Config"]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), WORDS, st.just("${var.least}")
)
STRUCTURES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, st.text(max_size=8)), inner, max_size=5)
    ),
    max_leaves=25,
)


def holds(text: str | bytes, file: str = "f.hms.yml", selection: Selection | None = None) -> Examined:
    examined = examine(text, file, selection or Selection(), every_environment=selection is None)
    assert len(examined.diagnostics) <= MAX_FINDINGS
    assert (examined.spec is None) == any(one.level is Level.ERROR for one in examined.diagnostics)
    for one in examined.diagnostics:
        assert one.position.line >= 1 or one.code == "HMS003"
        assert str(one).isprintable(), one
        assert len(str(one)) < 2000
    json.dumps(diagnostics_to_sarif(examined.diagnostics))
    json.dumps(diagnostics_to_json(examined.diagnostics))
    for origin in origins(examined):
        assert str(origin).isprintable()
    return examined


@CHEAP
@given(st.binary(max_size=300))
def test_any_bytes(content):
    holds(content)
    holds(content, "f.json")


@CHEAP
@given(st.text(max_size=300))
@example("a: &a\n<<: *a")
@example("? - a\n: b")
@example("name: '${var.}'")
def test_any_text(content):
    holds(content)
    holds(content, "f.json")


@CHEAP
@given(STRUCTURES)
def test_any_structure(data):
    yaml_like = holds(json.dumps(data))
    json_like = holds(json.dumps(data), "f.json")
    assert yaml_like.spec == json_like.spec


@CHEAP
@given(st.sampled_from([CHAPTER, CAREFUL, TEXT]), st.data())
def test_a_spec_with_something_pasted_into_it(text, data):
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 12)))
        text = text[:at] + data.draw(st.one_of(SNIPPETS, WORDS, st.text(max_size=5))) + text[until:]
    holds(text)
    holds(text, selection=Selection("staging", {"least": "2", "tag": data.draw(st.text(max_size=10))}))


@CHEAP
@given(st.sampled_from(sorted(Source.__struct_fields__)), STRUCTURES)
def test_a_spec_with_any_value_in_any_field(name, value):
    fields = {"name": "a-b", "version": "1", "image": "a.b/c:1", "port": 80, name: value}
    holds(json.dumps(fields))


@CHEAP
@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3), st.text(max_size=10))
def test_any_selection(variables, environment):
    examine(TEXT, "f.hms.yml", Selection(environment, variables))
