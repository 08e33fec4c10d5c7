"""The commands that steer a rollout say what happened, what to run next, and end with a code that scripts decide by."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.apply.progress import Event
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.rollout.begin import RolloutRunningError
from hms_nomad.rollout.journal import Journal, Rejection
from hms_nomad.rollout.records import NoSuchReleaseError
from hms_nomad.rollout.release import ReleaseOutcome
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.rollouts.history import History
from hms_nomad.workflows.rollouts.rollback import RollbackPlan
from hms_nomad.workflows.rollouts.steering import Steered, SteerOptions, SteerOutcome, nothing
from tests.unit.cli.running import json_of, run
from tests.unit.cli.test_deploy import PLAN
from tests.unit.rollout.records import release
from tests.unit.rollout.world import ROLLOUT

COMMANDS = ["promote", "abort", "pause", "resume", "watch"]


@pytest.fixture
def steers(monkeypatch):
    """Let the workflow behind a command end as the test says; answers what it was asked."""
    asked = []

    def becomes(command, outcome, *events):
        def steered(session, name, *arguments, **options):
            report = next(argument for argument in arguments if callable(argument))
            asked.append((name, next((a for a in arguments if isinstance(a, SteerOptions)), None), options))
            for event in events:
                report(event)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(f"hms_nomad.cli.{command}.workflow", steered)
        return asked

    return becomes


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_rollout_nothing_is_done_and_that_is_no_error(steers, command):
    steers(command, nothing("receipt-svc"))
    result = run(command, "receipt-svc")
    assert result.exit_code == 0
    assert result.stdout == "✓ no rollout of receipt-svc is under way: nothing to do\n"


@pytest.mark.parametrize(
    ("command", "status", "code"),
    [
        ("promote", Steered.REACHED, 0),
        ("promote", Steered.SUCCEEDED, 0),
        ("promote", Steered.TAKEN_BACK, 5),
        ("resume", Steered.SUCCEEDED, 0),
        ("resume", Steered.TAKEN_BACK, 5),
        ("resume", Steered.STUCK, 7),
        ("watch", Steered.SUCCEEDED, 0),
        ("watch", Steered.TAKEN_BACK, 5),
        ("abort", Steered.TAKEN_BACK, 0),
        ("abort", Steered.SUCCEEDED, 3),
        ("pause", Steered.NOTED, 0),
    ],
)
def test_each_end_has_its_code(steers, command, status, code):
    steers(command, SteerOutcome("receipt-svc", status, ROLLOUT, reason="because"))
    assert run(command, "receipt-svc").exit_code == code


def test_what_halted_a_release_is_said_with_its_number(steers):
    reason = "success 98.7 % < 99 %, 3 of 231 requests"
    steers("resume", SteerOutcome("receipt-svc", Steered.TAKEN_BACK, ROLLOUT, reason))
    assert run("resume", "receipt-svc").stdout == f"✗ receipt-svc 1.0.0 -> 2.0.0: taken back: {reason}\n"


def test_an_abort_that_comes_too_late_says_how_to_go_back(steers):
    late = SteerOutcome("receipt-svc", Steered.SUCCEEDED, ROLLOUT, "too late", hint="hms-nomad rollback receipt-svc")
    steers("abort", late)
    assert run("abort", "receipt-svc").stdout.splitlines()[-1] == "Next: hms-nomad rollback receipt-svc"


def test_the_options_reach_the_workflow(steers):
    asked = steers("promote", nothing("receipt-svc"))
    run("promote", "receipt-svc", "--full", "--timeout", "90s", "--detach")
    assert asked == [("receipt-svc", SteerOptions(timeout=90.0, detach=True), {"full": True})]


def test_the_reason_of_an_abort_reaches_the_workflow(steers):
    asked = steers("abort", nothing("receipt-svc"))
    run("abort", "receipt-svc", "-m", "wrong totals")
    assert asked[0][2]["who"].message == "wrong totals"


def test_a_step_that_was_entered_is_named(steers):
    reached = SteerOutcome("receipt-svc", Steered.REACHED, replace(ROLLOUT, go=1), hint="hms-nomad watch receipt-svc")
    steers("promote", reached)
    assert "step 2 of 4 has its traffic" in run("promote", "receipt-svc").stdout


def test_an_interrupted_command_says_that_traffic_stays_and_how_to_go_on(steers):
    steers("resume", KeyboardInterrupt(), Event("rollout", "hold (step 1 of 4, r2 at 1 %)", {}))
    result = run("resume", "receipt-svc")
    assert result.exit_code == 130
    assert "traffic stays as it is: hold (step 1 of 4, r2 at 1 %)" in result.stderr


def test_a_deadline_says_where_the_rollout_stands(steers):
    steers("watch", DeadlineExceededError("the rollout of receipt-svc goes on; it is at hold"))
    result = run("watch", "receipt-svc", "--timeout", "1s")
    assert (result.exit_code, "it is at hold" in result.stderr) == (124, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_speaks_json(steers, command):
    steers(command, SteerOutcome("receipt-svc", Steered.NOTED, ROLLOUT))
    document = json_of(run(command, "receipt-svc", "--output", "json"))
    assert document["schema"] == f"hms-nomad/{command}/v1"
    assert document["rollout"]["candidate"] == "r2"


def test_watch_streams_events_as_documents_of_one_line(steers):
    steers("watch", nothing("receipt-svc"), Event("rollout", "hold", {"weight": 1.0}))
    lines = run("watch", "receipt-svc", "--output", "json").stdout.splitlines()
    assert lines[0] == (
        '{"schema": "hms-nomad/watch-event/v1", "kind": "rollout", "message": "hold", "data": {"weight": 1.0}}'
    )
    assert '"status": "nothing"' in lines[1]


class TestHistory:
    """Who, when, what, why, and how it ended."""

    @pytest.fixture(autouse=True)
    def remembered(self, monkeypatch):
        self.history = History(
            "receipt-svc",
            (
                replace(
                    release(2), outcome=ReleaseOutcome.TAKEN_BACK, reason="probe gve failed", ended=1_700_000_042.0
                ),
                replace(release(1), ended=1_700_000_010.0),
            ),
            1,
            Journal(rejected=(Rejection("r2", "2.0.0", "probe gve failed", "somebody@somewhere", 1_700_000_042.0),)),
        )
        monkeypatch.setattr("hms_nomad.cli.history.workflow", lambda session, name: self.history)

    def test_each_deploy_is_a_line_and_the_one_that_serves_is_marked(self):
        lines = run("history", "receipt-svc").stdout.splitlines()
        assert " ".join(lines[0].split()) == "NUMBER VERSION RELEASE OUTCOME STRATEGY STARTED TOOK BY WHY"
        assert lines[1].startswith("2       2.0.0")
        assert "probe gve failed" in lines[1]
        assert lines[2].startswith("1 *     1.0.0")
        assert "2023-11-14T22:13:20Z" in lines[2]

    def test_it_speaks_json_without_what_a_release_stood_for(self):
        document = json_of(run("history", "receipt-svc", "--output", "json"))
        assert [found["outcome"] for found in document["releases"]] == ["taken back", "succeeded"]
        assert document["current"] == 1
        assert "entries" not in document["releases"][0]

    def test_a_service_without_one_is_no_error(self):
        self.history = replace(self.history, releases=())
        assert run("history", "receipt-svc").stdout == "No deploy of receipt-svc is remembered.\n"


class TestRollback:
    """The diff first, then the same steps as a deploy."""

    @pytest.fixture(autouse=True)
    def rolls_back(self, monkeypatch):
        self.asked = []
        self.outcome = DeployOutcome(
            service="receipt-svc",
            status=Status.DEPLOYED,
            changed=True,
            version="1.0.0",
            release="r1",
            url="http://receipt-svc.mesh/",
            instances=2,
            scaling={"min": 2, "max": 10},
            plan=PLAN,
        )

        def plan_rollback(session, name, wanted):
            if wanted == "9":
                raise NoSuchReleaseError("receipt-svc has no release '9' to go back to; it has 1 (1.0.0, r1)")
            if wanted == "8":
                raise RolloutRunningError("receipt-svc", ROLLOUT)
            return RollbackPlan(release(1), PLAN)

        def rollback(session, name, wanted, options, report):
            self.asked.append((name, wanted, options))
            return self.outcome

        monkeypatch.setattr("hms_nomad.cli.rollback.workflow.plan_rollback", plan_rollback)
        monkeypatch.setattr("hms_nomad.cli.rollback.workflow.rollback", rollback)

    def test_it_shows_what_would_change_and_goes_back(self):
        result = run("rollback", "receipt-svc", "--strategy", "blue-green", "-m", "wrong totals")
        assert result.exit_code == 0
        assert "service-defaults" in result.stderr
        name, number, options = self.asked[0]
        assert (name, number, options.strategy, options.author.message) == (
            "receipt-svc", "1", "blue-green", "wrong totals",
        )  # fmt: skip
        assert replace(options, author=None, strategy=None) == DeployOptions()

    def test_a_release_that_is_not_there_is_bad_input_and_those_that_are_get_named(self):
        result = run("rollback", "receipt-svc", "9")
        assert (result.exit_code, self.asked) == (2, [])
        assert "it has 1 (1.0.0, r1)" in result.stderr

    def test_a_rollout_that_is_under_way_is_aborted_instead(self):
        result = run("rollback", "receipt-svc", "8")
        assert result.exit_code == 4
        assert "hms-nomad abort receipt-svc" in result.stderr

    def test_it_speaks_json(self):
        document = json_of(run("rollback", "receipt-svc", "--output", "json"))
        assert (document["to"], document["changed"], document["service"]["version"]) == (1, True, "1.0.0")
