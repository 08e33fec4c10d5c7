"""Findings as JSON and as SARIF, the form that code scanning reads."""

from __future__ import annotations

from hms_nomad.spec.loader import examine
from hms_nomad.spec.report_formats import diagnostics_to_json, diagnostics_to_sarif
from hms_nomad.workflows.planning.validate import validate
from tests.unit.spec.lines import CHAPTER, FILE


def test_a_finding_as_json_has_place_cause_mend_and_link():
    found = examine(CHAPTER.replace("port", "prot"), FILE).diagnostics
    assert diagnostics_to_json(found)[-1] == {
        "code": "HMS101",
        "level": "error",
        "file": "receipt.hms.yml",
        "line": 4,
        "column": 1,
        "message": 'unknown key "prot"',
        "fix": "did you mean port?",
        "link": "docs/diagnostics.md#hms101",
    }


def test_a_finding_about_a_whole_file_has_no_line(tmp_path):
    found = validate([str(tmp_path / "none.hms.yml")]).diagnostics
    assert (diagnostics_to_json(found)[0]["line"], diagnostics_to_json(found)[0]["column"]) == (None, None)
    place = diagnostics_to_sarif(found)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert "region" not in place


def test_sarif_names_rule_level_and_place():
    log = diagnostics_to_sarif(examine(CHAPTER.replace("3000", "0"), "a b/receipt.hms.yml").diagnostics)
    run = log["runs"][0]
    assert log["version"] == "2.1.0"
    assert run["tool"]["driver"]["name"] == "hms-nomad"
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [
        ("HMS301", "warning"),
        ("HMS315", "note"),
        ("HMS310", "note"),
        ("HMS105", "error"),
    ]
    last = run["results"][-1]
    assert run["tool"]["driver"]["rules"][last["ruleIndex"]]["id"] == "HMS105"
    assert last["message"]["text"] == "port is 0; it must be at least 1"
    assert last["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b/receipt.hms.yml"},
        "region": {"startLine": 4, "startColumn": 7},
    }


def test_sarif_of_nothing_is_a_run_without_results():
    assert diagnostics_to_sarif([])["runs"][0]["results"] == []
