"""``deploy`` prints what the chapter prints, says when nothing was to do, and explains a failure by itself."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.apply.failure import Failure
from hms_nomad.apply.progress import Event
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.plan.change import Action, Change, FieldChange, Plan
from hms_nomad.workflows.deploying.deploy import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.deploying.waves import Fleet
from hms_nomad.workflows.planning.plan import Planned
from tests.unit.cli.running import json_of, run

SECRET = "hunter2"
PLAN = Plan(
    service="receipt-svc",
    release_before=None,
    release_after="r0123456789",
    digest="d",
    changes=(
        Change("service-defaults", "receipt-svc", Action.CREATE, (FieldChange("Protocol", None, "http"),), {}, 0),
        Change("job", "receipt-svc", Action.CREATE, (), {"Env": {"PASSWORD": SECRET}}, 0),
    ),
)
DEPLOYED = DeployOutcome(
    service="receipt-svc",
    status=Status.DEPLOYED,
    changed=True,
    version="1.0.0",
    release="r0123456789",
    url="http://receipt-svc.mesh/receipt",
    instances=2,
    scaling={"min": 2, "max": 10},
    plan=PLAN,
    deployment="4d1c2b3a-0000-0000-0000-000000000000",
)
FAILED = replace(
    DEPLOYED,
    status=Status.FAILED,
    failure=Failure(
        reason="Failed due to unhealthy allocations",
        allocation="3f2a91bc-0000-0000-0000-000000000000",
        task="app",
        events=("Terminated: Exit Code: 1",),
        lines=("Traceback (most recent call last):", "\x1b[2JKeyError: 'PORT'"),
        checks=("health: HTTP GET http://10.0.0.1:1/health: 500",),
    ),
)


@pytest.fixture
def deploys(monkeypatch):
    """Let deploys end as the test says; answers what they were asked."""
    asked = []

    def becomes(*outcomes, events=()):
        left = list(outcomes)

        def deploy(session, spec, options, report):
            asked.append((spec.name, options))
            for event in events:
                report(event)
            outcome = left.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr("hms_nomad.workflows.deploying.deploy.deploy", deploy)
        return asked

    return becomes


def test_a_first_deploy_prints_what_the_chapter_prints(deploys, spec_file):
    deploys(DEPLOYED)
    result = run("deploy", spec_file)
    assert result.exit_code == 0
    assert result.stdout == (
        "✓ Image pulled\n"
        "✓ Registered in service mesh\n"
        "✓ Auto-scaler set (2-10)\n"
        "Service URL: http://receipt-svc.mesh/receipt\n"
    )
    assert result.stderr == ""


def test_a_second_deploy_says_that_nothing_was_to_do(deploys, spec_file):
    unchanged = replace(DEPLOYED, status=Status.UNCHANGED, changed=False)
    deploys(unchanged, unchanged)
    assert run("deploy", spec_file).stdout == (
        "✓ receipt-svc 1.0.0 runs already: nothing to change\nService URL: http://receipt-svc.mesh/receipt\n"
    )
    body = json_of(run("deploy", spec_file, "--output", "json"))
    assert (body["schema"], body["changed"]) == ("hms-nomad/deploy/v1", False)


def test_a_change_that_replaces_nothing_pulls_no_image(deploys, spec_file):
    deploys(replace(DEPLOYED, plan=replace(PLAN, release_before="r0123456789")))
    assert run("deploy", spec_file).stdout.splitlines()[0] == "✓ No instance replaced"


def test_progress_goes_to_stderr_and_can_be_silenced(deploys, spec_file):
    events = (
        Event("apply", "job receipt-svc created", {"kind": "job"}),
        Event("registered", "Registered in service mesh", {}),
        Event("warning", "the node is nearly full", {}),
    )
    deploys(DEPLOYED, DEPLOYED, events=events)
    assert run("deploy", spec_file).stderr == "job receipt-svc created\nwarning: the node is nearly full\n"
    assert run("deploy", spec_file, "--quiet").stderr == "warning: the node is nearly full\n"


def test_a_failure_is_explained(deploys, spec_file):
    deploys(FAILED)
    result = run("deploy", spec_file)
    assert result.exit_code == 5
    assert result.stdout == ""
    assert result.stderr == (
        "error: receipt-svc 1.0.0 was not deployed: Failed due to unhealthy allocations\n"
        "  instance 3f2a91bc, task app\n"
        "  events:\n"
        "    Terminated: Exit Code: 1\n"
        "  last lines:\n"
        "    Traceback (most recent call last):\n"
        "    \\x1b[2JKeyError: 'PORT'\n"
        "  checks:\n"
        "    health: HTTP GET http://10.0.0.1:1/health: 500\n"
        "  next: hms-nomad logs receipt-svc --alloc 3f2a91bc\n"
    )


def test_a_failure_is_a_document_too(deploys, spec_file):
    deploys(FAILED)
    result = run("deploy", spec_file, "-o", "json")
    assert result.exit_code == 5
    (service,) = json_of(result)["services"]
    assert service["status"] == "failed"
    assert service["failure"]["reason"] == "Failed due to unhealthy allocations"


def test_the_document_holds_no_secrets(deploys, spec_file):
    deploys(DEPLOYED)
    result = run("deploy", spec_file, "-o", "json")
    assert SECRET not in result.output
    (service,) = json_of(result)["services"]
    assert [change["kind"] for change in service["plan"]["changes"]] == ["service-defaults", "job"]


def test_options_reach_the_workflow(deploys, spec_file):
    asked = deploys(replace(DEPLOYED, status=Status.DETACHED))
    result = run("deploy", spec_file, "--detach", "--timeout", "1.5m")
    assert [(name, replace(options, author=None)) for name, options in asked] == [
        ("receipt-svc", DeployOptions(timeout=90.0, detach=True))
    ]
    assert "hms-nomad status receipt-svc" in result.stdout


def test_the_way_of_rolling_out_and_the_reason_reach_the_workflow(deploys, spec_file):
    asked = deploys(replace(DEPLOYED, status=Status.WAITING, hint="hms-nomad promote receipt-svc"))
    result = run("deploy", spec_file, "--bg", "--until", "canary-healthy", "--force", "-m", "totals in cents")
    options = asked[0][1]
    assert (options.strategy, options.until_healthy, options.force) == ("blue-green", True, True)
    assert options.author.message == "totals in cents"
    assert "@" in options.author.who
    assert "Next: hms-nomad promote receipt-svc" in result.stdout


@pytest.mark.parametrize("words", [["--bg", "--strategy", "rolling"], ["--detach", "--until", "canary-healthy"]])
def test_options_that_contradict_each_other_are_refused(deploys, spec_file, words):
    asked = deploys()
    result = run("deploy", spec_file, *words)
    assert (result.exit_code, asked) == (2, [])


@pytest.fixture
def fleet(monkeypatch, tmp_path):
    """Files of several services, and what becomes of each by its name; nothing is known of them before."""
    asked = []

    def becomes(**outcomes):
        def deploy(session, spec, options, report, new):
            asked.append(spec.name)
            outcome = outcomes[spec.name.replace("-", "_")]
            if isinstance(outcome, BaseException):
                raise outcome
            return replace(outcome, service=spec.name)

        def look_at(session, files):
            planned = {f.spec.name: Planned(f.spec, plan=replace(PLAN, service=f.spec.name)) for f in files}
            return Fleet(planned, frozenset(), {}, ())

        monkeypatch.setattr("hms_nomad.workflows.deploying.deploy.deploy", deploy)
        monkeypatch.setattr("hms_nomad.workflows.deploying.waves.look_at", look_at)
        return asked

    def spec_of(name, *uses):
        file = tmp_path / f"{name}.hms.yml"
        file.write_text(
            f"name: {name}\nversion: '1'\nimage: x:1\nport: 80\nuses: [{', '.join(uses)}]\n", encoding="utf-8"
        )
        return str(file)

    return becomes, spec_of


UNAVAILABLE = UnavailableError("nomad", "register job portal", "http://127.0.0.1:9", "refused")


def test_a_broken_service_stops_no_other_and_one_table_says_how_all_ended(fleet):
    becomes, spec_of = fleet
    asked = becomes(auth=FAILED, portal=DEPLOYED)
    result = run("deploy", spec_of("auth"), spec_of("portal"))
    assert (result.exit_code, sorted(asked)) == (5, ["auth", "portal"])
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "RESULT", "RELEASE", "HEALTHY", "WHY"]
    assert lines[1].startswith("auth    1        failed")
    assert lines[1].endswith("Failed due to unhealthy allocations")
    assert lines[-1] == "2 services: 1 failed, 1 deployed"
    assert "error: auth 1.0.0 was not deployed" in result.stderr


def test_fail_fast_begins_nothing_after_a_failure(fleet):
    becomes, spec_of = fleet
    asked = becomes(auth=FAILED, portal=DEPLOYED)
    result = run("deploy", spec_of("auth"), spec_of("portal", "auth"), "--fail-fast", "-o", "json")
    assert (result.exit_code, asked) == (5, ["auth"])
    assert json_of(result)["not_tried"] == ["portal"]


def test_who_uses_a_service_of_which_nothing_runs_is_not_tried(fleet):
    becomes, spec_of = fleet
    asked = becomes(auth=UNAVAILABLE, portal=DEPLOYED, web=DEPLOYED)
    result = run("deploy", spec_of("auth"), spec_of("portal", "auth"), spec_of("web"))
    assert (result.exit_code, sorted(asked)) == (7, ["auth", "web"])
    assert "it uses auth, of which nothing runs" in result.stdout


def test_services_in_a_circle_are_warned_of_and_deployed_together(fleet):
    becomes, spec_of = fleet
    asked = becomes(auth=DEPLOYED, portal=DEPLOYED)
    result = run("deploy", spec_of("auth", "portal"), spec_of("portal", "auth"))
    assert (result.exit_code, sorted(asked)) == (0, ["auth", "portal"])
    assert "warning: auth, portal use each other in a circle" in result.stderr


def test_an_error_is_a_row_and_a_document(fleet):
    becomes, spec_of = fleet
    becomes(auth=UNAVAILABLE, portal=DEPLOYED)
    body = json_of(run("deploy", spec_of("auth"), spec_of("portal"), "-o", "json"))
    assert [error["service"] for error in body["errors"]] == ["auth"]
    assert [service["service"] for service in body["services"]] == ["portal"]


def test_what_others_use_is_deployed_first(fleet):
    becomes, spec_of = fleet
    asked = becomes(payment_svc=DEPLOYED, receipt_svc=DEPLOYED)
    assert run("deploy", spec_of("payment-svc", "receipt-svc"), spec_of("receipt-svc")).exit_code == 0
    assert asked == ["receipt-svc", "payment-svc"]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((), "before anything of receipt-svc was looked at; nothing was changed"),
        ((Event("plan", "", {"changes": 3}),), "nothing of receipt-svc was changed; 3 changes are left"),
        (
            (
                Event("plan", "", {"changes": 3}),
                Event("apply", "service-defaults receipt-svc created", {"kind": "service-defaults"}),
            ),
            "done: service-defaults receipt-svc created; not done: 2 of 3 changes, the job among them",
        ),
        (
            (
                Event("plan", "", {"changes": 1}),
                Event("apply", "job receipt-svc created", {"kind": "job"}),
            ),
            "not done: waiting until receipt-svc is healthy; Nomad goes on without this command",
        ),
        (
            (
                Event("rollout", "start (step 1 of 4, r2 at 0 %)", {}),
                Event("apply", "job receipt-svc updated", {"kind": "job"}),
                Event("rollout", "hold (step 1 of 4, r2 at 1 %)", {}),
            ),
            "interrupted at: hold (step 1 of 4, r2 at 1 %); done: job receipt-svc updated; not done: the rest of the",
        ),
    ],
)
def test_an_interrupted_deploy_says_what_is_done_and_what_is_not(deploys, spec_file, events, said):
    deploys(KeyboardInterrupt(), events=events)
    result = run("deploy", spec_file, "--quiet")
    assert result.exit_code == 130
    (line,) = result.stderr.splitlines()
    assert said in line
