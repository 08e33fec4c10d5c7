"""A denied deploy ends with code 8 before any server is asked, and names the rule, its file and its line."""

from __future__ import annotations

import pytest

from tests.unit.cli.running import json_of, run

RULES = "rules:\n  - name: registries\n    why: they are scanned\n    images_from: [registry.gov]\n"


@pytest.fixture
def ruled(tmp_path, monkeypatch):
    """A context whose rules allow one registry."""
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    contexts = tmp_path / "configuration" / "contexts"
    contexts.mkdir(parents=True)
    (contexts / "agency.yml").write_text(f"name: agency\nrules: [{rules}]\n", encoding="utf-8")
    monkeypatch.setenv("HMS_NOMAD_CONTEXT", "agency")
    return rules


@pytest.mark.parametrize("command", ["validate", "plan", "deploy"])
def test_a_denied_spec_ends_with_8_and_names_rule_file_and_line(ruled, spec_file, command):
    result = run(command, spec_file)
    assert result.exit_code == 8
    said = (
        f"{spec_file}:3:8: error [HMS600] rule registries ({ruled}:2) forbids it: the image ghcr.io/gov/receipt:1.0 "
        "comes from elsewhere; images come from registry.gov"
    )
    assert said in result.output


def test_a_denied_deploy_is_a_document_too(ruled, spec_file):
    body = json_of(run("deploy", spec_file, "-o", "json"))
    assert (body["error"]["code"], body["error"]["exit_code"]) == ("denied-by-rule", 8)
    assert body["error"]["diagnostics"][0]["line"] == 3


def test_a_denial_is_a_finding_of_validate_in_every_form(ruled, spec_file):
    body = json_of(run("validate", spec_file, "-o", "json"))
    assert (body["ok"], [one["code"] for one in body["diagnostics"]][-1]) == (False, "HMS600")
    (sarif,) = json_of(run("validate", spec_file, "-o", "sarif"))["runs"]
    assert "HMS600" in {one["ruleId"] for one in sarif["results"]}


def test_rules_without_a_context(spec_file):
    result = run("validate", spec_file, "--rules", "baseline")
    assert result.exit_code == 8
    assert "rule image-digest (policies/deploy/baseline.yml:9) forbids it" in result.stdout


def test_no_rules_are_no_denial(spec_file):
    assert run("validate", spec_file).exit_code == 0


@pytest.mark.parametrize("name", ["no-such", "./no-such.yml"])
def test_rules_that_are_missing_are_an_error(spec_file, name):
    result = run("validate", spec_file, "--rules", name)
    assert result.exit_code == 2
    assert "no-such" in result.stderr


def test_exceptions_are_listed(ruled, spec_file):
    with ruled.open("a", encoding="utf-8") as stream:
        stream.write("exceptions:\n  - {rule: registries, service: receipt-svc, until: 2999-01-01, why: a move}\n")
    result = run("validate", spec_file)
    assert result.exit_code == 0
    assert "exception: rule registries does not hold for receipt-svc until 2999-01-01" in result.stdout
