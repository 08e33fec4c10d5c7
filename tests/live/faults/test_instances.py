"""F27, F32, F36: an image that is nowhere, an instance that loses its sidecar, a way back that leads nowhere."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.live.faults.traffic import APP, deploy_caller, requests_from
from tests.live.faults.world import held, left_behind, spec_of
from tests.waiting import eventually


def test_a_release_whose_image_is_nowhere_is_taken_back_and_the_old_one_keeps_its_users(
    stack: LiveStack, cli: Cli, session: Session, service: str, tmp_path: Path
) -> None:
    if not stack.status.docker:
        pytest.skip("the stack has no Docker: there is no image to be missing")
    assert cli("deploy", spec_of(tmp_path, service, command=APP)).exit_code == 0
    caller = f"{service}-caller"
    deploy_caller(stack, tmp_path, caller, [service])
    # By its digest, so that it is the node that looks for it, and not the deploy that looks for the digest.
    image = f"127.0.0.1:1/nowhere/to-be-had@sha256:{'0' * 64}"
    missing = {"version": "2.0.0", "command": None, "image": image}
    with requests_from(session, caller, [service], rate=10.0) as asked:
        failed = cli("deploy", spec_of(tmp_path, service, **missing))
    assert failed.exit_code == 5, failed.stderr
    assert "127.0.0.1:1/nowhere/to-be-had" in failed.stderr
    now = held(session, service)
    assert now is not None
    assert session.consul.instances(service, passing=True, connect=True).value
    assert left_behind(session, service) == []
    assert asked[service].sent > 20
    assert asked[service].failed == 0, asked
    for name in (caller, service):
        assert cli("stop", name, "--purge", "--yes").exit_code == 0


def test_an_instance_that_loses_its_sidecar_gets_it_back_by_itself(
    cli: Cli, session: Session, service: str, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, service, command=APP)
    assert cli("deploy", file).exit_code == 0
    (allocation,) = (one for one in session.nomad.job_allocations(service).value if not one.done)
    sidecar = f"connect-proxy-{service}"
    restarts = allocation.tasks[sidecar].restarts
    os.kill(_envoy_of(allocation.id).pid, signal.SIGKILL)
    eventually(
        lambda: [
            one.tasks[sidecar]
            for one in session.nomad.job_allocations(service).value
            if not one.done and one.tasks[sidecar].restarts > restarts
        ]
    )
    eventually(lambda: session.consul.instances(service, passing=True, connect=True).value)
    assert cli("plan", file).exit_code == 0


def test_a_way_back_that_leads_nowhere_is_said_and_changes_nothing(
    cli: Cli, session: Session, service: str, tmp_path: Path
) -> None:
    program = tmp_path / "app.py"
    program.write_text(Path(APP[1]).read_text(encoding="utf-8"), encoding="utf-8")
    second = spec_of(tmp_path, service, version="2.0.0", command=APP)
    for file in (spec_of(tmp_path, service, command=[APP[0], str(program)]), second):
        assert cli("deploy", file).exit_code == 0
    now = held(session, service)
    # What the earlier release needs is not there any more.
    program.unlink()
    broken = cli("rollback", service, "--yes")
    assert broken.exit_code == 5, broken.stderr
    assert "crashes at start" in broken.stderr
    assert held(session, service) == now
    assert left_behind(session, service) == []
    assert [one.meta["version"] for one in session.consul.instances(service, passing=True).value] == ["2.0.0"]
    # Somebody purges the job, and Nomad forgets all its versions.
    session.nomad.stop_job(service, purge=True)
    gone = cli("rollback", service, "1", "--yes")
    assert gone.exit_code == 2, gone.stderr
    assert "Nomad has forgotten the job of release 1 (1.0.0)" in gone.stderr
    assert "deploy its file again" in gone.stderr
    assert left_behind(session, service) == []
    assert cli("deploy", second).exit_code == 0
    assert held(session, service) == now
    assert cli("stop", service, "--purge", "--yes").exit_code == 0


def _envoy_of(allocation: str) -> psutil.Process:
    """The Envoy of an instance."""
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] == "envoy" and process.environ().get("NOMAD_ALLOC_ID") == allocation:
                return process
    raise AssertionError(f"no Envoy runs for {allocation}")
