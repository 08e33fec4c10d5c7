"""Where an earlier version wrote a service's http-route, of several rules, nobody has edited anything."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.clients.nomad_types import Job
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import ConfigEntry
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import Observed
from hms_nomad.platform.model import Platform
from hms_nomad.rollout.begin import record
from hms_nomad.rollout.journal import Author
from hms_nomad.rollout.policy import policy_of
from hms_nomad.rollout.release import ReleaseOutcome, desired_of
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.planning.drift import DriftState, drift
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session

SERVICE = "receipt-svc"
OPEN = [{"path": "/receipt", "methods": ["GET"], "public": True}]


def older(desired):
    """The same with one http-route."""
    routes = [entry for entry in desired.entries if entry.kind == "http-route"]
    rules = [rule for entry in routes for rule in entry.body["Rules"]]
    one = ConfigEntry("http-route", SERVICE, {**routes[0].body, "Name": SERVICE, "Rules": rules})
    return replace(desired, entries=(*(one for one in desired.entries if one.kind != "http-route"), one))


def servers(stored, recorded):
    """Servers that hold what ``stored`` stands for, with the record of a deploy of ``recorded``."""
    (job,) = [change.body for change in make_plan(stored, Observed(None, {}, {})).changes if change.kind == "job"]
    body = {**job, "Version": 0}
    found = Job(SERVICE, SERVICE, "default", "service", "running", False, 0, 7, True, body["Meta"], body)
    nomad, consul = FakeNomad(jobs={SERVICE: found}), FakeConsul()
    nomad.job_versions = lambda name: (nomad.jobs[name],)
    for change in make_plan(stored, Observed(None, {}, {})).changes:
        if change.kind != "job":
            consul.store(change.kind, change.name, change.body, change.body.get("Meta"))
    store = RolloutStore(consul, "default", SERVICE)
    number = store.add(record(recorded, policy_of(spec()), Author("kim@desk"), 1.0, None)).number
    store.amend(number, lambda release: replace(release, job_version=0, outcome=ReleaseOutcome.SUCCEEDED))
    return session(nomad, consul)


def test_neither_the_older_form_nor_the_present_one_has_drifted():
    desired = compile_spec(spec(routes=OPEN), Platform())
    for stored in (desired, older(desired)):
        (found,) = drift(servers(stored, older(desired)), [SERVICE])
        assert (found.state, found.objects) == (DriftState.CLEAN, ())


def test_what_somebody_edited_in_the_older_form_has():
    desired = compile_spec(spec(routes=OPEN), Platform())
    found = servers(older(desired), older(desired))
    body = found.consul.read_entry("http-route", SERVICE).body
    found.consul.store("http-route", SERVICE, {**body, "Rules": body["Rules"][:1]}, body["Meta"])
    (row,) = drift(found, [SERVICE])
    assert [(one.kind, one.name) for one in row.objects] == [("http-route", SERVICE)]


def test_a_rollback_to_what_an_earlier_version_recorded_writes_the_present_form():
    desired = compile_spec(spec(routes=OPEN), Platform())
    kept = record(older(desired), policy_of(spec()), Author("kim@desk"), 1.0, None)
    assert desired_of(kept, desired.job).entries == desired.entries
