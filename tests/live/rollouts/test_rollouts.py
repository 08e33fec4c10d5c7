"""Rollouts on real servers, under load: no request is lost, and what is bad is taken back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from zero_loss.watching import watching
from zero_loss.ways import OURS
from zero_loss.world import CALLER, SERVICE, World

from hms_nomad.rollout.begin import RejectedReleaseError
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.deploying.deploy import DeployOptions, Status
from hms_nomad.workflows.rollouts.abort import abort
from hms_nomad.workflows.rollouts.history import history
from hms_nomad.workflows.rollouts.promote import promote
from hms_nomad.workflows.rollouts.steering import Steered, SteerOptions
from tests.live.conftest import Cli, LiveStack
from tests.live.faults.world import started
from tests.live.rollouts.any_order import one_release
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(600)
PUBLIC = [{"path": "/work", "public": True}]
ASKING = {"header": "x-hms-canary: 1"}
QUICK = {"every": "1s", "drain": "7s", "keep": "0s", "min_healthy": "1s"}
BRIEF = {**QUICK, "drain": "2s"}


def quiet(_):
    """Show nothing."""


@contextlib.contextmanager
def opened(stack: LiveStack, *words: str) -> Iterator[dict[str, Any]]:
    """What a command says of the way that it opens, until the block ends."""
    process = started(stack, *words, "--output", "json", PYTHONUNBUFFERED="1")
    try:
        yield json.loads(process.stdout.readline())["opened"]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def version_at(url: str) -> str:
    """The version that answers at a URL of this machine; "" when nobody does."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(urllib.error.HTTPError), direct.open(url, timeout=10) as answer:
        return str(json.load(answer)["version"])
    return ""


@pytest.fixture(scope="module")
def outside(cli: Cli) -> Iterator[dict[str, object]]:
    """Options of a load that comes in through the platform's gateway."""
    assert cli("platform", "install", "gateway").exit_code == 0
    url = urlsplit(json.loads(cli("gateway", "status", "--output", "json").stdout)["gateway"]["url"])
    yield {"host": url.hostname, "port": url.port, "slow": 0, "rate": 40}
    assert cli("platform", "remove", "gateway", "--force").exit_code == 0


def test_no_request_of_ten_thousand_is_lost(world: World):
    """The short form of scripts/zero-loss: every way once."""
    ways = ("canary, 1 -> 10 -> 50 -> 100 %", "blue-green", "rolling", "rollback", "abort at 50 %", "scale out and in")
    sent = 0
    for way in ways:
        with world.load() as loaded:
            OURS[way](world)
        assert loaded.failed == 0, (way, loaded.reasons, loaded.seconds, world.events)
        sent += loaded.sent
        one_release(world)
    with world.load(count=max(1, 10_000 - sent)) as rest:
        pass
    assert rest.failed == 0, rest.reasons


@pytest.mark.parametrize("strategy", ["canary", "rolling"])
def test_requests_of_30_seconds_finish_and_count_and_capacity_stay(world: World, strategy: str):
    """The count is one that the autoscaler chose, not the spec's smallest one."""
    world.undeployed(SERVICE)
    world.session.nomad.scale_job(SERVICE, "app", 3, "load")
    world.settled(SERVICE, 3)
    with world.load(slow=20, slow_path="/work?sleep=30") as loaded, watching(world, SERVICE) as watched:
        world.must_deploy(world.next(), DeployOptions(strategy=strategy))
        world.settled(SERVICE, 3)
    assert loaded.failed == 0, (loaded.reasons, loaded.seconds, world.events)
    assert loaded.p99_ms > 30_000
    assert (watched.least, watched.counts) == (3, {3})


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


def test_the_header_reaches_the_new_release_through_the_gateway_and_nobody_outside_loses_a_request(
    world: World, outside: dict[str, object]
):
    world.must_deploy(world.next(rollout=BRIEF, routes=PUBLIC))
    old, said = str(world.version), []
    with world.load(**outside) as users:
        waiting = world.next(rollout=BRIEF, routes=[*PUBLIC, {"path": "/new", "public": True}])
        assert world.deploy(waiting, DeployOptions(until_healthy=True)).status is Status.WAITING
        new = str(world.version)
        with world.load(count=20, path="/new", **outside, **ASKING) as first:
            pass
        with world.load(**outside, **ASKING) as asking:
            assert promote(world.session, SERVICE, SteerOptions(), quiet).rollout.weight == 1
            with world.load(count=50, **outside) as mixed:
                pass
            full = promote(world.session, SERVICE, SteerOptions(), said.append, full=True)
            assert (full.status, full.warnings) == (Steered.SUCCEEDED, ())
    assert (first.versions, first.failed) == ({new: 20}, 0), first.reasons
    assert (asking.versions, asking.failed) == ({new: asking.sent}, 0), (asking.reasons, asking.seconds)
    assert mixed.versions[old] > 40
    assert (set(users.versions), users.failed) == ({old, new}, 0), (users.reasons, users.seconds)
    url = f"http://{outside['host']}:{outside['port']}/new"
    (live,) = [event.data["urls"] for event in said if event.kind == "gateway"]
    assert url in live
    # Rights reach the service's own sidecars in their own time.
    eventually(lambda: version_at(url), lambda found: found == new, 30)


def test_who_asks_by_the_header_loses_nothing_when_the_new_release_is_taken_back(
    world: World, outside: dict[str, object]
):
    old = str(world.version)
    waiting = world.next(rollout=BRIEF, routes=PUBLIC)
    assert world.deploy(waiting, DeployOptions(until_healthy=True)).status is Status.WAITING
    with world.load(**outside, **ASKING) as asking:
        assert abort(world.session, SERVICE, SteerOptions(), quiet).status is Steered.TAKEN_BACK
    assert (set(asking.versions), asking.failed) == ({old, str(world.version)}, 0), (asking.reasons, asking.seconds)
    with world.load(count=20, **outside, **ASKING) as after:
        pass
    assert after.versions == {old: 20}
    world.must_deploy(world.next(rollout=QUICK))
    one_release(world)


def test_the_green_side_is_looked_at_before_the_switch_and_the_blue_one_comes_back_until_keep_is_over(
    world: World, stack: LiveStack
):
    old = str(world.version)
    green = world.next(rollout={**BRIEF, "strategy": "blue-green", "keep": "300s"})
    with world.load(slow=0) as users:
        outcome = world.deploy(green, DeployOptions(until_healthy=True))
        assert outcome.status is Status.WAITING
        with opened(stack, "connect", SERVICE, "--as", CALLER, "--release", outcome.release) as way:
            assert {version_at(f"{way['url']}/work") for _ in range(5)} == {str(world.version)}
        assert promote(world.session, SERVICE, SteerOptions(), quiet).rollout.weight == 100
        with world.load(count=20, slow=0) as switched:
            pass
        assert abort(world.session, SERVICE, SteerOptions(), quiet).status is Steered.TAKEN_BACK
    assert switched.versions == {str(world.version): 20}
    assert (set(users.versions), users.failed) == ({old, str(world.version)}, 0), (users.reasons, users.seconds)
    one_release(world)


def test_a_release_that_crashes_is_taken_back_with_its_last_lines_and_not_deployed_again(world: World):
    broken = world.next(command=[sys.executable, "-c", "raise SystemExit('no database')"], rollout=QUICK)
    with world.load() as loaded:
        outcome = world.deploy(broken)
    assert outcome.status is Status.FAILED
    assert "crashes at start" in outcome.failure.reason
    assert "no database" in outcome.failure.lines
    assert loaded.failed == 0
    one_release(world)
    with pytest.raises(RejectedReleaseError):
        world.deploy(broken)


def test_a_release_that_never_gets_healthy_is_taken_back_at_its_deadline(world: World):
    outcome = world.deploy(world.next(health={"path": "/health?sleep=9"}, rollout={**QUICK, "deadline": "10s"}))
    assert outcome.status is Status.FAILED
    assert "did not get healthy" in outcome.failure.reason
    one_release(world)


def test_a_release_that_fails_a_named_probe_gets_no_traffic(world: World):
    outcome = world.deploy(
        world.next(
            env={"APP_VERSION": str(world.version), "APP_ERRORS": "1"}, probes={"gve": {"path": "/gve"}}, rollout=QUICK
        )
    )
    assert outcome.failure.reason.startswith("probe gve failed at instance")
    assert not any("1 % of the traffic" in event for event in world.events)
    one_release(world)


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
    one_release(world)


def test_another_terminal_goes_on_with_a_deploy_that_was_killed(world: World, stack: LiveStack, tmp_path):
    world.version += 1
    spec = world.spec(rollout={**QUICK, "every": "300s", "steps": [50, 100]})
    file = tmp_path / "service.hms.yml"
    file.write_text(json.dumps(as_data(spec, defaults=False)), encoding="utf-8")
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
    one_release(world)
