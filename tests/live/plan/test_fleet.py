"""On real servers: a directory is deployed in waves, a broken service stops no other, and what left is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, Ran
from tests.live.plan.test_plan_and_drift import write_spec

_NAMES = ("fleet-db", "fleet-web", "fleet-sick")


@pytest.fixture
def fleet(cli: Cli, tmp_path: Path) -> Iterator[Path]:
    """A directory of three services, of which one ends as soon as it starts."""
    directory = tmp_path / "fleet"
    directory.mkdir()
    write_spec(directory, "fleet-db")
    write_spec(directory, "fleet-web", uses=["fleet-db"])
    write_spec(directory, "fleet-sick", command=["false"])
    yield directory
    for name in _NAMES:
        cli("stop", name, "--purge", "--yes")


def results(ran: Ran) -> dict[str, str]:
    """The status of each service in a document of ``deploy``."""
    return {one["service"]: one["status"] for one in json.loads(ran.stdout)["services"]}


def indexes(session: Session) -> dict[str, int]:
    """The JobModifyIndex of each job, which moves with every registration."""
    return {job.id: job.modify_index for job in session.nomad.list_jobs() if job.id in _NAMES}


def test_a_fleet_from_its_first_deploy_to_what_left_it(cli: Cli, session: Session, fleet: Path) -> None:
    first = cli("deploy", fleet, "-o", "json", "--timeout", "90s", seconds=200)
    assert first.exit_code == 5, first.stderr
    assert results(first) == {"fleet-db": "deployed", "fleet-web": "deployed", "fleet-sick": "failed"}

    write_spec(fleet, "fleet-sick")
    resumed = cli("deploy", fleet, "-o", "json")
    assert resumed.exit_code == 0, resumed.stderr
    assert results(resumed)["fleet-sick"] == "deployed"
    assert cli("plan", fleet).exit_code == 0
    before = indexes(session)
    again = cli("deploy", fleet, "-o", "json")
    assert set(results(again).values()) == {"unchanged"}
    assert indexes(session) == before

    (fleet / "fleet-sick.hms.yml").unlink()
    planned = cli("plan", fleet, "--prune")
    assert (planned.exit_code, "fleet-sick left and would be stopped" in planned.stdout) == (1, True)
    assert cli("deploy", fleet, "--prune").exit_code == 2
    pruned = cli("deploy", fleet, "--prune", "--yes", "-o", "json")
    assert json.loads(pruned.stdout)["pruned"] == ["fleet-sick"]
    stopped = session.nomad.read_job("fleet-sick")
    assert stopped is not None
    assert stopped.stop
    assert cli("plan", fleet, "--prune").exit_code == 0
