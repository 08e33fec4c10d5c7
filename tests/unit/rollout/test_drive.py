"""Whole rollouts on servers in memory: what is written, in which order, and what is left, whoever dies on the way."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from hms_nomad.clients.errors import ConflictError, DeadlineExceededError, UnknownOutcomeError
from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.rollout import cluster as cluster_module
from hms_nomad.rollout import sidecars as sidecars_module
from hms_nomad.rollout.begin import RejectedReleaseError, RolloutRunningError, UnrollableChangeError
from hms_nomad.rollout.journal import Author, Journal
from hms_nomad.rollout.policy import policy_of
from hms_nomad.rollout.records import NoSuchReleaseError
from hms_nomad.rollout.release import ReleaseOutcome
from hms_nomad.workflows.deploying.converge import converge
from hms_nomad.workflows.deploying.outcome import DeployOptions, Status
from hms_nomad.workflows.rollouts.abort import abort
from hms_nomad.workflows.rollouts.history import history
from hms_nomad.workflows.rollouts.pause import pause, resume
from hms_nomad.workflows.rollouts.promote import promote
from hms_nomad.workflows.rollouts.rollback import plan_rollback, rollback
from hms_nomad.workflows.rollouts.steering import Steered, SteerOptions
from hms_nomad.workflows.rollouts.watch import watch
from tests.unit.rollout.servers import FakeConsul, FakeEnvoy, FakeNomad, Log
from tests.unit.specs import spec

NAME = "receipt-svc"
AT_ONCE = {"every": "0s", "keep": "0s", "drain": "1s"}


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def stage(monkeypatch):
    """A service that runs in version 1, and the ways to change it."""
    monkeypatch.setattr(sidecars_module, "SETTLE_SECONDS", 0.0)
    made = Stage(monkeypatch)
    made.deploy(1)
    made.log.lines.clear()
    return made


class Stage:
    def __init__(self, monkeypatch):
        self.log, self.events = Log(), []
        self.consul, self.nomad = FakeConsul(self.log), FakeNomad(self.log, NAME)
        self.consul.registered = self.nomad.instances
        self.envoy = FakeEnvoy()
        self.session = SimpleNamespace(
            platform=Platform(), nomad=self.nomad, consul=self.consul, vault=None, lock_wait=0.0
        )
        original = cluster_module.Cluster
        monkeypatch.setattr(
            "hms_nomad.workflows.deploying.converge.Cluster",
            lambda *arguments, **named: original(*arguments, **named, envoy=self.envoy),
        )
        for workflow in ("abort", "pause", "promote", "rollback"):
            monkeypatch.setattr(f"hms_nomad.workflows.rollouts.{workflow}.guarded", self._unguarded)

    def _unguarded(self, session, name, intent, report):
        class Run:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return False

            def concluded(self, outcome):
                return outcome

        made = Run()
        made.report = report
        return made

    def spec(self, version, **changes):
        fields = {"version": f"{version}.0.0", "image": f"ghcr.io/gov/receipt:{version}", "rollout": AT_ONCE}
        return spec(**(fields | changes))

    def deploy(self, version, options=None, seconds=30.0, **changes):
        what = self.spec(version, **changes)
        options = options or DeployOptions()
        options = replace(options, author=options.author or Author("ann@desk", "because"))
        return converge(
            self.session,
            compile_spec(what, Platform()),
            policy_of(what, options.strategy),
            options,
            time.monotonic() + seconds,
            self.events.append,
        )

    def steer(self, workflow, *arguments, **options):
        return workflow(self.session, NAME, *arguments, SteerOptions(timeout=30.0), self.events.append, **options)

    def die_before(self, line, times=1):
        """Let the process die just before ``line`` is written for the ``times``-th time."""
        seen = []

        def before(written):
            if written == line:
                seen.append(written)
                if len(seen) == times:
                    self.log.before = lambda _: None
                    raise Killed

        self.log.before = before

    @property
    def journal(self):
        from hms_nomad.rollout.store import RolloutStore

        return RolloutStore(self.consul, "default", NAME).journal()

    @property
    def servers(self):
        """What is written to the servers, without the book-keeping."""
        return [line for line in self.log.lines if not line.startswith(("key", "no key"))]

    def only_mesh(self, release):
        """The mesh knows exactly this release."""
        bodies = {kind: entry.body for (kind, name), entry in self.consul.entries.items() if name == NAME}
        assert set(bodies["service-resolver"]["Subsets"]) == {release}
        assert bodies["service-resolver"]["DefaultSubset"] == release
        assert "Failover" not in bodies["service-resolver"]
        assert "service-splitter" not in bodies
        assert not any("ServiceSubset" in route["Destination"] for route in bodies["service-router"]["Routes"])

    def only(self, release):
        """Exactly this release is left everywhere."""
        self.only_mesh(release)
        assert {one.meta["release"] for one in self.nomad.instances(NAME)} == {release}
        assert not any(not found.done for found in self.nomad.deployments)
        assert self.journal.rollout is None

    def release(self, version, **changes):
        return compile_spec(self.spec(version, **changes), Platform()).release


def test_a_new_release_comes_by_weights_and_leaves_nothing_but_itself(stage):
    outcome = stage.deploy(2)
    assert (outcome.status, outcome.number) == (Status.DEPLOYED, 2)
    new = stage.release(2)
    assert stage.servers == [
        "service-resolver", "service-router", "weight 0", f"register {new}", "weight 1", "weight 10", "weight 50",
        "weight 100", "service-resolver", "service-router", "no service-splitter", "service-resolver", "promote",
    ]  # fmt: skip
    stage.only(new)


def test_a_rollout_reads_its_own_instances_and_not_all_that_nomad_remembers_of_the_service(stage, monkeypatch):
    monkeypatch.delattr(FakeNomad, "job_allocations")
    assert stage.deploy(2).status is Status.DEPLOYED


def test_a_first_deploy_and_a_change_of_routes_move_no_traffic(stage):
    outcome = stage.deploy(1, routes=[{"path": "/receipt"}, {"path": "/v2"}])
    assert outcome.status is Status.DEPLOYED
    assert not any(line.startswith("weight") for line in stage.servers)
    assert stage.deploy(1, routes=[{"path": "/receipt"}, {"path": "/v2"}]).status is Status.UNCHANGED


def test_a_rollout_keeps_the_count_that_the_autoscaler_chose(stage):
    body = dict(stage.nomad.job.body)
    body["TaskGroups"] = [{**body["TaskGroups"][0], "Count": 5}]
    stage.nomad.register_job(body, stage.nomad.job.modify_index)
    stage.deploy(2)
    group = stage.nomad.job.body["TaskGroups"][0]
    assert (group["Count"], group["Update"]["Canary"], len(stage.nomad.allocations)) == (5, 5, 5)


def test_blue_green_switches_once(stage):
    stage.deploy(2, DeployOptions(strategy="blue-green"), rollout={**AT_ONCE, "keep": "0s"})
    assert [line for line in stage.servers if line.startswith("weight")] == ["weight 0", "weight 100"]
    stage.only(stage.release(2))


@pytest.mark.parametrize(
    "line",
    ["service-resolver", "service-router", "weight 0", "register", "weight 1", "weight 50", "weight 100", "promote",
     "no service-splitter"],
)  # fmt: skip
def test_the_same_deploy_finishes_what_a_killed_one_began(stage, line):
    new = stage.release(2)
    stage.die_before(f"register {new}" if line == "register" else line)
    with pytest.raises(Killed):
        stage.deploy(2)
    assert stage.deploy(2).status is Status.DEPLOYED
    stage.only(new)
    assert stage.log.lines.count(f"register {new}") == 1


@pytest.mark.parametrize("line", ["weight 1", "weight 50", "weight 100", "promote"])
def test_resume_finishes_it_without_the_file(stage, line):
    stage.die_before(line)
    with pytest.raises(Killed):
        stage.deploy(2)
    assert stage.steer(resume).status is Steered.SUCCEEDED
    stage.only(stage.release(2))


def test_resume_needs_the_file_before_the_job_is_registered(stage):
    stage.die_before(f"register {stage.release(2)}")
    with pytest.raises(Killed):
        stage.deploy(2)
    outcome = stage.steer(resume)
    assert (outcome.status, "deploy the same file again" in outcome.reason) == (Steered.STUCK, True)
    assert stage.steer(abort).status is Steered.TAKEN_BACK
    stage.only(stage.release(1))


@pytest.mark.parametrize("line", ["service-router", "weight 0", "weight 1", "weight 50", "weight 100"])
def test_abort_returns_traffic_first_then_what_was_written_then_instances(stage, line):
    stage.die_before(line)
    with pytest.raises(Killed):
        stage.deploy(2)
    stage.log.lines.clear()
    assert stage.steer(abort).status is Steered.TAKEN_BACK
    stage.only(stage.release(1))
    order = ["weight 0", "service-router", "no service-splitter", "service-resolver", "fail the deployment"]
    assert [written for written in order if written in stage.servers] == stage.servers


@pytest.mark.parametrize("line", ["weight 0", "fail the deployment", "no service-splitter", "service-resolver"])
def test_an_abort_that_dies_is_finished_by_the_same_command(stage, line):
    stage.die_before("weight 100")
    with pytest.raises(Killed):
        stage.deploy(2)
    stage.die_before(line)
    with pytest.raises(Killed):
        stage.steer(abort)
    assert stage.steer(abort).status is Steered.TAKEN_BACK
    stage.only(stage.release(1))


@pytest.mark.parametrize("line", ["no service-splitter", "promote"])
def test_an_abort_once_the_old_release_retires_is_too_late_and_says_how_to_go_back(stage, line):
    stage.die_before(line)
    with pytest.raises(Killed):
        stage.deploy(2)
    outcome = stage.steer(abort)
    assert (outcome.status, outcome.hint) == (Steered.SUCCEEDED, f"hms-nomad rollback {NAME}")
    stage.only(stage.release(2))


def test_without_a_rollout_every_command_does_nothing(stage):
    before = dict(stage.consul.entries)
    for workflow in (promote, abort, resume):
        assert stage.steer(workflow).status is Steered.NOTHING
    assert pause(stage.session, NAME, stage.events.append).status is Steered.NOTHING
    assert watch(stage.session, NAME, stage.events.append).status is Steered.NOTHING
    assert (stage.servers, stage.consul.entries) == ([], before)


def test_a_deploy_until_healthy_leaves_a_paused_rollout_that_promote_moves_step_by_step(stage):
    outcome = stage.deploy(2, DeployOptions(until_healthy=True))
    assert (outcome.status, outcome.hint) == (Status.WAITING, f"hms-nomad promote {NAME}")
    assert stage.journal.rollout.paused
    for weight in (1, 10):
        assert stage.steer(promote).status is Steered.REACHED
        assert stage.servers[-1] == f"weight {weight}"
    assert stage.steer(promote, full=True).status is Steered.SUCCEEDED
    assert [line for line in stage.servers if line.startswith("weight")][-2:] == ["weight 10", "weight 100"]
    stage.only(stage.release(2))


def test_a_pipeline_that_dies_before_its_canary_is_healthy_leaves_a_rollout_that_moves_no_traffic(stage):
    stage.die_before("weight 0")
    with pytest.raises(Killed):
        stage.deploy(2, DeployOptions(until_healthy=True))
    assert stage.journal.rollout.paused


def test_the_same_pipeline_again_neither_stops_nor_finishes_what_somebody_promoted_meanwhile(stage):
    stage.deploy(2, DeployOptions(until_healthy=True))
    assert stage.steer(promote).status is Steered.REACHED
    outcome = stage.deploy(2, DeployOptions(until_healthy=True))
    assert (outcome.status, stage.servers[-1]) == (Status.DETACHED, "weight 1")


def test_a_detached_deploy_is_resumed_by_others(stage):
    outcome = stage.deploy(2, DeployOptions(detach=True))
    assert (outcome.status, outcome.hint) == (Status.DETACHED, f"hms-nomad resume {NAME}")
    assert stage.steer(resume).status is Steered.SUCCEEDED


def test_a_paused_rollout_stays_until_it_is_resumed(stage):
    stage.deploy(2, DeployOptions(until_healthy=True))
    with pytest.raises(DeadlineExceededError, match="paused before 1 %"):
        stage.deploy(2, seconds=0.3)
    assert watch_times_out(stage)
    assert stage.steer(resume).status is Steered.SUCCEEDED


def watch_times_out(stage):
    with pytest.raises(DeadlineExceededError, match="goes on"):
        watch(stage.session, NAME, stage.events.append, 0.1)
    return any("paused" in event.message for event in stage.events)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"client_status": "failed", "healthy": None}, "failed"),
        ({"healthy": False}, "2 of 2 new instances did not get healthy"),
    ],
)
def test_new_instances_that_fail_are_taken_back_with_the_evidence(stage, spoil, said):
    stage.nomad.spoil = lambda allocation: replace(allocation, **spoil)
    outcome = stage.deploy(2)
    assert outcome.status is Status.FAILED
    assert said in outcome.failure.reason
    assert outcome.failure.lines == ("cannot open the database",)
    assert not any(line.startswith("weight 1") for line in stage.servers)
    stage.only(stage.release(1))


@pytest.mark.parametrize(
    ("event", "message", "said"),
    [
        ("Terminated", "Exit Code: 3", "crashes at start: task app, Exit Code: 3"),
        ("Driver Failure", "Failed to pull `a/b:1`", "cannot be started: task app, Failed to pull `a/b:1`"),
        ("Failed Artifact Download", "404", "cannot fetch its artifact: task app, 404"),
    ],
)
def test_an_instance_that_does_not_come_up_is_not_waited_for(stage, event, message, said):
    def crashing(allocation):
        task = next(iter(allocation.tasks.values()))
        why = replace(task.events[0], type=event, message=message)
        again = replace(task.events[0], type="Restarting", message="Task restarting in 1s")
        return replace(allocation, healthy=None, tasks={"app": replace(task, restarts=2, events=(why, again))})

    stage.nomad.spoil = crashing
    assert said in stage.deploy(2).failure.reason


def test_what_no_node_can_take_is_said_at_once(stage):
    stage.nomad.full = True
    assert "no node can take an instance (app: cpu is exhausted on 1 node" in stage.deploy(2).failure.reason
    stage.nomad.full = False
    assert stage.journal.rollout is None


def test_errors_that_the_sidecars_count_take_a_release_back(stage):
    stage.envoy.grown = {1: {"2xx": 100, "5xx": 0}, 2: {"2xx": 80, "5xx": 20}}
    outcome = stage.deploy(2, rollout={**AT_ONCE, "every": "30s"})
    assert outcome.failure.reason.startswith("success 80 % < 99 %, ")
    assert [line for line in stage.servers if line.startswith("weight")] == ["weight 0", "weight 1", "weight 0"]
    stage.only(stage.release(1))


def test_a_failed_probe_takes_a_release_back_before_it_has_any_traffic(stage, monkeypatch):
    asked = []

    def ask(target, method, path, headers, body, timeout):
        asked.append((method, path))
        return SimpleNamespace(status=500, body=b'{"gve": "bias found"}')

    monkeypatch.setattr("hms_nomad.rollout.probes.ask", ask)
    outcome = stage.deploy(2, probes={"gve": {"path": "/gve"}})
    assert outcome.failure.reason.startswith("probe gve failed at instance")
    assert 'GET /gve answered 500 {"gve": "bias found"}' in outcome.failure.reason
    assert asked == [("GET", "/gve")]
    assert not any(line.startswith("weight 1") for line in stage.servers)


def test_own_requests_stand_in_for_traffic_where_the_spec_says_so(stage, monkeypatch):
    asked = []

    def ask(target, method, path, headers, body, timeout):
        asked.append(path)
        return SimpleNamespace(status=200, body=b"")

    monkeypatch.setattr("hms_nomad.rollout.probes.ask", ask)
    rollout = {**AT_ONCE, "steps": [100], "on_no_traffic": "probe", "min_requests": 7}
    assert stage.deploy(2, rollout=rollout, health={"path": "/up"}).status is Status.DEPLOYED
    assert asked == ["/up"] * 7


def test_a_release_that_was_taken_back_is_deployed_again_only_by_force(stage):
    stage.nomad.spoil = lambda allocation: replace(allocation, healthy=False)
    stage.deploy(2)
    stage.nomad.spoil = lambda allocation: allocation
    with pytest.raises(RejectedReleaseError, match="did not get healthy; deploy another release, or insist"):
        stage.deploy(2)
    assert stage.deploy(2, DeployOptions(force=True)).status is Status.DEPLOYED
    assert stage.journal == Journal()


def test_another_release_does_not_overtake_a_rollout(stage):
    stage.deploy(2, DeployOptions(until_healthy=True))
    with pytest.raises(RolloutRunningError, match=r"from 1\.0\.0 to 2\.0\.0 is under way \(step 1 of 4"):
        stage.deploy(3)
    with pytest.raises(RolloutRunningError):
        plan_rollback(stage.session, NAME)


def test_a_release_of_another_protocol_cannot_stand_beside_the_running_one(stage):
    with pytest.raises(UnrollableChangeError, match="speaks http and the new release grpc"):
        stage.deploy(2, protocol="grpc")
    assert stage.servers == []


def test_losing_a_race_or_an_answer_means_looking_again(stage):
    left = [
        ConflictError("consul", "write service-router", "http://consul", "it changed"),
        UnknownOutcomeError("consul", "write service-resolver", "http://consul", "no answer"),
    ]

    def before(line):
        if line.startswith("service-") and left:
            raise left.pop()

    stage.log.before = before
    assert stage.deploy(2).status is Status.DEPLOYED
    assert left == []
    stage.only(stage.release(2))


def test_a_rollout_whose_journal_was_lost_is_taken_up_by_the_same_deploy(stage):
    stage.die_before("weight 50")
    with pytest.raises(Killed):
        stage.deploy(2)
    stage.consul.keys = {}
    assert stage.deploy(2).status is Status.DEPLOYED
    stage.only(stage.release(2))


BACKWARDS = ["weight 0", "service-router", "no service-splitter", "service-resolver", "fail the deployment"]
FORWARDS = ["weight 100", "service-resolver", "service-router", "no service-splitter", "promote"]


@pytest.mark.parametrize(
    ("back", "line"), [*((True, line) for line in BACKWARDS), *((False, line) for line in FORWARDS)]
)
def test_two_who_drive_the_same_rollout_do_not_undo_each_other(stage, back, line):
    """Just before one writes, the other one does everything to the end."""
    stage.die_before("weight 100")
    with pytest.raises(Killed):
        stage.deploy(2)
    stage.log.lines.clear()

    def steer():
        return stage.steer(abort) if back else stage.steer(promote, full=True)

    def before(written):
        if written == line:
            stage.log.before = lambda _: None
            steer()

    stage.log.before = before
    assert steer().status is (Steered.TAKEN_BACK if back else Steered.SUCCEEDED)
    assert stage.servers.count("fail the deployment" if back else "promote") == 1
    stage.only(stage.release(1 if back else 2))


def test_a_job_that_nomad_reverts_at_the_last_moment_gets_its_traffic_back(stage):
    stage.die_before("promote")
    with pytest.raises(Killed):
        stage.deploy(2)
    stage.only_mesh(stage.release(2))
    stage.nomad.fail_deployment(stage.nomad.deployments[-1].id)
    stage.log.lines.clear()
    outcome = stage.steer(resume)
    assert (outcome.status, "Nomad took the job back" in outcome.reason) == (Steered.TAKEN_BACK, True)
    assert [line for line in stage.servers if line.startswith("weight")] == ["weight 100", "weight 0"]
    stage.only(stage.release(1))


class TestHistoryAndRollback:
    def test_history_tells_who_what_why_and_how_it_ended(self, stage):
        stage.deploy(2)
        stage.nomad.spoil = lambda allocation: replace(allocation, healthy=False)
        stage.deploy(3)
        found = history(stage.session, NAME)
        assert [(one.number, one.version, one.outcome) for one in found.releases] == [
            (3, "3.0.0", ReleaseOutcome.TAKEN_BACK),
            (2, "2.0.0", ReleaseOutcome.SUCCEEDED),
            (1, "1.0.0", ReleaseOutcome.SUCCEEDED),
        ]
        assert found.current == 2
        assert (found.releases[0].author.who, found.releases[0].author.message) == ("ann@desk", "because")
        assert "did not get healthy" in found.releases[0].reason
        assert stage.nomad.tags == {"hms-nomad-1": 0, "hms-nomad-2": 1}

    def test_rollback_brings_back_job_routes_and_intentions_as_one(self, stage):
        before = {key: entry.body for key, entry in stage.consul.entries.items()}
        stage.deploy(2, routes=[{"path": "/v2"}], allow=["portal"])
        assert {key: entry.body for key, entry in stage.consul.entries.items()} != before
        plan = plan_rollback(stage.session, NAME)
        assert (plan.release.number, plan.plan.release_after) == (1, stage.release(1))
        options = DeployOptions(timeout=30.0, author=Author("ann@desk"))
        outcome = rollback(stage.session, NAME, None, options, stage.events.append)
        assert (outcome.status, outcome.version) == (Status.DEPLOYED, "1.0.0")
        assert {key: entry.body for key, entry in stage.consul.entries.items()} == before
        stage.only(stage.release(1))
        assert stage.deploy(1).status is Status.UNCHANGED

    @pytest.mark.parametrize("wanted", ["1", "#1", "1.0.0"])
    def test_a_release_is_named_by_number_version_or_id(self, stage, wanted):
        stage.deploy(2)
        stage.deploy(3)
        assert plan_rollback(stage.session, NAME, wanted).release.number == 1
        assert plan_rollback(stage.session, NAME, stage.release(1)).release.number == 1
        assert plan_rollback(stage.session, NAME).release.number == 2

    def test_what_is_not_there_is_said_with_what_is(self, stage):
        with pytest.raises(NoSuchReleaseError, match=r"no earlier release to go back to; it has 1 \(1\.0\.0"):
            plan_rollback(stage.session, NAME)
        with pytest.raises(NoSuchReleaseError, match=r"no release '9' to go back to"):
            plan_rollback(stage.session, NAME, "9")
        stage.deploy(2)
        stage.nomad.versions[0] = replace(stage.nomad.versions[0], body={"TaskGroups": [{"Services": [{}]}]})
        with pytest.raises(NoSuchReleaseError, match="Nomad has forgotten the job of release 1"):
            plan_rollback(stage.session, NAME)

    def test_only_the_last_twenty_deploys_are_remembered(self, stage):
        for number in range(2, 25):
            stage.deploy(1, routes=[{"path": f"/v{number}"}])
        assert [one.number for one in history(stage.session, NAME).releases] == list(range(24, 4, -1))
        assert set(stage.nomad.tags) == {f"hms-nomad-{number}" for number in range(5, 25)}

    def test_a_deploy_that_nobody_saw_end_is_known_by_what_runs(self, stage):
        stage.deploy(1, DeployOptions(detach=True), scaling={"min": 3, "max": 9})
        assert history(stage.session, NAME).releases[0].outcome is ReleaseOutcome.SUCCEEDED
