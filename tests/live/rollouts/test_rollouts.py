"""Rollouts on real servers, under load: no request is lost, and what is bad is taken back."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest
from zero_loss.ways import OURS
from zero_loss.world import SERVICE, World

from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.plan.observed import release_of
from hms_nomad.rollout.begin import RejectedReleaseError, RolloutRunningError
from hms_nomad.rollout.records import NoSuchReleaseError
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.abort import abort
from hms_nomad.workflows.deploy import DeployOptions, Status
from hms_nomad.workflows.history import history
from hms_nomad.workflows.pause import pause, resume
from hms_nomad.workflows.promote import promote
from hms_nomad.workflows.rollback import rollback
from hms_nomad.workflows.steering import Steered, SteerOptions
from tests.live.conftest import LiveStack

pytestmark = pytest.mark.timeout(600)
QUICK = {"every": "1s", "drain": "7s", "keep": "0s", "min_healthy": "1s"}


def quiet(_):
    """Show nothing."""


@pytest.mark.parametrize(
    "way", ["canary, 1 -> 10 -> 50 -> 100 %", "blue-green", "rolling", "rollback", "abort at 50 %", "scale out and in"]
)
def test_no_request_is_lost(world: World, way: str):
    with world.load() as loaded:
        OURS[way](world)
    assert loaded.failed == 0, (loaded.reasons, loaded.seconds, world.events)
    assert loaded.sent > 100
    _one_release(world)


def test_the_header_reaches_the_new_release_on_its_new_route_before_any_user_does(world: World):
    world.must_deploy(world.next(rollout=QUICK, routes=[{"path": "/work"}]))
    old = world.version
    waiting = world.next(rollout=QUICK, routes=[{"path": "/work"}, {"path": "/new"}])
    assert world.deploy(waiting, DeployOptions(until_healthy=True)).status is Status.WAITING
    with world.load(count=20, header="x-hms-canary: 1", path="/new", slow=0) as new:
        pass
    with world.load(count=20, slow=0) as users:
        pass
    assert new.versions == {str(world.version): 20}
    assert users.versions == {str(old): 20}
    assert promote(world.session, SERVICE, SteerOptions(), quiet, full=True).status is Steered.SUCCEEDED
    with world.load(count=20, path="/new", slow=0) as after:
        pass
    assert after.versions == {str(world.version): 20}
    world.must_deploy(world.next(rollout=QUICK))


def test_a_release_that_crashes_is_taken_back_with_its_last_lines_and_not_deployed_again(world: World):
    broken = world.next(command=[sys.executable, "-c", "raise SystemExit('no database')"], rollout=QUICK)
    with world.load() as loaded:
        outcome = world.deploy(broken)
    assert outcome.status is Status.FAILED
    assert "crashes at start" in outcome.failure.reason
    assert "no database" in outcome.failure.lines
    assert loaded.failed == 0
    _one_release(world)
    with pytest.raises(RejectedReleaseError):
        world.deploy(broken)


def test_a_release_that_never_gets_healthy_is_taken_back_at_its_deadline(world: World):
    outcome = world.deploy(world.next(health={"path": "/health?sleep=9"}, rollout={**QUICK, "deadline": "10s"}))
    assert outcome.status is Status.FAILED
    assert "did not get healthy" in outcome.failure.reason
    _one_release(world)


def test_a_release_that_fails_a_named_probe_gets_no_traffic(world: World):
    outcome = world.deploy(
        world.next(
            env={"APP_VERSION": str(world.version), "APP_ERRORS": "1"}, probes={"gve": {"path": "/gve"}}, rollout=QUICK
        )
    )
    assert outcome.failure.reason.startswith("probe gve failed at instance")
    assert not any("1 % of the traffic" in event for event in world.events)
    _one_release(world)


def test_a_release_with_errors_is_taken_back_and_users_see_no_more_than_its_share(world: World):
    world.version += 1
    bad = world.spec(
        env={"APP_VERSION": str(world.version), "APP_ERRORS": "0.2"},
        rollout={**QUICK, "every": "60s", "steps": [20, 100], "min_requests": 30},
    )
    with world.load() as loaded:
        outcome = world.deploy(bad)
    assert outcome.status is Status.FAILED
    assert "< 99 %" in outcome.failure.reason
    assert all(reason.startswith("500") for reason in loaded.reasons)
    assert loaded.failed < loaded.sent * 0.2
    _one_release(world)


def test_another_terminal_goes_on_with_a_deploy_that_was_killed(world: World, stack: LiveStack, tmp_path):
    world.version += 1
    spec = world.spec(rollout={**QUICK, "every": "300s", "steps": [50, 100]})
    file = tmp_path / "service.hms.yml"
    file.write_text(json.dumps(spec.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    with world.load() as loaded:
        deploying = subprocess.Popen(
            [sys.executable, "-m", "hms_nomad", "deploy", str(file)],
            env=stack.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in deploying.stderr:
            if "50 % of the traffic" in line:
                break
        os.kill(deploying.pid, signal.SIGKILL)
        deploying.wait()
        deploying.stderr.close()
        journal = RolloutStore(world.session.consul, world.platform.namespace, SERVICE).journal()
        assert journal.rollout is not None
        outcome = promote(world.session, SERVICE, SteerOptions(), quiet, full=True)
    assert outcome.status is Steered.SUCCEEDED
    assert loaded.failed == 0
    assert history(world.session, SERVICE).releases[0].version == spec.version
    _one_release(world)


def test_any_order_of_commands_leaves_one_release_with_everything_or_a_journal(world: World):
    """Random orders; HMS_SEED repeats one, HMS_MOVES lengthens it."""
    seed = int(os.environ.get("HMS_SEED", random.randrange(1_000_000)))  # noqa: S311
    dice, moves = random.Random(seed), int(os.environ.get("HMS_MOVES", "8"))  # noqa: S311
    session, done = world.session, [f"seed {seed}"]
    options = SteerOptions(timeout=60.0)

    def deploy():
        until = dice.random() < 0.5
        world.deploy(world.next(rollout=QUICK), DeployOptions(until_healthy=until, timeout=120.0))

    def deploy_and_die():
        """The process dies in the middle: here the thread is left behind by its deadline."""
        world.deploy(world.next(rollout={**QUICK, "every": "60s"}), DeployOptions(timeout=dice.uniform(2, 15)))

    def scale():
        world.undeployed(SERVICE, 30.0)
        session.nomad.scale_job(SERVICE, "app", dice.choice((2, 3)), "dice")

    choices = {
        "deploy": deploy,
        "deploy and die": deploy_and_die,
        "pause": lambda: pause(session, SERVICE, quiet),
        "resume": lambda: resume(session, SERVICE, options, quiet),
        "promote": lambda: promote(session, SERVICE, options, quiet),
        "promote --full": lambda: promote(session, SERVICE, options, quiet, full=True),
        "abort": lambda: abort(session, SERVICE, options, quiet),
        "rollback": lambda: rollback(session, SERVICE, None, DeployOptions(timeout=120.0), quiet),
        "scale": scale,
    }
    with world.load() as loaded:
        for _ in range(moves):
            name = dice.choice(sorted(choices))
            done.append(name)
            try:
                choices[name]()
            except (
                DeadlineExceededError, RolloutRunningError, RejectedReleaseError, NoSuchReleaseError, SystemExit
            ) as refused:  # fmt: skip
                done[-1] += f" ({type(refused).__name__})"
            _consistent(world, done)
        abort(session, SERVICE, options, quiet)
    _one_release(world)
    assert loaded.failed == 0, (done, loaded.reasons)


def _consistent(world: World, done: list[str]) -> None:
    """Either nothing is left of any rollout, or the journal knows it and the mesh knows its two releases."""
    rollout = RolloutStore(world.session.consul, world.platform.namespace, SERVICE).journal().rollout
    if rollout is None:
        _one_release(world)
        return
    resolver = world.session.consul.read_entry("service-resolver", SERVICE)
    assert set(resolver.body["Subsets"]) <= {rollout.stable, rollout.candidate}, done


def _one_release(world: World) -> None:
    """Exactly one release is left everywhere: in the mesh, in Nomad, in the journal."""
    consul, nomad = world.session.consul, world.session.nomad
    resolver = consul.read_entry("service-resolver", SERVICE).body
    (release,) = resolver["Subsets"]
    assert resolver["DefaultSubset"] == release
    assert consul.read_entry("service-splitter", SERVICE) is None
    router = consul.read_entry("service-router", SERVICE).body
    assert not any("ServiceSubset" in (route.get("Destination") or {}) for route in router["Routes"])
    assert RolloutStore(consul, world.platform.namespace, SERVICE).journal().rollout is None
    job = nomad.read_job(SERVICE)
    assert release_of(job.body) == release
    # What was stopped may still finish its requests; nothing else runs beside this release.
    bodies = {version.version: release_of(version.body) for version in nomad.job_versions(SERVICE)}
    wanted = [one for one in nomad.job_allocations(SERVICE).value if one.desired_status == "run" and not one.done]
    assert {bodies[one.job_version] for one in wanted} == {release}
