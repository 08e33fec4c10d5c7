"""The job that drives rollouts on servers that deny by default: its rights are those of its own identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.platform.jobspecs import read_policy
from hms_nomad.platform.model import Platform, Rollouts, ServerAddress
from hms_nomad.workflows.platform.jobs import ROLLOUTS, install, remove
from hms_nomad.workflows.session import Session
from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad
from tests.live.mesh.test_policies import SETTINGS, consul_as, nomad_as
from tests.live.rollouts.program import this_program

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists")]


def test_its_instances_have_the_rights_that_are_bound_to_the_job_and_no_others(
    strict_nomad: Nomad, strict_consul: Consul, tmp_path: Path
):
    token = tmp_path / "consul.token"
    token.write_text(consul_as(strict_consul, "rollouts")._transport.connection.token, encoding="utf-8")
    token.chmod(0o600)
    consul = ServerAddress(address=strict_consul.address, token_file=str(token))
    section = Rollouts(command=str(this_program(tmp_path)), consul=consul)
    platform = Platform(
        nomad=ServerAddress(address=strict_nomad.address),
        consul=ServerAddress(address=strict_consul.address),
        command_driver="raw_exec",
        rollouts=section,
    )
    session = Session(platform, nomad_as(strict_nomad, "operator"), consul_as(strict_consul, "operator"), None)

    refused = install(session, ROLLOUTS, 60.0, lambda _: None)
    assert refused.failure is not None
    assert any("read-job" in line for line in refused.failure.lines), refused.failure

    bound = {
        "Name": "rollouts",
        "Rules": read_policy("nomad", "rollouts", SETTINGS).text,
        "JobACL": {"Namespace": "default", "JobID": section.name},
    }
    strict_nomad.http("POST", "/v1/acl/policy/rollouts", bound)
    assert install(session, ROLLOUTS, 60.0, lambda _: None).failure is None
    remove(session, ROLLOUTS, 60.0, lambda _: None)
    assert session.nomad.read_job(section.name) is None
