"""How many calls a plan takes: to Consul as many for one service as for many, to Nomad two lists and one a job."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from hms_nomad.clients.nomad_types import Job
from hms_nomad.compile import compile_spec
from hms_nomad.plan.diff import make_plan
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.plan import plan
from hms_nomad.workflows.specs import SpecFile
from hms_nomad.workflows.waves import deploy_all
from tests.unit.plan.test_plan import NOTHING
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad


class Counted:
    """Passes calls on, and counts them by name."""

    def __init__(self, server):
        self._server = server
        self.calls = Counter()

    def __getattr__(self, name):
        found = getattr(self._server, name)
        if not callable(found):
            return found

        def call(*given, **named):
            self.calls[name] += 1
            return found(*given, **named)

        return call


def fleet(count):
    """Specs, and a session on servers that hold what they stand for."""
    specs = [spec(name=f"svc-{number}") for number in range(count)]
    nomad, consul = FakeNomad(), FakeConsul()
    for one in specs:
        for change in make_plan(compile_spec(one, Platform()), NOTHING).changes:
            if change.kind == "job":
                body = change.body
                nomad.jobs[one.name] = Job(
                    one.name, one.name, "default", "service", "running", False, 0, 7, True, body["Meta"], body
                )
            else:
                consul.store(change.kind, change.name, change.body, change.body.get("Meta"))
    session = SimpleNamespace(platform=Platform(), nomad=Counted(nomad), consul=Counted(consul), vault=None)
    return specs, session


@pytest.mark.parametrize("count", [2, 40])
def test_a_plan_with_nothing_to_do_asks_each_server_as_little_as_it_can(count):
    specs, session = fleet(count)
    assert all(one.empty for one in plan(session, specs))
    assert session.consul.calls == {"list_entries": 6}
    assert session.nomad.calls == {"list_jobs": 1, "list_deployments": 1, "read_job": count}


def test_only_registrations_are_put_before_the_scheduler():
    specs, session = fleet(40)
    changed = [spec(name=one.name, version="2.0.0") if number < 5 else one for number, one in enumerate(specs)]
    assert sum(not one.empty for one in plan(session, changed)) == 5
    assert session.nomad.calls["plan_job"] == 5


@pytest.mark.parametrize("count", [2, 40])
def test_a_deploy_with_nothing_to_do_asks_no_more_than_a_plan_and_writes_nothing(count):
    specs, session = fleet(count)
    files = [SpecFile(f"{one.name}.hms.yml", one) for one in specs]
    told = []
    results = deploy_all(session, files, lambda _: SimpleNamespace(detach=False), lambda _: None, told.append)
    assert {str(result.outcome.status) for result in results} == {"unchanged"}
    assert len(told) == count
    assert session.consul.calls == {"list_entries": 6, "kv_list": 1, "all_checks": 1}
    assert session.nomad.calls == {"list_jobs": 1, "list_deployments": 1, "read_job": count}
