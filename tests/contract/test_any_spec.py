"""Whatever spec the loader lets through, the real Nomad and the real Consul take what it compiles to."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings

from hms_nomad.compile import compile_spec
from hms_nomad.compile.gateway import provider_entry
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.plan.normal import entry_differences, job_differences
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Sidecar
from hms_nomad.sections.reading import read
from hms_nomad.sections.section import as_data
from hms_nomad.spec.loader import examine
from hms_nomad.spec.model import Spec
from tests.contract.consul_server import Consul, consul_process
from tests.contract.nomad_server import Nomad
from tests.unit.spec.any_spec import any_spec
from tests.unit.spec.whole import GRPC, JOB, PROCESS, SERVICE, WHOLE

pytestmark = pytest.mark.contract
MANY = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
_NUMBERS = itertools.count()
ISSUER = {"name": "agency-idp", "issuer": "https://idp.agency.gov", "jwks": '{"keys": []}'}
PLATFORM = read(
    Platform, {"bind_volumes": True, "vault": {"address": "https://vault:8200"}, "gateway": {"jwt": [ISSUER]}}
)


def examples(*specs: dict[str, Any]) -> Callable[[Any], Any]:
    """Specs that a property is tried with each time: together they hold every field."""

    def added(test: Any) -> Any:
        for fields in specs:
            test = example(fields=fields)(test)
        return test

    return added


def loaded(fields: dict[str, Any]) -> Spec:
    """The spec of some data; whole fields that the loader refuses are left out until nothing is left to refuse."""
    for _ in range(30):
        examined = examine(json.dumps(fields), "any.json", sources=lambda source: f"of {source} {{{{".encode())
        if examined.spec is not None:
            return examined.spec
        marks = {examined.document.mark((name,), key=True): name for name in fields}
        places = [(one.position.line, one.position.column) for one in examined.diagnostics if one.level == "error"]
        guilty = {
            max((mark.line, mark.column, name) for mark, name in marks.items() if (mark.line, mark.column) <= place)[2]
            for place in places
            if any((mark.line, mark.column) <= place for mark in marks)
        }
        before = dict(fields)
        fields = {name: value for name, value in fields.items() if name not in guilty} | {
            key: value
            for key, value in {"name": "any-svc", "version": "1", "port": 3000}.items()
            if (key in guilty or key not in fields) and (key != "port" or fields.get("kind") != "job")
        }
        if not fields.get("image") and not fields.get("command"):
            fields["image"] = "a/b:1"
        assume(fields != before)
    return assume(False)


@examples(SERVICE, PROCESS, GRPC, JOB)
@MANY
@given(fields=any_spec())
def test_nomad_takes_every_job(nomad: Nomad, fields: dict[str, Any]):
    spec = loaded(fields)
    job = compile_spec(spec, PLATFORM.changed(sidecar=Sidecar(driver="exec"))).job
    answer = nomad.http("PUT", "/v1/validate/job", {"Job": job})
    assert not answer["ValidationErrors"], (answer["ValidationErrors"], as_data(spec, defaults=False))


@examples(SERVICE, PROCESS, GRPC, JOB)
@MANY
@given(fields=any_spec())
def test_the_stored_job_is_no_difference_to_the_one_that_was_sent(nomad: Nomad, fields: dict[str, Any]):
    spec = loaded({**fields, "name": f"any-{next(_NUMBERS)}"})
    job = {**compile_spec(spec, PLATFORM).job, "Datacenters": ["nowhere"]}
    nomad.http("PUT", "/v1/jobs", {"Job": job})
    try:
        assert job_differences(nomad.http("GET", f"/v1/job/{spec.name}"), job) == ()
    finally:
        nomad.http("DELETE", f"/v1/job/{spec.name}?purge=true")


class Restarted:
    """A Consul that is started anew where it crashed by a fault of its own.

    Now and then version 1.20.1 ends with "concurrent map iteration and map write" while routes of several rules are
    written: the controller of its gateways watches a set that it goes on filling.
    """

    def __init__(self, directories: pytest.TempPathFactory) -> None:
        self._directories = directories
        self._running = contextlib.ExitStack()
        self.consul = self._start()

    def again_after_a_crash(self, work: Callable[[Consul], None]) -> None:
        """Do ``work``, and once more from its beginning with an empty Consul if this one crashed meanwhile."""
        try:
            work(self.consul)
        except (OSError, http.client.HTTPException):
            if not self._crashed():
                raise
            self.close()
            self.consul = self._start()
            work(self.consul)

    def close(self) -> None:
        """End it."""
        self._running.close()

    def _start(self) -> Consul:
        return self._running.enter_context(consul_process(self._directories.mktemp("much-written-consul")))

    def _crashed(self) -> bool:
        assert self.consul.server is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.consul.server.process.wait(10)
        return "fatal error: concurrent map" in self.consul.server.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def much_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    consul = Restarted(tmp_path_factory)
    yield consul
    consul.close()


@examples(*WHOLE)
@MANY
@given(fields=any_spec())
def test_consul_takes_every_entry_and_stores_it_unchanged(much_written: Restarted, fields: dict[str, Any]):
    # Each service has a name of its own: what an earlier one left behind would forbid another protocol.
    spec = loaded({**fields, "name": f"any-{next(_NUMBERS)}"})
    desired = compile_spec(spec, PLATFORM)
    entries = [provider_entry(issuer).body for issuer in PLATFORM.gateway.jwt]
    entries += [entry.body for entry in desired.entries]
    entries += [entry for entry in merged_intentions(desired, {}, {}).values() if entry is not None]

    def stored_unchanged(consul: Consul) -> None:
        for body in entries:
            try:
                assert consul.http("PUT", "/v1/config", body) is True
                stored = consul.http("GET", f"/v1/config/{body['Kind']}/{body['Name']}")
                assert entry_differences(stored, body) == ()
            except urllib.error.HTTPError as refusal:
                pytest.fail(f"{refusal.read().decode()}: {body} of {as_data(spec, defaults=False)}")

    much_written.again_after_a_crash(stored_unchanged)
