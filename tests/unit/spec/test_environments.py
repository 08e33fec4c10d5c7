"""Variables, environments and where each value comes from."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from hms_nomad.spec.diagnostics import SpecError
from hms_nomad.spec.loader import examine, load_spec
from hms_nomad.spec.origins import origins
from hms_nomad.spec.schema import spec_schema
from hms_nomad.spec.selection import Selection
from hms_nomad.workflows.planning.validate import validate
from hms_nomad.workflows.specs import read_origins, read_spec, read_specs
from tests.unit.spec.lines import FILE

TEXT = """\
name: receipt-svc
version: 1.0.0
image: ghcr.io/gov/receipt:${var.tag}
port: 3000
scaling: {min: "${var.least}", max: 10}
health: {path: /health}
env:
  LOG_LEVEL: info
  LEAST: "${var.least}"
  DB_PASSWORD: hunter2
variables:
  tag: {description: Tag of the image.}
  least: {type: integer, default: 2, choices: [1, 2, 3]}
environments:
  staging:
    variables: {least: 1, tag: edge}
    scaling: {max: 3}
    env: {LOG_LEVEL: debug}
    health:
  production:
    routes: [{path: /receipt}]
"""


def load(environment=None, **variables):
    return load_spec(TEXT, FILE, environment, variables)


def refused(text, environment=None, **variables):
    with pytest.raises(SpecError) as caught:
        load_spec(text, FILE, environment, variables)
    return str(caught.value).splitlines()


def test_a_variable_gets_its_value_from_the_command_line_the_environment_or_its_default():
    assert load(tag="1.2").image == "ghcr.io/gov/receipt:1.2"
    assert load(tag="1.2").scaling.min == 2
    assert load("staging").image == "ghcr.io/gov/receipt:edge"
    assert load("staging").scaling.min == 1
    assert load("staging", tag="1.3", least="3").scaling.min == 3


def test_where_text_is_due_a_number_becomes_text():
    assert load("staging").env["LEAST"] == "1"


def test_an_environment_merges_mappings_replaces_the_rest_and_resets_what_it_leaves_empty():
    staging = load("staging")
    assert (staging.scaling.min, staging.scaling.max) == (1, 3)
    assert staging.env["LOG_LEVEL"] == "debug"
    assert staging.env["DB_PASSWORD"] == "hunter2"
    assert staging.health is None
    assert load("production", tag="1").routes[0].path == "/receipt"


def test_two_dollars_stand_for_the_text_itself():
    text = TEXT.replace("LOG_LEVEL: info", "LOG_LEVEL: $${var.least}")
    assert load_spec(text, FILE, None, {"tag": "1"}).env["LOG_LEVEL"] == "${var.least}"


@pytest.mark.parametrize(
    ("change", "environment", "variables", "seen"),
    [
        (
            ("", ""),
            None,
            {},
            (
                ":3:8: error [HMS112] the variable tag has no value; "
                "give it with --var tag=..., in an environment, or give it a default"
            ),
        ),
        (
            ("", ""),
            "stagign",
            {"tag": "1"},
            ':14:1: error [HMS110] there is no environment "stagign"; did you mean staging?',
        ),
        (
            ("", ""),
            None,
            {"tag": "1", "lest": "2"},
            ':11:1: error [HMS111] the variable "lest" is not declared; did you mean least?',
        ),
        (
            ("${var.tag}", "${var.tga}"),
            None,
            {"tag": "1"},
            ':3:8: error [HMS111] image names the variable "tga", which is not declared; did you mean tag?',
        ),
        (
            ("", ""),
            None,
            {"tag": "1", "least": "many"},
            (
                ":13:3: error [HMS113] --var least must be a whole number; "
                "write a whole number without control characters"
            ),
        ),
        (
            ("", ""),
            None,
            {"tag": "1", "least": "7"},
            ":13:3: error [HMS113] the variable least cannot have this value; it takes one of 1, 2, 3",
        ),
        (
            ("", ""),
            None,
            {"tag": "a\nb\0"},
            ":12:3: error [HMS113] --var tag must be text; write text without control characters",
        ),
        (
            ("least: 1, tag: edge", "least: one, tag: edge"),
            "staging",
            {},
            (
                ":16:24: error [HMS113] the variable least must be a whole number; "
                "write a whole number, or declare another type"
            ),
        ),
        (
            ("scaling: {max: 3}", "scaling: {mx: 3}"),
            "staging",
            {},
            ':17:15: error [HMS101] unknown key "mx" in scaling; did you mean max?',
        ),
        (
            ("scaling: {max: 3}", "scaling: {max: 0}"),
            "staging",
            {},
            ":17:20: error [HMS105] scaling.max is 0; it must be at least 1",
        ),
        (
            ("scaling: {max: 3}", "name: other"),
            "staging",
            {},
            ":17:5: error [HMS115] an environment cannot change name; remove it",
        ),
        (
            ("tag: {description", "Tag: {description"),
            None,
            {},
            (
                ':12:3: error [HMS106] "Tag" is no name of a variable; '
                "use lower-case letters, digits and underscores, a letter first, at most 63 characters"
            ),
        ),
        (
            ("type: integer", "type: int"),
            None,
            {"tag": "1"},
            ':13:17: error [HMS104] variables.least.type cannot be "int"; did you mean integer?',
        ),
        (
            ("least: {type: integer, default: 2, choices: [1, 2, 3]}", "least: {default: x}"),
            None,
            {"tag": "1"},
            (
                ":5:16: error [HMS103] scaling.min must be a whole number, not text; "
                "the value comes from the variable least: give it another type"
            ),
        ),
    ],
)
def test_a_mistake_in_what_is_left_open_is_one_line_at_its_place(change, environment, variables, seen):
    assert refused(TEXT.replace(*change), environment, **variables) == [f"receipt.hms.yml{seen}"]


def test_a_variable_that_no_value_names_is_a_warning():
    found = examine(TEXT.replace("${var.tag}", "1"), FILE, Selection(variables={"tag": "2"})).diagnostics
    assert [str(one).split(";")[0] for one in found if one.code == "HMS116"] == [
        "receipt.hms.yml:12:3: warning [HMS116] no value names the variable tag"
    ]


def test_every_value_says_where_it_comes_from():
    found = {one.path: str(one) for one in origins(examine(TEXT, FILE, Selection("staging", {"tag": "9"})))}
    assert found["name"] == "name = receipt-svc  (receipt.hms.yml:1:7)"
    assert found["image"] == "image = ghcr.io/gov/receipt:9  (receipt.hms.yml:3:8, variable tag from --var)"
    assert found["scaling.min"] == (
        "scaling.min = 1  (receipt.hms.yml:5:16, variable least by environment staging at receipt.hms.yml:16:24)"
    )
    assert found["scaling.max"] == "scaling.max = 3  (receipt.hms.yml:17:20, environment staging)"
    assert found["scaling.every"] == "scaling.every = 15s  (default)"
    assert found["env.LOG_LEVEL"] == "env.LOG_LEVEL = debug  (receipt.hms.yml:18:22, environment staging)"
    assert found["env.DB_PASSWORD"] == "env.DB_PASSWORD = (not shown)  (receipt.hms.yml:10:16)"
    assert found["health"] == "health = (none)  (default)"
    assert found["uses"] == "uses = (none)  (default)"


def test_validate_checks_every_environment_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TEXT.replace("{path: /receipt}", "{path: receipt}").replace("{max: 3}", "{max: 0}")
    Path(FILE).write_text(text)
    report = validate([FILE], variables={"tag": "1"})
    assert [str(one) for one in report.diagnostics if one.level == "error"] == [
        "receipt.hms.yml:17:20: error [HMS105] scaling.max is 0; it must be at least 1",
        'receipt.hms.yml:21:21: error [HMS106] routes[0].path "receipt" must start with a slash; write "/receipt"',
    ]


def test_a_command_chooses_environment_and_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(FILE).write_text(TEXT)
    assert read_spec(FILE, "staging", {"tag": "5"}).image == "ghcr.io/gov/receipt:5"
    assert str(read_origins(FILE, "staging")[0]) == "name = receipt-svc  (receipt.hms.yml:1:7)"


def test_of_several_files_one_must_know_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.hms.yml").write_text(TEXT)
    Path("b.hms.yml").write_text("name: tax-svc\nversion: '1'\nimage: a/b:1\nport: 80\n")
    assert [one.spec.scaling.min for one in read_specs(["."], "staging", {"tag": "1"})] == [1, 1]
    with pytest.raises(SpecError, match='no file has the environment "stagign"; mend the name, or declare it'):
        read_specs(["."], "stagign", {"tag": "1"})


def test_editors_take_variables_and_environments():
    validator = jsonschema.Draft202012Validator(spec_schema())
    validator.validate(yaml.safe_load(TEXT))
    assert not validator.is_valid(yaml.safe_load(TEXT.replace("scaling: {max: 3}", "scaling: {mx: 3}")))
    assert not validator.is_valid(yaml.safe_load(TEXT.replace("type: integer", "type: int")))
