"""Deploy rules judge the job that would run, name their own place, and let exceptions end."""

from __future__ import annotations

from datetime import date

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.plan.rules import RuleError, joined, judge, read_rules
from hms_nomad.platform.jobspecs import deploy_rules_folder
from hms_nomad.platform.model import Platform
from tests.unit.specs import spec

TODAY = date(2026, 6, 1)
DIGEST = f"ghcr.io/gov/receipt@sha256:{'a' * 64}"


def judged(check, platform=None, more="", **fields):
    """Causes of what breaks one rule with the given check."""
    rules = read_rules(f"rules:\n  - name: it\n    why: so\n    {check}\n{more}", "rules.yml")
    what, where = spec(**fields), platform or Platform()
    violations, used = judge(what, compile_spec(what, where), where, joined([rules]), TODAY)
    return [(one.path, one.cause) for one in violations], used


@pytest.mark.parametrize(
    ("check", "fields", "path", "cause"),
    [
        ("images_from: [registry.gov]", {}, ("image",), "the image ghcr.io/gov/receipt:1.0 comes from elsewhere"),
        ("images_from: [ghcr.io/go]", {}, ("image",), "the image ghcr.io/gov/receipt:1.0 comes from elsewhere"),
        ("images_from: [ghcr.io]", {"image": "nginx"}, ("image",), "the image nginx comes from elsewhere"),
        ("image_digest: true", {}, ("image",), "the image ghcr.io/gov/receipt:1.0 has no digest"),
        ("drivers: [exec]", {}, ("driver",), "task app runs by the driver docker"),
        ("at_most: {cpu: 50}", {}, ("resources", "cpu"), "one instance reserves 100 MHz"),
        ("at_most: {memory: 100}", {}, ("resources", "memory"), "one instance may take 128 MiB"),
        ("at_most: {instances: 9}", {}, ("scaling", "max"), "up to 10 instances may run"),
        ("at_least: {instances: 3}", {}, ("scaling", "min"), "2 instances may be all that runs"),
        ("owner: true", {}, ("name",), "it has no owner"),
        ("owner: 'team-.*'", {"owner": "me"}, ("owner",), "the owner me does not follow team-.*"),
        ("names: 'gov-.*'", {}, ("name",), "the name receipt-svc does not follow gov-.*"),
    ],
)
def test_what_breaks_a_rule_is_named_with_its_place(check, fields, path, cause):
    assert judged(check, **fields)[0] == [(path, cause)]


@pytest.mark.parametrize(
    ("check", "fields"),
    [
        ("images_from: [ghcr.io/gov]", {}),
        ("images_from: [ghcr.io/gov/receipt]", {"image": DIGEST}),
        ("images_from: [docker.io/library]", {"image": "nginx"}),
        ("image_digest: true", {"image": DIGEST}),
        ("drivers: [docker]", {}),
        ("at_most: {cpu: 100, memory: 128, instances: 10}", {}),
        ("at_least: {instances: 2}", {}),
        ("owner: true", {"owner": "team-a"}),
        ("names: '.*-svc'", {}),
    ],
)
def test_what_keeps_to_a_rule_is_left_alone(check, fields):
    assert judged(check, **fields)[0] == []


def test_the_escape_hatch_is_no_way_around_a_rule():
    hatch = {"task": {"Config": {"image": "evil.example/miner:1"}}}
    found, _ = judged("images_from: [ghcr.io/gov]", nomad=hatch)
    assert found == [(("nomad", "task", "Config", "image"), "the image evil.example/miner:1 comes from elsewhere")]


def test_a_rule_holds_where_it_says():
    check = "at_least: {instances: 3}\n    when: {production: true}"
    assert judged(check)[0] == []
    assert judged(check, platform=Platform(production=True))[0] != []


def exception(until):
    return f"exceptions:\n  - {{rule: it, service: receipt-svc, until: {until}, why: until the move}}\n"


def test_an_exception_holds_until_the_end_of_its_day():
    found, used = judged("owner: true", more=exception("2026-06-01"))
    assert found == []
    assert str(used[0]) == "rule it does not hold for receipt-svc until 2026-06-01 (rules.yml:6): until the move"


def test_an_exception_that_ended_is_named():
    found, used = judged("owner: true", more=exception("2026-05-31"))
    assert found == [(("name",), "it has no owner (its exception ended on 2026-05-31)")]
    assert used == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n  - {name: a, why: b}\n", r"rules.yml:2:5: rules.0: a rule has exactly one of .*; this one has 0"),
        ("rules:\n  - {name: a, why: b, owner: true, image_digest: true}\n", "this one has 2"),
        (
            "rules:\n  - {name: a, why: b, ower: true}\n",
            r"rules.yml:2:23: rules.0.ower is unknown: did you",
        ),
        ("rules:\n  - {name: a, why: b, names: '['}\n", "names is no regular expression"),
        ("rules: [\n", r"rules.yml:\d+:\d+: "),
        (
            "exceptions:\n  - {rule: x, service: y, until: 2026-01-01, why: z}\n",
            "there is no rule 'x'; there are: none",
        ),
        ("rules:\n  - {name: a, why: b, owner: true}\n  - {name: a, why: b, owner: true}\n", "rules.yml:3: there is a"),
        ("exceptions:\n  - {rule: x, service: y, until: soon, why: z}\n", "exceptions.0.until"),
    ],
)
def test_a_rule_file_that_is_wrong_is_refused_with_its_line(text, said):
    with pytest.raises(RuleError, match=said):
        joined([read_rules(text, "rules.yml")])


def test_the_rules_that_ship_can_be_read_together():
    files = sorted(deploy_rules_folder().glob("*.yml"))
    rules = joined(read_rules(file.read_text(encoding="utf-8"), file.name) for file in files)
    assert {"owner", "image-digest", "drivers", "limits", "instances"} <= {rule.body.name for rule in rules.rules}
