"""Rollouts that the cluster drives: handed over, followed and steered from any terminal, killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from zero_loss.world import SERVICE, World

from hms_nomad.clients.nomad_types import Allocation
from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Rollouts
from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.rollouts.rollout_job import Driver, drivers
from tests.live.conftest import Cli, LiveStack, own_contexts
from tests.live.faults.world import started
from tests.live.rollouts.program import JOB, installed_rollouts
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(600)
SLOW = {"every": "300s", "steps": [50, 100], "drain": "7s", "keep": "0s", "min_healthy": "1s"}


@pytest.fixture(scope="module")
def installed(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The job that drives rollouts."""
    with installed_rollouts(stack, tmp_path_factory.mktemp("program")):
        yield


@pytest.fixture
def release(world: World, tmp_path: Path) -> Callable[..., Path]:
    """Writes the file of the service's next release."""

    def make(**fields: Any) -> Path:
        spec = world.next(**fields)
        file = tmp_path / f"{spec.version}.hms.yml"
        file.write_text(json.dumps(as_data(spec, defaults=False)), encoding="utf-8")
        return file

    return make


def rollout_of(world: World) -> Rollout | None:
    return RolloutStore(world.session.consul, world.platform.namespace, SERVICE).journal().rollout


def held(world: World, step: int) -> None:
    """Wait until the rollout holds a step, counted from 0."""
    eventually(
        lambda: rollout_of(world), lambda now: now is not None and now.step == step and now.step_since is not None, 90
    )


def driving(world: World) -> tuple[Driver, ...]:
    return drivers(world.session, JOB)


def instance_of(world: World, driver: Driver) -> Allocation:
    return eventually(
        lambda: world.session.nomad.job_allocations(driver.job_id).value,
        lambda found: any(one.client_status == "running" for one in found),
        30,
    )[-1]


def test_a_canary_goes_on_without_the_terminal_and_is_followed_and_promoted_from_others(
    world: World, installed: None, release: Callable[..., Path], stack: LiveStack, cli: Cli
):
    file = release(rollout=SLOW)
    with world.load() as loaded:
        ran = cli("deploy", file, "--in-cluster", "--output", "json")
        assert ran.exit_code == 0, ran.stderr
        (service,) = json.loads(ran.stdout)["services"]
        assert service["status"] == "detached"
        assert service["driver"].startswith(f"{JOB}/dispatch-")
        held(world, 0)
        again = json.loads(cli("deploy", file, "--in-cluster", "--output", "json").stdout)["services"][0]
        assert again["driver"] == service["driver"]
        assert [(one.service, one.number) for one in driving(world)] == [(SERVICE, service["number"])]
        assert "drives zero-loss" in cli("platform", "status").stdout
        assert cli("platform", "remove", "rollouts").exit_code == 2

        following = started(stack, "watch", SERVICE, "--output", "json")
        # Killed in the middle, and started again by Nomad.
        instance = instance_of(world, driving(world)[0])
        world.session.nomad.signal_allocation(instance.id, "SIGKILL", "app")
        eventually(
            lambda: world.session.nomad.read_allocation(instance.id),
            lambda found: found.tasks["app"].restarts > 0 and found.tasks["app"].state == "running",
            60,
        )
        promoted = cli("promote", SERVICE, "--detach")
        assert promoted.exit_code == 0, promoted.stderr
        held(world, 1)
        assert cli("promote", SERVICE, "--full", "--detach").exit_code == 0
        shown = [json.loads(line) for line in following.communicate(timeout=120)[0].splitlines()]
    assert shown[-1]["status"] == "succeeded"
    assert {one["data"]["step"] for one in shown if one.get("kind") == "rollout" and "step" in one["data"]} == {1, 2}
    assert loaded.failed == 0, (loaded.reasons, world.events)
    eventually(lambda: driving(world), lambda left: left == (), 60)
    assert json.loads(cli("history", SERVICE, "--output", "json").stdout)["releases"][0]["outcome"] == "succeeded"


def test_a_canary_in_the_cluster_is_paused_resumed_and_aborted_from_another_terminal(
    world: World, installed: None, release: Callable[..., Path], cli: Cli
):
    waiting = cli("deploy", release(rollout=SLOW), "--in-cluster", "--until", "canary-healthy")
    assert waiting.exit_code == 0, waiting.stderr
    assert "has no traffic yet" in waiting.stdout
    (driver,) = driving(world)
    assert rollout_of(world).paused
    assert cli("resume", SERVICE, "--detach").exit_code == 0
    held(world, 0)
    assert cli("pause", SERVICE).exit_code == 0
    aborted = cli("abort", SERVICE, "--message", "wrong totals", "--detach")
    assert aborted.exit_code == 0, aborted.stderr
    eventually(lambda: rollout_of(world), lambda now: now is None, 90)
    eventually(lambda: driving(world), lambda left: left == (), 60)
    last = json.loads(cli("history", SERVICE, "--output", "json").stdout)["releases"][0]
    assert (last["outcome"], "wrong totals" in last["reason"]) == ("taken back", True)
    ended = world.session.nomad.job_allocations(driver.job_id).value
    assert [one.client_status for one in ended] == ["complete"]


def test_what_a_dead_process_left_is_handed_to_the_cluster(
    world: World, installed: None, release: Callable[..., Path], cli: Cli
):
    assert cli("deploy", release(rollout={**SLOW, "every": "1s"}), "--detach").exit_code == 0
    handed = cli("resume", SERVICE, "--in-cluster")
    assert handed.exit_code == 0, handed.stderr
    followed = cli("watch", SERVICE)
    assert followed.exit_code == 0, followed.stderr
    assert json.loads(cli("history", SERVICE, "--output", "json").stdout)["releases"][0]["outcome"] == "succeeded"


def test_the_way_back_is_driven_by_the_cluster_too(
    world: World, installed: None, release: Callable[..., Path], cli: Cli
):
    quick = {**SLOW, "every": "1s"}
    for file in (release(rollout=quick), release(rollout=quick)):
        assert cli("deploy", file).exit_code == 0
    with world.load() as loaded:
        handed = cli("rollback", SERVICE, "--yes", "--in-cluster", "--output", "json")
        assert handed.exit_code == 0, handed.stderr
        assert f'"{JOB}/dispatch-' in handed.stdout
        followed = cli("watch", SERVICE)
        assert followed.exit_code == 0, followed.stderr
    assert loaded.failed == 0, (loaded.reasons, world.events)
    back = json.loads(cli("history", SERVICE, "--output", "json").stdout)["releases"][0]
    assert (back["outcome"], back["version"]) == ("succeeded", f"{world.version - 1}.0.0")
    assert {one.meta["version"] for one in world.session.consul.instances(SERVICE, passing=True).value} == {
        f"{world.version - 1}.0.0"
    }


def test_who_comes_late_still_learns_why_a_release_was_taken_back(
    world: World, installed: None, release: Callable[..., Path], cli: Cli
):
    broken = release(command=[sys.executable, "-c", "raise SystemExit('no database')"], rollout=SLOW)
    (service,) = json.loads(cli("deploy", broken, "--in-cluster", "--output", "json").stdout)["services"]
    assert service["hint"] == f"hms-nomad watch {SERVICE} --rollout {service['number']}"
    eventually(lambda: rollout_of(world), lambda now: now is None, 90)
    told = cli("watch", SERVICE, "--rollout", str(service["number"]))
    assert told.exit_code == 5
    assert "no database" in told.stderr
    # Who drives it may look when they have been tried often enough already, on a machine that is busy.
    assert "crashes at start" in told.stdout or "did not get healthy" in told.stdout
    assert cli("watch", SERVICE, "--rollout", "999").exit_code == 2
    assert cli("deploy", broken).exit_code == 8


def test_it_runs_in_an_image_too(stack: LiveStack, cli: Cli):
    if not stack.status.docker:
        pytest.skip("no container engine answers on this machine")
    script = Path(__file__).parents[3] / "scripts" / "program_image.py"
    tag = "hms-nomad:live-test"
    subprocess.run([sys.executable, str(script), tag], check=True, capture_output=True)
    section = Rollouts(name="hms-rollouts-image", image=tag, command="/bin/hms-nomad")
    try:
        with own_contexts(stack.config_dir):
            save_context(stack.platform.changed(rollouts=section))
        ran = cli("platform", "install", "rollouts")
        assert ran.exit_code == 0, ran.stderr
        assert "tried out on a node" in ran.stdout
        assert cli("platform", "remove", "rollouts").exit_code == 0
    finally:
        with own_contexts(stack.config_dir):
            save_context(stack.platform)


def test_without_the_job_nothing_is_written(world: World, release: Callable[..., Path], cli: Cli, stack: LiveStack):
    with own_contexts(stack.config_dir):
        save_context(stack.platform.changed(rollouts=Rollouts(name="not-installed")))
    try:
        ran = cli("deploy", release(rollout=SLOW), "--in-cluster")
    finally:
        with own_contexts(stack.config_dir):
            save_context(stack.platform)
    assert ran.exit_code == 2
    assert "hms-nomad platform install rollouts" in ran.stderr
    assert rollout_of(world) is None
