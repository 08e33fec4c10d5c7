"""``plan``, ``status``, ``registry`` and ``logs``: what a person reads, and the same facts for machines."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from hms_nomad.apply.progress import Event
from hms_nomad.plan.change import Action, Change, FieldChange, Plan
from hms_nomad.plan.foresight import Foresight
from hms_nomad.workflows.mesh import registry
from hms_nomad.workflows.operating import status
from hms_nomad.workflows.operating.lock import Work
from hms_nomad.workflows.operating.logs import LogLine, LogOptions
from hms_nomad.workflows.operating.orphans import Orphan
from hms_nomad.workflows.rollouts.present import Present
from tests.unit.cli.running import json_of, run
from tests.unit.rollout.world import ROLLOUT

KEEP = Change("service-resolver", "receipt-svc", Action.KEEP, (), {}, 7)
PLAN = Plan(
    service="receipt-svc",
    release_before="r1111111111",
    release_after="r2222222222",
    digest="d",
    changes=(
        KEEP,
        Change("service-router", "receipt-svc", Action.CREATE, (FieldChange("Routes", None, [{"a": 1}]),), {}, 0),
        Change("service-splitter", "receipt-svc", Action.DELETE, (FieldChange("Splits", [1], None),), None, 9),
        Change("job", "receipt-svc", Action.UPDATE, (FieldChange("Tasks.app.Config.image", "a:1", "a:2"),), {}, 8),
    ),
)
ORPHAN = Orphan("entry", "gone-svc", "service-router of a service that has no job", "hms-nomad stop gone-svc")
DEPLOYMENT = status.DeploymentState("4d1c2b3a-0000", "successful", "Deployment completed successfully", 2, 2)
RECEIPT = status.ServiceState(
    "receipt-svc",
    "degraded",
    "1.0.0",
    "r1111111111",
    1,
    2,
    {"min": 2, "max": 10},
    "http://receipt-svc.mesh/receipt",
    DEPLOYMENT,
)
SICK = status.InstanceState(
    allocation="3f2a91bc-0000",
    node="node-1",
    status="running",
    health="critical",
    sidecar="running",
    version="1.0.0",
    release="r1111111111",
    canary=False,
    address="10.0.0.1:20001",
    checks=(status.CheckAnswer("health", "critical", "500"),),
    why="check 'health' is critical: 500",
)
REGISTERED = registry.Registered(
    name="receipt-svc",
    version="1.0.0",
    release="r1111111111",
    url="http://receipt-svc.mesh/receipt",
    protocol="http",
    port=3000,
    owner="",
    routes=(registry.AnsweredRoute("/receipt", "prefix", ("POST",)), registry.AnsweredRoute("/x", "exact", ())),
    healthy=1,
    endpoints=(
        registry.Endpoint("3f2a91bc-0000", "node-1", "10.0.0.1:20001", "passing", "1.0.0", "r1111111111"),
        registry.Endpoint("7c9d0e1f-0000", "node-2", "10.0.0.2:20002", "critical", "1.0.0", "r1111111111"),
    ),
)


@pytest.fixture(autouse=True)
def _no_rollout(monkeypatch):
    answering(monkeypatch, "rollouts.present.among", ())


def answering(monkeypatch, name, answer):
    monkeypatch.setattr(f"hms_nomad.workflows.{name}", lambda *_, **__: answer)


def test_a_plan_is_read_object_by_object_and_field_by_field(monkeypatch, spec_file):
    answering(monkeypatch, "planning.plan.plan", (PLAN,))
    result = run("plan", spec_file)
    assert result.exit_code == 1
    assert result.stdout == (
        "receipt-svc: release r1111111111 -> r2222222222, every instance is replaced\n"
        "  + service-router receipt-svc\n"
        '      + Routes: [{"a": 1}]\n'
        "  - service-splitter receipt-svc\n"
        "      - Splits: [1]\n"
        "  ~ job receipt-svc\n"
        '      ~ Tasks.app.Config.image: "a:1" -> "a:2"\n'
        "\n"
        "1 to create, 1 to update, 1 to delete, 1 unchanged\n"
    )


def test_levels_of_a_plan_show_less_and_more(monkeypatch, spec_file):
    answering(monkeypatch, "planning.plan.plan", (PLAN,))
    summary = run("plan", spec_file, "--detailed", "summary").stdout
    assert summary.startswith("receipt-svc: ")
    assert len(summary.splitlines()) == 2
    assert "  = service-resolver receipt-svc\n" in run("plan", spec_file, "--detailed", "all").stdout


def test_a_plan_says_what_the_scheduler_foresees(monkeypatch, spec_file):
    full = Foresight({"app": {"canary": 2, "ignore": 2}}, {"app": "memory is exhausted on 1 node"}, "old driver\n")
    answering(monkeypatch, "planning.plan.plan", (replace(PLAN, foresight=full),))
    said = run("plan", spec_file).stdout
    assert "  Nomad: group app: 2 canaries, 2 left alone\n" in said
    assert "  Nomad: group app finds no node: memory is exhausted on 1 node\n" in said
    assert "  Nomad: old driver\n" in said
    (plan,) = json_of(run("plan", spec_file, "-o", "json"))["plans"]
    assert plan["foresight"]["groups"] == {"app": {"canary": 2, "ignore": 2}}
    assert plan["foresight"]["placed"] is False


def test_a_plan_without_changes_ends_with_0(monkeypatch, spec_file):
    answering(monkeypatch, "planning.plan.plan", (replace(PLAN, release_before="r2222222222", changes=(KEEP,)),))
    result = run("plan", spec_file)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "receipt-svc: nothing to change (release r2222222222)"


def test_a_plan_for_machines(monkeypatch, spec_file):
    answering(monkeypatch, "planning.plan.plan", (PLAN,))
    body = json_of(run("plan", spec_file, "-o", "json"))
    assert (body["schema"], body["changed"]) == ("hms-nomad/plan/v1", True)
    (plan,) = body["plans"]
    assert plan["changes"][3] == {
        "action": "update",
        "kind": "job",
        "name": "receipt-svc",
        "index": 8,
        "fields": [{"path": "Tasks.app.Config.image", "before": "a:1", "after": "a:2"}],
    }


def test_the_status_of_all_services_is_one_table(monkeypatch):
    answering(monkeypatch, "operating.status.list_status", (RECEIPT, replace(RECEIPT, service="db", deployment=None)))
    answering(monkeypatch, "operating.orphans.find_orphans", ())
    assert run("status").stdout == (
        "NAME         VERSION  RELEASE      STATE     HEALTHY  SCALING  DEPLOYMENT  URL\n"
        "receipt-svc  1.0.0    r1111111111  degraded  1/2      2-10     successful  http://receipt-svc.mesh/receipt\n"
        "db           1.0.0    r1111111111  degraded  1/2      2-10     -           http://receipt-svc.mesh/receipt\n"
    )


def test_no_service_is_no_error(monkeypatch):
    answering(monkeypatch, "operating.status.list_status", ())
    answering(monkeypatch, "operating.orphans.find_orphans", ())
    assert "hms-nomad deploy" in run("status").stdout
    assert json_of(run("status", "-o", "json"))["services"] == []


def test_what_was_left_behind_is_named_with_its_remedy(monkeypatch):
    answering(monkeypatch, "operating.status.list_status", (RECEIPT,))
    answering(monkeypatch, "operating.orphans.find_orphans", (ORPHAN,))
    assert run("status").stdout.splitlines()[-1] == (
        "gone-svc: left behind: service-router of a service that has no job; hms-nomad stop gone-svc"
    )
    assert json_of(run("status", "-o", "json"))["orphans"] == [
        {
            "kind": "entry",
            "service": "gone-svc",
            "what": "service-router of a service that has no job",
            "remedy": "hms-nomad stop gone-svc",
        }
    ]


def test_the_status_of_a_service_says_why_an_instance_is_sick(monkeypatch):
    detail = status.ServiceDetail(RECEIPT, (SICK,), "app: memory is exhausted on 1 node")
    answering(monkeypatch, "operating.status.service_status", detail)
    answering(monkeypatch, "operating.lock.work_on", Work(None, ()))
    answering(monkeypatch, "operating.orphans.find_orphans", ())
    answering(monkeypatch, "operating.top.figures_of", None)
    answering(monkeypatch, "rollouts.present.present", None)
    lines = run("status", "receipt-svc").stdout.splitlines()
    assert lines[0] == "receipt-svc 1.0.0 (release r1111111111): degraded"
    assert "Not placed  app: memory is exhausted on 1 node" in lines
    assert lines[-2].split()[:5] == ["3f2a91bc", "node-1", "running", "critical", "running"]
    assert lines[-1] == "3f2a91bc: check 'health' is critical: 500"
    body = json_of(run("status", "receipt-svc", "-o", "json"))
    assert body["service"]["instances"][0]["checks"] == [{"name": "health", "status": "critical", "output": "500"}]


@pytest.mark.parametrize(
    ("paused", "weight", "says", "goes_on"),
    [
        (False, 10.0, "10 % of the traffic; begun", "go on with: hms-nomad resume receipt-svc"),
        (True, None, "no traffic, paused; begun", "hms-nomad resume receipt-svc"),
    ],
)
def test_the_status_of_a_service_tells_of_its_rollout(monkeypatch, paused, weight, says, goes_on):
    waits = replace(DEPLOYMENT, status="running", description="Deployment is running but requires manual promotion")
    detail = status.ServiceDetail(replace(RECEIPT, deployment=waits), (SICK,), "")
    rolling = replace(ROLLOUT, candidate="r2222222222", paused=paused)
    answering(monkeypatch, "operating.status.service_status", detail)
    answering(monkeypatch, "operating.lock.work_on", Work(None, ()))
    answering(monkeypatch, "operating.orphans.find_orphans", ())
    answering(monkeypatch, "operating.top.figures_of", None)
    answering(monkeypatch, "rollouts.present.present", Present(rolling, weight))
    lines = run("status", "receipt-svc").stdout.splitlines()
    assert lines[3].startswith("Rollout     1.0.0 -> 2.0.0 (canary): step 1 of 4, ")
    assert says in lines[3]
    assert goes_on in lines[4]
    assert lines[5] == "Deployment  4d1c2b3a running: promoted by the rollout at its end"
    body = json_of(run("status", "receipt-svc", "-o", "json"))
    assert (body["rollout"]["candidate"], body["weight"]) == ("r2222222222", weight)
    assert body["service"]["summary"]["deployment"]["description"] == waits.description


def test_a_plan_says_that_a_rollout_is_under_way(monkeypatch, spec_file):
    answering(monkeypatch, "planning.plan.plan", (PLAN,))
    answering(monkeypatch, "rollouts.present.among", ("a rollout of receipt-svc is under way",))
    assert "warning: a rollout of receipt-svc is under way" in run("plan", spec_file).stderr
    assert json_of(run("plan", spec_file, "-o", "json"))["warnings"] == ["a rollout of receipt-svc is under way"]


def test_the_registry_is_a_phone_book(monkeypatch):
    answering(monkeypatch, "mesh.registry.list_registry", (REGISTERED,))
    line = run("registry", "list").stdout.splitlines()[1]
    assert line.split() == [
        "receipt-svc",
        "1.0.0",
        "r1111111111",
        "1/2",
        "http",
        "POST",
        "/receipt...,",
        "/x",
        "http://receipt-svc.mesh/receipt",
    ]


def test_a_lookup_gives_version_url_and_addresses(monkeypatch):
    answering(monkeypatch, "mesh.registry.lookup", REGISTERED)
    assert run("registry", "lookup", "receipt-svc").stdout == (
        "receipt-svc 1.0.0\n"
        "URL        http://receipt-svc.mesh/receipt\n"
        "Release    r1111111111\n"
        "Protocol   http, port 3000\n"
        "Routes     POST /receipt..., /x\n"
        "Healthy    1 of 2 instances\n"
        "\n"
        "INSTANCE  NODE    ADDRESS         HEALTH    VERSION  RELEASE\n"
        "3f2a91bc  node-1  10.0.0.1:20001  passing   1.0.0    r1111111111\n"
        "7c9d0e1f  node-2  10.0.0.2:20002  critical  1.0.0    r1111111111\n"
    )
    body = json_of(run("registry", "lookup", "receipt-svc", "-o", "json"))["service"]
    assert (body["version"], body["healthy"]) == ("1.0.0", 1)
    assert body["routes"][0] == {"path": "/receipt", "match": "prefix", "methods": ["POST"]}


@pytest.fixture
def logs(monkeypatch):
    """Let an instance have written two lines; answers what was asked."""
    asked = []

    def read(session, name, options, report):
        asked.append((name, options))
        report(Event("log", "7c9d0e1f has written nothing yet", {}))
        yield LogLine("3f2a91bc-0000", "stdout", "Sent receipt to a@b")
        yield LogLine("3f2a91bc-0000", "stderr", "\x1b[2Joops")

    monkeypatch.setattr("hms_nomad.workflows.operating.logs.read_logs", read)
    monkeypatch.setattr("hms_nomad.workflows.operating.logs.follow_logs", read)
    return asked


def test_each_line_carries_its_instance(logs):
    result = run("logs", "receipt-svc", "--tail", "20")
    assert result.stdout == "[3f2a91bc] Sent receipt to a@b\n[3f2a91bc] \x1b[2Joops\n"
    assert result.stderr == "7c9d0e1f has written nothing yet\n"
    assert logs == [("receipt-svc", LogOptions(tail=20))]


def test_logs_for_machines_are_a_document_a_line(logs):
    lines = [json.loads(line) for line in run("logs", "receipt-svc", "-o", "json").stdout.splitlines()]
    assert lines[0] == {
        "schema": "hms-nomad/logs/v1",
        "allocation": "3f2a91bc-0000",
        "stream": "stdout",
        "line": "Sent receipt to a@b",
    }
    assert lines[1]["stream"] == "stderr"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), LogOptions(tail=100)),
        (("--follow",), LogOptions(tail=100)),
        (("--tail", "0"), LogOptions(tail=0)),
        (("--stderr",), LogOptions(tail=100, streams=("stderr",))),
        (("--stdout", "--stderr"), LogOptions(tail=100)),
        (("--alloc", "3f"), LogOptions(tail=100, allocation="3f")),
    ],
)
def test_options_of_logs(logs, words, expected):
    run("logs", "receipt-svc", *words)
    assert logs == [("receipt-svc", expected)]


def test_a_pattern_searches_everything_unless_a_tail_is_named(logs):
    run("logs", "receipt-svc", "--grep", "ERR|WARN")
    run("logs", "receipt-svc", "--grep", "x", "--tail", "3")
    assert [(options.tail, options.pattern.pattern) for _, options in logs] == [(None, "ERR|WARN"), (3, "x")]
