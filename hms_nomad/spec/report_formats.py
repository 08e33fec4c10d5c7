"""Diagnostics -> what other programs read: plain JSON values, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from hms_nomad import __version__
from hms_nomad.spec.checks import rules
from hms_nomad.spec.diagnostics import Diagnostic, Level
from hms_nomad.spec.registry import Rule

_SARIF_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def diagnostics_to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """One object for each finding; ``line`` and ``column`` count from 1 and are null for the file as a whole."""
    return [
        {
            "code": one.code,
            "level": one.level.value,
            "file": one.position.file,
            "line": one.position.line or None,
            "column": one.position.column or None,
            "message": one.message,
            "fix": one.fix,
            "link": one.link,
        }
        for one in diagnostics
    ]


def diagnostics_to_sarif(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """A SARIF log (OASIS SARIF 2.1.0) with one run; it describes the rules that were broken and no others."""
    findings = list(diagnostics)
    codes = sorted({one.code for one in findings})
    known = {rule.code: rule for rule in rules()}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "hms-nomad",
                        "version": __version__,
                        "rules": [_rule(known[code]) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, codes.index(one.code)) for one in findings],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": rule.cause},
        "help": {"text": f"{rule.cause} What to do: {rule.fix}."},
        "defaultConfiguration": {"level": _SARIF_LEVELS[rule.level]},
    }


def _result(one: Diagnostic, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(one.position.file)}}
    if one.position.line:
        place["region"] = {"startLine": one.position.line, "startColumn": one.position.column}
    return {
        "ruleId": one.code,
        "ruleIndex": index,
        "level": _SARIF_LEVELS[one.level],
        "message": {"text": f"{one.message}; {one.fix}" if one.fix else one.message},
        "locations": [{"physicalLocation": place}],
    }
