"""``validate`` weighs findings, knows several specs together, and says which checks it could not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.facts import Facts, NodeFacts
from hms_nomad.spec.fleet import cycles, deploy_order
from hms_nomad.spec.loader import load_spec
from hms_nomad.workflows.planning.validate import validate
from tests.unit.spec.lines import CHAPTER
from tests.unit.spec.test_rules import CAREFUL

NODE = NodeFacts("n1", 4000, 8192, frozenset({"docker", "exec"}))


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, text):
    Path(name).write_text(text)
    return name


def spec(name, *uses):
    return load_spec(f"name: {name}\nversion: '1'\nimage: a/b:1\nport: 80\nuses: [{', '.join(uses)}]\n", "s")


@pytest.mark.parametrize(
    ("text", "fail_on", "failed"),
    [
        (CHAPTER, Level.ERROR, False),
        (CHAPTER, Level.WARNING, True),
        (CAREFUL.replace("owner: tax-team\n", ""), Level.WARNING, False),
        (CAREFUL.replace("owner: tax-team\n", ""), Level.INFO, True),
        (CAREFUL, Level.INFO, False),
        (CHAPTER.replace("port", "prot"), Level.ERROR, True),
    ],
)
def test_a_pipeline_decides_how_much_a_finding_weighs(text, fail_on, failed):
    assert validate([write("a.hms.yml", text)], fail_on).failed is failed


def test_checks_that_need_the_cluster_say_so_when_there_is_none():
    report = validate([write("a.hms.yml", CAREFUL)])
    assert [str(missing) for missing in report.not_run] == [
        "3 checks not run: no Nomad",
        "2 checks not run: no Consul",
    ]


def test_with_the_facts_of_a_cluster_every_check_runs():
    write("a.hms.yml", CAREFUL.replace("memory: 256, memory_max: 512", "memory: 9000"))
    report = validate(["a.hms.yml"], facts=Facts((NODE,), frozenset({"tax-portal"})))
    assert report.not_run == ()
    assert [str(found) for found in report.diagnostics] == [
        "a.hms.yml:15:16: warning [HMS404] all 2 instances run on n1, the only node; add a node",
        (
            "a.hms.yml:20:31: error [HMS402] resources.memory 9000 MiB is more than any node has (8192 MiB); "
            "reserve less, or add a larger node"
        ),
        "a.hms.yml:21:8: warning [HMS401] no service is named tax-svc; deploy it first, or mend the name",
    ]


def test_a_dependency_in_the_same_directory_needs_no_registration():
    write("a.hms.yml", CAREFUL)
    write("b.hms.yml", CAREFUL.replace("receipt-svc", "tax-svc").replace("uses: [tax-svc]\n", ""))
    nodes = (NODE, NodeFacts("n2", 4000, 8192, frozenset({"docker"})))
    assert validate(["."], facts=Facts(nodes, frozenset({"tax-portal"}))).diagnostics == ()


def test_a_cluster_without_a_container_engine_cannot_run_an_image():
    report = validate([write("a.hms.yml", CAREFUL)], facts=Facts((NodeFacts("n1", 0, 0, frozenset({"exec"})),)))
    assert "a.hms.yml:3:8: error [HMS403] no node runs containers (driver docker)" in str(report.diagnostics[0])
    assert [missing.reason for missing in report.not_run] == ["no Consul"]


def test_a_circle_among_specs_is_reported_once():
    write("a.hms.yml", CAREFUL)
    write("b.hms.yml", CAREFUL.replace("receipt-svc", "tax-svc").replace("uses: [tax-svc]", "uses: [receipt-svc]"))
    assert [str(found) for found in validate(["."]).diagnostics] == [
        (
            "a.hms.yml:21:7: warning [HMS411] receipt-svc, tax-svc use each other in a circle; "
            "let one of them learn by other means, or expect its calls to fail at first"
        )
    ]


def test_services_come_after_what_they_use_in_waves():
    specs = [spec("web", "pay", "tax"), spec("pay", "tax", "elsewhere"), spec("tax"), spec("audit")]
    assert deploy_order(specs) == (("audit", "tax"), ("pay",), ("web",))
    assert deploy_order(reversed(specs)) == deploy_order(specs)


def test_services_in_a_circle_share_a_wave():
    specs = [spec("a", "b"), spec("b", "c"), spec("c", "a"), spec("d", "a"), spec("e")]
    assert cycles(specs) == (("a", "b", "c"),)
    assert deploy_order(specs) == (("a", "b", "c", "e"), ("d",))


def test_a_chain_of_thousands_has_an_order():
    specs = [spec(f"s{number}", f"s{number + 1}") for number in range(3000)]
    order = deploy_order(specs)
    assert len(order) == 3000
    assert (order[0], order[-1]) == (("s2999",), ("s0",))
