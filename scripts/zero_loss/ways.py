"""Each way of changing what runs, once, while requests go on: ours, and those that operators use without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hms_nomad.apply.progress import Event
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Intention
from hms_nomad.plan.diff import entry_changes
from hms_nomad.plan.observed import Observed
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.deploying.deploy import DeployOptions
from hms_nomad.workflows.rollouts.abort import abort
from hms_nomad.workflows.rollouts.rollback import rollback
from hms_nomad.workflows.rollouts.steering import SteerOptions
from zero_loss.world import CALLER, PLAIN, SERVICE, TAGGED, Loaded, World

Way = Callable[[World], None]
ABORTED_AT = (0.0, 1.0, 10.0, 50.0, 100.0)


def canary(world: World) -> None:
    """All steps to the end."""
    world.must_deploy(world.next())


def blue_green(world: World) -> None:
    """All instances warmed up, one switch."""
    world.must_deploy(world.next(), DeployOptions(strategy="blue-green"))


def rolling(world: World) -> None:
    """The steps without being held."""
    world.must_deploy(world.next(), DeployOptions(strategy="rolling"))


def roll_back(world: World) -> None:
    """Forth, and back to the release before."""
    world.must_deploy(world.next(), DeployOptions(strategy="rolling"))
    outcome = rollback(world.session, SERVICE, None, DeployOptions(strategy="rolling"), world.note)
    if outcome.failure is not None:
        raise SystemExit(f"the rollback failed: {outcome.failure.reason}")


def abort_at(weight: float) -> Way:
    """Taken back while the new release has ``weight`` percent."""

    def way(world: World) -> None:
        reached = threading.Event()

        def report(event: Event) -> None:
            if event.kind == "rollout" and event.data.get("weight") == weight:
                held = event.data["state"] == "hold" or weight == 0
                reached.set() if held else None

        steps = [weight, 100] if 0 < weight < 100 else [100]
        slow = world.next(rollout={**_rollout(world), "every": "300s", "steps": steps})
        deploying = threading.Thread(target=world.deploy, args=(slow, None, report))
        deploying.start()
        if not reached.wait(120):
            raise SystemExit(f"the new release did not get to {weight:g} %")
        time.sleep(1)  # Some requests at that weight.
        abort(world.session, SERVICE, SteerOptions(), world.note)
        deploying.join()

    return way


def scale(world: World) -> None:
    """Two instances become four, and two again."""
    for count in (4, 2):
        world.undeployed(SERVICE)
        world.session.nomad.scale_job(SERVICE, "app", count, "zero-loss")
        world.settled(SERVICE, count)


def routes_only(world: World) -> None:
    """A change of routes and back, which replaces no instance."""
    # The last release may have been taken back.
    running = {"version": f"{world.running()}.0.0", "env": {"APP_VERSION": world.running()}}
    world.must_deploy(world.spec(**running, routes=[{"path": "/work"}]))
    world.must_deploy(world.spec(**running))


def nothing(_: World) -> None:
    """What the machine loses by itself while nothing changes."""
    time.sleep(4)


OURS: dict[str, Way] = {
    "canary, 1 -> 10 -> 50 -> 100 %": canary,
    "blue-green": blue_green,
    "rolling": rolling,
    "rollback": roll_back,
    **{f"abort at {weight:g} %": abort_at(weight) for weight in ABORTED_AT},
    "scale out and in": scale,
    "routes only": routes_only,
}


SHORT = ("canary, 1 -> 10 -> 50 -> 100 %", "blue-green", "rolling", "abort at 50 %")
"""What is gone where there is little time."""


def gone(world: World, name: str, way: Way, service: str = SERVICE, cycles: int = 1, **options: Any) -> Loaded:
    """Go a way ``cycles`` times under load, and say on stderr what was lost; ``options`` are the load's."""
    started = time.monotonic()
    with world.load(service, **options) as loaded:
        for _ in range(cycles):
            way(world)
        # What was stopped last is gone, too.
        time.sleep(8)
    seconds = time.monotonic() - started
    print(f"{name}: {loaded.failed} of {loaded.sent} lost in {seconds:.0f} s {loaded.reasons or ''}", file=sys.stderr)
    if loaded.failed:
        for line in world.events:
            print(f"  {line}", file=sys.stderr)
        print(f"  lost by second: {loaded.seconds}", file=sys.stderr)
    return loaded


def plain_run(drain: float) -> Way:
    """`nomad job run` of a new version, one instance after the other, as Nomad does it."""

    def way(world: World) -> None:
        world.version += 1
        run_job(world, plain_job(world, PLAIN, drain))

    return way


def tagged(world: World) -> None:
    """Canaries told by their tags, moved by a splitter, then promoted: what Nomad's and Consul's own pages lead to."""
    world.version += 1
    job = plain_job(world, TAGGED, 7.0)
    group = job["TaskGroups"][0]
    group["Update"]["Canary"] = group["Count"]
    group["Services"][0] |= {"Tags": ["live"], "CanaryTags": ["canary"]}
    run_job(world, job, detach=True)
    nomad = world.session.nomad
    deadline = time.monotonic() + 60
    while True:
        deployment = nomad.newest_deployment(TAGGED)
        if deployment is not None and deployment.job_version == _version(world, TAGGED):
            state = deployment.groups["app"]
            if state.healthy >= state.desired_canaries > 0:
                break
        if time.monotonic() > deadline:
            raise SystemExit("the tagged canaries did not get healthy")
        time.sleep(0.2)
    for weight in (1, 50, 100):
        _split(world, weight)
        time.sleep(2)
    nomad.promote_deployment(deployment.id)
    _split(world, 0)
    time.sleep(12)


def start_plain(world: World) -> None:
    """The first version of the two services that are run without us, and what Consul must know of them."""
    for name in (PLAIN, TAGGED):
        _write_entries(world, name)
        job = plain_job(world, name, 7.0)
        if name == TAGGED:
            job["TaskGroups"][0]["Services"][0]["Tags"] = ["live"]
        run_job(world, job)
    subsets = {name: {"Filter": f'"{name}" in Service.Tags', "OnlyPassing": True} for name in ("live", "canary")}
    _write(world, {"Kind": "service-resolver", "Name": TAGGED, "DefaultSubset": "live", "Subsets": subsets})
    _split(world, 0)


def plain_job(world: World, name: str, drain: float) -> dict[str, Any]:
    """The job that an operator would write: our own, updated by Nomad's rolling update."""
    job: dict[str, Any] = json.loads(json.dumps(compile_spec(world.spec(name), world.platform).job))
    group = job["TaskGroups"][0]
    group["Update"] |= {"Canary": 0, "MaxParallel": 1}
    group["ShutdownDelay"] = int(drain * 1e9)
    group["Services"][0]["Connect"]["SidecarTask"]["ShutdownDelay"] = int(drain * 1e9)
    return job


def run_job(world: World, job: dict[str, Any], *, detach: bool = False) -> None:
    """Run a job with Nomad's own program."""
    environment = {**os.environ, "NOMAD_ADDR": world.platform.nomad.address}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps({"Job": job}), encoding="utf-8")
        words = ["nomad", "job", "run", "-json", *(["-detach"] if detach else []), str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"nomad job run failed: {done.stdout[-500:]}{done.stderr[-500:]}")


def _write_entries(world: World, name: str) -> None:
    desired = compile_spec(world.spec(name, allow=[CALLER]), world.platform)
    wanted = tuple(entry for entry in desired.entries if entry.kind == "service-defaults")
    rights = (*desired.intentions, Intention(CALLER, name, "allow"))
    for change in entry_changes(replace(desired, entries=wanted, intentions=rights), Observed(None, {}, {})):
        if change.body is not None and change.name == name:
            _write(world, change.body)


def _split(world: World, weight: float) -> None:
    splits = [{"Weight": 100 - weight, "ServiceSubset": "live"}, {"Weight": weight, "ServiceSubset": "canary"}]
    _write(world, {"Kind": "service-splitter", "Name": TAGGED, "Splits": splits})


def _write(world: World, body: Any) -> None:
    stored = world.session.consul.read_entry(body["Kind"], body["Name"])
    world.session.consul.write_entry(body, stored.modify_index if stored else 0)


def _version(world: World, name: str) -> int:
    job = world.session.nomad.read_job(name)
    return job.version if job else -1


def _rollout(world: World) -> dict[str, Any]:
    return as_data(world.spec().rollout, defaults=False)


def names(ways: Iterable[str]) -> str:
    """For help texts."""
    return "; ".join(ways)
