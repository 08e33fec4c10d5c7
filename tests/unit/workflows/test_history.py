"""The records of jobs end with their runs, also where nobody saw them end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.apply.registered import forget_registered, note_registration, read_registered
from hms_nomad.clients.nomad_types import Job, Registration
from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.rollout.begin import record
from hms_nomad.rollout.journal import Author
from hms_nomad.rollout.policy import policy_of
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.sections.reading import read
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.planning.drift import DriftState, drift
from hms_nomad.workflows.rollouts.history import history
from tests.unit.workflows.servers import FakeConsul, FakeNomad, allocation, session, updated

AUTHOR = Author("kim@desk")


def job_of(**fields):
    """A spec of ``kind: job`` and what it stands for."""
    data = {"name": "count", "kind": "job", "version": "1.0.0", "command": ["bin/count"], **fields}
    spec = read(Spec, data)
    return spec, compile_spec(spec, Platform())


def servers(desired, spec, status=None):
    """A Nomad that holds the job, with an instance of that status, and the open record of its deploy."""
    body = {**desired.job, "Version": 0}
    stored = Job("count", "count", "default", "batch", "dead", False, 0, 7, None, body["Meta"], body)
    found = [allocation("a1", "count", status=status)] if status else []
    nomad, consul = FakeNomad(jobs={"count": stored}, allocations=found), FakeConsul()
    store = RolloutStore(consul, "default", "count")
    number = store.add(record(desired, policy_of(spec), AUTHOR, 1.0, None)).number
    store.amend(number, lambda release: replace(release, job_version=0))
    nomad.job_versions = lambda name: (nomad.jobs[name],) if name in nomad.jobs else ()
    return session(nomad, consul)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("complete", "succeeded"), ("failed", "failed"), ("running", "running"), (None, "succeeded")],
)
def test_a_run_that_nobody_waited_for_tells_how_its_deploy_ended(status, outcome):
    spec, desired = job_of()
    (release,) = history(servers(desired, spec, status), "count").releases
    assert release.outcome == outcome


def test_a_job_with_a_schedule_is_deployed_once_nomad_has_it():
    spec, desired = job_of(schedule={"cron": "0 3 * * *"})
    found = history(servers(desired, spec), "count")
    assert [release.outcome for release in found.releases] == ["succeeded"]
    assert found.current == 1


@pytest.mark.parametrize("status", ["complete", "failed"])
def test_a_job_has_not_drifted_because_its_run_failed(status):
    spec, desired = job_of()
    (found,) = drift(servers(desired, spec, status), ["count"])
    assert (found.state, found.number) == (DriftState.CLEAN, 1)


def test_a_note_of_a_registration_is_kept_for_what_was_registered_and_for_nothing_else():
    spec, desired = job_of()
    found = servers(desired, spec)
    note_registration(found.nomad, found.consul, updated("count"), Registration("", 6, ""))
    assert read_registered(found.consul, "default") == {}
    note_registration(found.nomad, found.consul, updated("count"), Registration("", 7, ""))
    (noted,) = read_registered(found.consul, "default").values()
    assert (noted.index, noted.digest, noted.count) == (7, desired.digest, 1)
    found.consul.kv_put("hms-nomad/registered/default/count", b"{}")
    assert read_registered(found.consul, "default") == {}
    forget_registered(found.consul, "default", "count")
    assert "hms-nomad/registered/default/count" not in found.consul.keys
