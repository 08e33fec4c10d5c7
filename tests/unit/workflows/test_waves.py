"""The order in which a fleet of new services is written, and what becomes of it where one of them fails."""

from __future__ import annotations

import signal
import threading

import pytest

from hms_nomad.apply.lock import list_locks
from hms_nomad.clients.errors import ConflictError, InvalidRequestError
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.deploying.outcome import DeployOptions
from hms_nomad.workflows.deploying.waves import AT_ONCE, deploy_all
from hms_nomad.workflows.operating.audit import verify_audit
from hms_nomad.workflows.planning.plan import plan
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad

COUNT = 3 * AT_ONCE
DEFAULTS, INTENTIONS = "service-defaults", "service-intentions"


class Written:
    """What both servers were sent, in the order of its arrival; ``before`` sees each write and may raise."""

    def __init__(self):
        self.nomad, self.consul = FakeNomad(), FakeConsul()
        self.done = []
        self.before = lambda _kind, _name: None
        self._lock = threading.Lock()
        self._send_entry, self._send_job = self.consul.write_entry, self.nomad.register_job
        self._transact = self.consul.kv_transact
        self.consul.write_entry = self._entry
        self.consul.kv_transact = self._keys
        self.nomad.register_job = self._job

    def _entry(self, body, index):
        self.before(body["Kind"], body["Name"])
        with self._lock:
            self._send_entry(body, index)
            self.done.append((body["Kind"], body["Name"]))

    def _job(self, body, index):
        with self._lock:
            self.done.append(("job", body["ID"]))
            return self._send_job(body, index)

    def _keys(self, operation, steps):
        with self._lock:
            return self._transact(operation, steps)

    def session(self):
        return Session(Platform(), self.nomad, self.consul, None)

    def deploy(self, specs, *, fail_fast=False, detach=True):
        files = [SpecFile(f"{one.name}.hms.yml", one) for one in specs]
        chosen = DeployOptions(detach=detach)
        return deploy_all(self.session(), files, lambda _: chosen, lambda _: None, lambda _: None, fail_fast=fail_fast)

    def places(self, kind):
        return [place for place, (written, _) in enumerate(self.done) if written == kind]


@pytest.fixture
def written():
    return Written()


def new_services(count=COUNT, **fields):
    return [spec(name=f"svc-{number:02}", **fields) for number in range(count)]


def is_whole(written, specs):
    """Nothing is left to do, and nothing is left behind."""
    assert {one.name for one in specs} <= set(written.nomad.jobs)
    assert all(not one.effective for one in plan(written.session(), specs, ask_scheduler=False))
    assert list_locks(written.consul, "default") == ()
    assert not [key for key in written.consul.keys if key.startswith("hms-nomad/runs/")]
    assert verify_audit(written.session()).wrong == ()
    return True


def test_all_new_services_have_their_other_entries_before_one_has_intentions(written):
    specs = new_services()
    results = written.deploy(specs)
    assert {str(result.outcome.status) for result in results} == {"detached"}
    others = [place for place, (kind, _) in enumerate(written.done) if kind not in (INTENTIONS, "job")]
    assert len(others) == 3 * COUNT
    assert max(others) < min(written.places(INTENTIONS))
    for one in specs:
        assert written.done.index((INTENTIONS, one.name)) < written.done.index(("job", one.name))
    assert is_whole(written, specs)


def test_what_a_service_has_done_is_in_its_journal_before_it_waits_for_the_others(written):
    noted = []

    def look(kind, _):
        if kind == INTENTIONS and not noted:
            runs = [pair.value for key, pair in written.consul.keys.items() if key.startswith("hms-nomad/runs/")]
            noted.append((len(runs), sum(b"service-router svc-" in value for value in runs)))

    written.before = look
    written.deploy(new_services())
    assert noted == [(COUNT, COUNT)]


@pytest.mark.parametrize("kind", [DEFAULTS, INTENTIONS])
def test_a_service_that_fails_stops_no_other_and_the_same_command_finishes_it(written, kind):
    specs = new_services()

    def refuse(written_kind, name):
        if (written_kind, name) == (kind, "svc-05"):
            raise InvalidRequestError("consul", f"write {kind} {name}", "http://consul", "no")

    written.before = refuse
    results = written.deploy(specs)
    assert [result.file.spec.name for result in results if not result.good] == ["svc-05"]
    assert len(written.places("job")) == COUNT - 1
    written.before = lambda _kind, _name: None
    (again,) = [result for result in written.deploy(specs) if result.outcome.changed]
    assert again.file.spec.name == "svc-05"
    assert is_whole(written, specs)


def test_a_service_whose_entry_somebody_wrote_meanwhile_is_read_again_and_comes_to_the_gate(written):
    specs = new_services()
    lost = []

    def lose(kind, name):
        if (kind, name) == ("service-router", "svc-05") and not lost:
            lost.append(name)
            raise ConflictError("consul", f"write {kind} {name}", "http://consul", "it changed")

    written.before = lose
    results = written.deploy(specs)
    assert all(result.good for result in results)
    assert max(written.places("service-router")) < min(written.places(INTENTIONS))
    assert is_whole(written, specs)


def test_a_lost_race_for_shared_intentions_writes_no_entry_twice(written):
    callee, specs = spec(name="callee"), new_services(uses=["callee"])
    written.deploy([callee])
    written.done.clear()
    raced = []

    def lose(kind, name):
        if kind == INTENTIONS and name == "callee" and len(raced) < 4:
            raced.append(name)
            raise ConflictError("consul", f"write {kind} {name}", "http://consul", "it changed")

    written.before = lose
    results = written.deploy(specs)
    assert all(result.good for result in results), [result.error for result in results]
    own = [one for one in written.done if one[0] not in (INTENTIONS, "job")]
    assert len(own) == len(set(own)) == 3 * COUNT
    callers = written.consul.entries[INTENTIONS, "callee"].body["Sources"]
    assert {one.name for one in specs} <= {source["Name"] for source in callers}
    assert is_whole(written, [callee, *specs])


def test_who_is_to_begin_nothing_after_a_failure_has_begun_few(written):
    def refuse(kind, name):
        if name == "svc-00":
            raise InvalidRequestError("consul", f"write {kind} {name}", "http://consul", "no")

    written.before = refuse
    written.deploy(new_services(), fail_fast=True)
    first_ended = min(written.places("job"))
    assert len({name for _, name in written.done[:first_ended]}) <= AT_ONCE


def test_an_interruption_while_they_wait_gives_no_service_intentions_or_a_job(written):
    specs = new_services()
    held, let_go, ended = threading.Event(), threading.Event(), threading.Event()
    main = threading.main_thread().ident

    def hold(kind, name):
        if name == specs[-1].name and kind == DEFAULTS:
            signal.pthread_kill(main, signal.SIGINT)
            held.set()
            let_go.wait()
            ended.set()
            raise InvalidRequestError("consul", f"write {kind} {name}", "http://consul", "no")
        if kind == INTENTIONS and held.is_set() and not let_go.is_set():
            raise AssertionError("a service went on before all had come")

    written.before = hold
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            written.deploy(specs)
        assert written.places(INTENTIONS) == written.places("job") == []
    finally:
        signal.signal(signal.SIGINT, before)
        let_go.set()
    assert ended.wait(60)
