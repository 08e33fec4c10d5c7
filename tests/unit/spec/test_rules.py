"""Every rule fires on its own example, says so in one line, is documented, and leaves a careful spec in peace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hms_nomad.spec.checks import checks, rules
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.documentation import example_of, generated
from hms_nomad.spec.loader import examine
from tests.unit.spec.lines import CHAPTER, FILE

ROOT = Path(__file__).parents[3]

CAREFUL = """\
name: receipt-svc
version: 1.4.2
image: ghcr.io/gov/receipt:1.4.2@sha256:{digest}
port: 3000
owner: tax-team
description: Sends receipts.
routes:
  - path: /receipt/archive
    match: exact
    methods: [GET]
    timeout: 4s
  - path: /receipt/
    methods: [POST]
    public: true
scaling: {{min: 2, max: 10, cpu: {{high: 75, low: 25}}, every: 15s, cooldown: 1m}}
health: {{path: /health, interval: 5s, timeout: 2s}}
probes:
  gve: {{path: /gve}}
env: {{LOG_LEVEL: info, DB_PASSWORD_FILE: /secrets/db, TOKEN_URL: "https://id.gov/token"}}
resources: {{cpu: 200, memory: 256, memory_max: 512}}
uses: [tax-svc]
allow: [tax-portal]
mesh: {{timeout: 5s, retries: 2, retry_on: [connect-failure, refused-stream]}}
rollout: {{steps: [5, 25, 100], every: 60s, success: 98, min_requests: 100, p99: 2s, on_no_traffic: probe}}
nomad:
  job: {{Priority: 70}}
""".format(digest="0" * 64)


def seen(text):
    return [str(one) for one in examine(text, FILE).diagnostics]


@pytest.mark.parametrize("rule", [rule for rule in rules() if rule.example], ids=lambda rule: rule.code)
def test_a_rule_fires_on_its_example_in_one_line_with_a_mend(rule):
    found = [one for one in examine(example_of(rule), FILE).diagnostics if one.code == rule.code]
    assert found
    for one in found:
        assert one.level is rule.level
        assert one.position.line >= 1
        assert one.fix
        assert str(one).isprintable()
        assert one.link == f"docs/diagnostics.md#{rule.code.lower()}"


def test_every_check_has_an_example():
    assert all(check.rule.example and check.rule.cause for check in checks())


def test_at_least_thirty_rules_are_advice_to_operators():
    assert sum(rule.level is not Level.ERROR for rule in rules()) >= 30


def test_a_careful_spec_is_left_in_peace():
    assert seen(CAREFUL) == []


def test_the_chapters_file_gets_only_advice():
    assert seen(CHAPTER) == [
        (
            "receipt.hms.yml:1:1: warning [HMS301] no health check is declared; "
            "add health: {path: /health}, or kind: grpc or command"
        ),
        "receipt.hms.yml:1:1: info [HMS315] no owner is named; add owner: the team that answers for the service",
        (
            'receipt.hms.yml:3:8: info [HMS310] image "ghcr.io/gov/receipt:1.0" has no digest; '
            "write name@sha256:... so that every instance runs the same bytes"
        ),
    ]


def test_every_code_in_the_source_is_documented():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "hms_nomad").rglob("*.py"))
    codes = {rule.code for rule in rules()}
    assert set(re.findall(r'"(HMS[0-9]{3})"', source)) <= codes
    assert len(codes) == len(rules())
    page = (ROOT / "docs/diagnostics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (HMS[0-9]{3})$", page, re.MULTILINE)) == codes


@pytest.mark.parametrize("name", sorted(generated()))
def test_generated_documentation_is_fresh(name):
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name], "run scripts/spec_docs.py"


def test_a_secret_is_pointed_at_but_not_repeated():
    text = CAREFUL.replace("LOG_LEVEL: info", "DB_PASSWORD: hunter2, DSN: 'postgres://app:hunter2@db/app'")
    assert [line.split(": ", 1)[1] for line in seen(text)] == [
        (
            "warning [HMS340] env.DB_PASSWORD looks like a secret; "
            "keep it in Vault, name it under secrets, and take it out of the file's history"
        ),
        (
            "warning [HMS340] env.DSN looks like a secret; "
            "keep it in Vault, name it under secrets, and take it out of the file's history"
        ),
    ]


@pytest.mark.parametrize(
    ("routes", "shadowed"),
    [
        ("[{path: /a}, {path: /a/b}]", True),
        ("[{path: /a/b}, {path: /a}]", False),
        ("[{path: /a, methods: [GET]}, {path: /a/b, methods: [POST]}]", False),
        ("[{path: /a, methods: [GET]}, {path: /a/b}]", False),
        ("[{path: /a}, {path: /a/b, methods: [POST]}]", True),
        ("[{path: /a, match: exact}, {path: /a/b}]", False),
        ("[{path: /a}, {path: /a, match: exact}]", True),
        ("[{path: /}, {path: '/x.*', match: regex}]", True),
        ("[{path: '/a/.*', match: regex}, {path: /a/b, match: exact}]", True),
    ],
)
def test_a_route_is_shadowed_only_when_every_request_for_it_goes_elsewhere(routes, shadowed):
    found = seen(f"name: a\nversion: '1'\nimage: a/b:1\nport: 80\nroutes: {routes}\n")
    assert any("HMS320" in line for line in found) == shadowed


@pytest.mark.parametrize(
    ("written", "column", "told"),
    [
        ("{job: {Prority: 5}}", 15, 'nomad.job has no field "Prority"; write Priority: '),
        ("{job: {Priority: high}}", 25, "nomad.job.Priority must be a whole number; write a whole"),
        ("{job: {AllAtOnce: 1}}", 26, "nomad.job.AllAtOnce must be true or false; write true or"),
        ("{group: {Networks: [{Moed: host}]}}", 29, 'nomad.group.Networks[0] has no field "Moed"; write Mode'),
        ("{group: {Networks: [host]}}", 28, "nomad.group.Networks[0] must be a mapping; write Field"),
        ("{group: {EphemeralDisk: {size: 5}}}", 33, 'nomad.group.EphemeralDisk has no field "size"; write SizeMB'),
        ("{task: {kill_timeout: 5}}", 16, 'nomad.task has no field "kill_timeout"; write KillTimeout'),
        ("{task: {Services: [{Meta: {a b: c}}]}}", 35, '"a b" cannot stand in nomad.task.Services[0].Meta'),
    ],
)
def test_what_nomad_would_drop_from_the_escape_hatch_is_refused_where_it_stands(written, column, told):
    text = f"name: a\nversion: '1'\nimage: a/b:1\nport: 1\nnomad: {written}\n"
    (line,) = [one for one in seen(text) if "HMS231" in one]
    assert line.startswith(f"receipt.hms.yml:5:{column}: error [HMS231] {told}"), line


def test_the_fields_of_the_escape_hatch_have_the_names_of_the_api():
    assert seen(CAREFUL.replace("job: {Priority", "job: {priority"))[0] == (
        'receipt.hms.yml:26:9: error [HMS231] nomad.job has no field "priority"; '
        "write Priority: fields have the names of Nomad's API"
    )
