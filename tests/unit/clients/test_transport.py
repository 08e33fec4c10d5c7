"""Clients against a server that answers too late, too little, elsewhere, or with something else than JSON."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.clients import transport
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import list_keys, swap_key
from hms_nomad.clients.errors import (
    InvalidRequestError,
    ServerError,
    UnavailableError,
    UnknownOutcomeError,
)
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.clients.transport import Transport
from hms_nomad.clients.vault import VaultClient
from tests.certificates import Authority
from tests.wire import Answer, Wire

TOKEN = "f00dfeed-0bad-4bad-8bad-c0ffee15bad0"
PAGE = "<html><body>It works!</body></html>"
JOB = '{"ID": "web"}'

Make = Callable[..., Any]


def _nomad_read(connection: Connection) -> Any:
    return NomadClient(connection).read_job("web")


def _nomad_write(connection: Connection) -> Any:
    return NomadClient(connection).register_job({"ID": "web"}, modify_index=0)


def _consul_read(connection: Connection) -> Any:
    return ConsulClient(connection).kv_get("web")


def _consul_write(connection: Connection) -> Any:
    return ConsulClient(connection).kv_put("web", b"1")


def _vault_read(connection: Connection) -> Any:
    return VaultClient(connection).kv_read("secret", "web")


def _vault_write(connection: Connection) -> Any:
    return VaultClient(connection).kv_write("secret", "web", {}, version=0)


READS = pytest.mark.parametrize("read", [_nomad_read, _consul_read, _vault_read])
WRITES = pytest.mark.parametrize("write", [_nomad_write, _consul_write, _vault_write])
ALL = pytest.mark.parametrize(
    "call", [_nomad_read, _nomad_write, _consul_read, _consul_write, _vault_read, _vault_write]
)
BROKEN = [
    Answer(drop=True),
    Answer(body='{"ID": "we', declared=5000),
    Answer(body='{"ID": "we'),
    Answer(body=PAGE),
    Answer(body=""),
    Answer(body="null"),
    Answer(body="[]"),
    Answer(status=502, body=PAGE),
    Answer(status=504, body="gateway timeout"),
    Answer(status=500, body=PAGE),
    Answer(status=500, body=""),
]
BROKEN_NAMES = [
    *("dropped", "cut by length", "cut JSON", "page", "empty", "null", "other JSON"),
    *("502", "504", "500 page", "500 empty"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other without the pauses."""
    monkeypatch.setattr(transport, "backoff", lambda _: 0.0)


def _connection(wire: Wire, **fields: Any) -> Connection:
    return Connection(wire.address, **{"token": TOKEN, "retry_seconds": 5.0, **fields})


@pytest.mark.parametrize("answer", BROKEN, ids=BROKEN_NAMES)
def test_a_read_is_asked_again_after_a_broken_answer(answer: Answer) -> None:
    with Wire(answer, answer, Answer(body=JOB)) as wire:
        job = _nomad_read(_connection(wire))

        assert job.id == "web"
        assert len(wire.questions) == 3


@READS
@pytest.mark.parametrize("answer", BROKEN, ids=BROKEN_NAMES)
def test_a_read_that_stays_broken_is_unavailable(read: Make, answer: Answer) -> None:
    with Wire(answer) as wire:
        with pytest.raises(UnavailableError) as failure:
            read(_connection(wire, retry_seconds=0.0))

        assert failure.value.transient


@WRITES
@pytest.mark.parametrize("answer", BROKEN, ids=BROKEN_NAMES)
def test_a_write_without_time_to_look_it_up_is_sent_once_and_unknown(write: Make, answer: Answer) -> None:
    with Wire(answer, Answer(body="true")) as wire:
        with pytest.raises(UnknownOutcomeError, match="may have been done"):
            write(_connection(wire, retry_seconds=0.0))

        assert len(wire.questions) == 1


@WRITES
def test_a_write_without_an_answer_in_time_is_unknown(write: Make) -> None:
    with Wire(Answer(hang=True)) as wire:
        with pytest.raises(UnknownOutcomeError, match="no answer in time"):
            write(_connection(wire, read_timeout=0.2, retry_seconds=0.1))

        assert len(wire.questions) == 1


@READS
def test_a_read_without_an_answer_in_time_is_unavailable(read: Make) -> None:
    with Wire(Answer(hang=True)) as wire, pytest.raises(UnavailableError, match="no answer in time"):
        read(_connection(wire, read_timeout=0.2, retry_seconds=0.0))


@READS
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(read: Make, status: int) -> None:
    with Wire(Answer(status=status, body="try again"), Answer(status=404, body="not found")) as wire:
        assert read(_connection(wire)) is None
        assert len(wire.questions) == 2


@READS
def test_a_server_that_wishes_a_longer_pause_than_there_is_time_is_left_alone(read: Make) -> None:
    with Wire(Answer(status=429, body="slow down", headers={"Retry-After": "3600"})) as wire:
        with pytest.raises(UnavailableError) as failure:
            read(_connection(wire))

        assert failure.value.retry_after == 3600
        assert len(wire.questions) == 1


@WRITES
@pytest.mark.parametrize("status", [429, 503])
def test_a_write_to_a_busy_server_changed_nothing_and_is_sent_again(write: Make, status: int) -> None:
    busy, refused = Answer(status=status, body="try again"), Answer(status=400, body="cannot be")
    with Wire(busy, busy, refused) as wire:
        with pytest.raises(InvalidRequestError):
            write(_connection(wire))

        assert len(wire.questions) == 3


@ALL
def test_what_stays_busy_is_given_up_after_the_budget_of_the_command(call: Make) -> None:
    budget = RetryBudget(tokens=4)
    with Wire(Answer(status=503, body="try again")) as wire:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                call(_connection(wire, retries=budget))

        assert len(wire.questions) == 4 + 2


def _pair(value: bytes, index: int) -> str:
    encoded = base64.b64encode(value).decode()
    return json.dumps([{"Key": "web", "Value": encoded, "ModifyIndex": index, "Flags": 0}])


@pytest.mark.parametrize(
    ("stored", "written", "sent"),
    [
        pytest.param(_pair(b"mine", 8), True, 1, id="it was written"),
        pytest.param(_pair(b"others", 8), False, 1, id="somebody else was faster"),
        pytest.param(_pair(b"old", 7), True, 2, id="it was not written"),
    ],
)
def test_a_write_whose_answer_was_lost_is_looked_up_before_it_is_sent_again(
    stored: str, written: bool, sent: int
) -> None:
    found = Answer(body=stored, headers={"X-Consul-Index": "9"})
    with Wire(Answer(drop=True), found, Answer(body="true")) as wire:
        consul = ConsulClient(_connection(wire))

        assert consul.kv_put("web", b"mine", modify_index=7) is written
        assert [question.method for question in wire.questions] == ["PUT", "GET", "PUT"][: sent + 1]


def test_a_registration_whose_answer_was_lost_and_that_happened_is_not_sent_again() -> None:
    stored = json.dumps({**json.loads(JOB), "JobModifyIndex": 12})
    found = json.dumps([{"ID": "e1", "CreateIndex": 12, "JobModifyIndex": 12}])
    answers = [Answer(drop=True), Answer(body=stored), Answer(body='{"Diff": {"Type": "None"}}'), Answer(body=found)]
    with Wire(*answers) as wire:
        registration = NomadClient(_connection(wire)).register_job({"ID": "web"}, modify_index=7)

        assert (registration.eval_id, registration.modify_index) == ("e1", 12)
        assert len(wire.questions) == 4


def test_a_write_can_be_forbidden_before_it_is_sent() -> None:
    def forbid(operation: str) -> None:
        raise PermissionError(operation)

    with Wire(Answer(body="true")) as wire:
        consul = ConsulClient(_connection(wire))
        with transport.before_writes(forbid), pytest.raises(PermissionError, match="write key web"):
            consul.kv_put("web", b"1")

        assert wire.questions == []
        assert consul.kv_put("web", b"1")


@ALL
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(call: Make, status: int) -> None:
    with Wire(Answer(body=JOB)) as elsewhere:
        target = f"{elsewhere.address}/v1/job/web"
        with Wire(Answer(status=status, headers={"Location": target})) as wire:
            with pytest.raises(UnavailableError, match="give that address instead") as failure:
                call(_connection(wire))

            assert target in str(failure.value)
            assert len(wire.questions) == 1
        assert elsewhere.questions == []


@ALL
def test_the_environment_changes_nothing(call: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password from-netrc")
    (tmp_path / ".vault-token").write_text("from-home")
    for name, value in {
        "HOME": str(tmp_path),
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "NO_PROXY": "",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "NOMAD_ADDR": "http://127.0.0.1:1",
        "NOMAD_TOKEN": "from-env",
        "NOMAD_NAMESPACE": "from-env",
        "CONSUL_HTTP_ADDR": "127.0.0.1:1",
        "CONSUL_HTTP_TOKEN": "from-env",
        "VAULT_ADDR": "http://127.0.0.1:1",
        "VAULT_TOKEN": "from-env",
    }.items():
        monkeypatch.setenv(name, value)
    with Wire(Answer(status=404)) as wire:
        for token in (TOKEN, ""):
            with contextlib.suppress(ServerError):
                call(_connection(wire, token=token))

    shown = "".join(f"{question.path} {question.headers}" for question in wire.questions)
    assert "from-" not in shown
    assert "Authorization" not in shown
    with_token, without = wire.questions
    assert TOKEN in with_token.headers.values()
    assert not {"X-Nomad-Token", "X-Consul-Token", "X-Vault-Token"} & set(without.headers)


@ALL
@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=403, body=f"token {TOKEN} lacks a right"),
        Answer(status=500, body=f'{{"errors": ["no {TOKEN}"]}}'),
        Answer(drop=True),
        Answer(body=PAGE),
        Answer(status=302, headers={"Location": "http://elsewhere.example/"}),
    ],
    ids=["denied", "failed", "dropped", "page", "redirected"],
)
def test_the_token_is_told_to_nobody(call: Make, answer: Answer) -> None:
    with Wire(answer) as wire, pytest.raises(ServerError) as failure:
        call(_connection(wire, retry_seconds=0.0))

    error: BaseException | None = failure.value
    told = "".join(traceback.format_exception(failure.value))
    while error is not None:
        told += repr(error) + str(vars(error)) if isinstance(error, ServerError) else repr(error)
        error = error.__cause__
    assert TOKEN not in told


@pytest.mark.parametrize("make", [NomadClient, ConsulClient, VaultClient])
def test_the_token_is_in_no_repr(make: Make) -> None:
    client = make(Connection("http://127.0.0.1:1", token=TOKEN))

    seen = [client, client._transport, client._transport.connection, client._transport.session, vars(client)]
    assert TOKEN not in "".join(map(repr, seen))


def test_a_server_that_was_never_reached_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with pytest.raises(UnavailableError, match="Connection refused") as failure:
        _nomad_read(Connection(address, retry_seconds=60.0))

    assert not failure.value.transient
    assert address in str(failure.value)


def test_a_server_that_is_being_restarted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = threading.Semaphore(0)
    monkeypatch.setattr(transport, "backoff", lambda _: tries.release() or 0.01)
    with Wire(Answer(body=JOB)) as first:
        client = NomadClient(_connection(first, retry_seconds=60.0))
        assert client.read_job("web") is not None
        port = first.port
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.read_job, "web")
        for _ in range(3):
            assert tries.acquire(timeout=30)
        with Wire(Answer(body=JOB), port=port):
            assert answer.result(timeout=60) is not None


def test_a_name_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(UnavailableError, match="cannot be resolved") as failure:
        _nomad_read(Connection("http://no-such-host.invalid:4646"))

    assert not failure.value.transient


def test_what_cannot_be_put_into_a_request_was_not_sent() -> None:
    with Wire(Answer()) as wire, pytest.raises(UnavailableError, match="cannot be made"):
        NomadClient(_connection(wire)).register_job({"ID": "web", "Priority": float("nan")}, modify_index=0)
    assert wire.questions == []


def test_threads_share_a_client() -> None:
    with Wire(Answer(body=JOB)) as wire:
        client = NomadClient(_connection(wire))
        with ThreadPoolExecutor(8) as pool:
            jobs = list(pool.map(lambda _: client.read_job("web"), range(64)))

    assert {job.id for job in jobs if job} == {"web"}
    assert len(jobs) == 64


def test_a_client_can_be_used_after_it_was_closed() -> None:
    with Wire(Answer(body=JOB)) as wire:
        client = NomadClient(_connection(wire))
        client.close()

        assert client.read_job("web") is not None


STEPS = (swap_key("a", b"1", 0), list_keys("b/"))


def test_a_transaction_whose_answer_was_lost_is_known_by_its_first_write() -> None:
    written = '[{"Key":"a","Value":"MQ==","ModifyIndex":9}]'
    index = {"X-Consul-Index": "9"}
    answers = (Answer(status=502), Answer(body=written, headers=index), Answer(status=404, headers=index))
    with Wire(*answers) as wire:
        found = ConsulClient(_connection(wire)).kv_transact("note it", STEPS)

    assert found.done
    assert found.index_of("a") == 9
    assert [(request.method, request.path.partition("?")[0]) for request in wire.questions] == [
        ("PUT", "/v1/txn"),
        ("GET", "/v1/kv/a"),
        ("GET", "/v1/kv/b/"),
    ]


def test_a_transaction_that_did_not_arrive_is_sent_again() -> None:
    done = '{"Results":[{"KV":{"Key":"a","Value":null,"ModifyIndex":7}}],"Errors":null}'
    with Wire(Answer(status=502), Answer(status=404), Answer(body=done)) as wire:
        assert ConsulClient(_connection(wire)).kv_transact("note it", STEPS).index_of("a") == 7

    assert [request.method for request in wire.questions] == ["PUT", "GET", "PUT"]


def test_a_certificate_of_a_known_authority_is_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Wire(Answer(body=JOB), certificate=authority.issue("server")) as wire:
        assert _nomad_read(_connection(wire, ca_file=authority.file)) is not None


def test_a_certificate_for_another_name_is_trusted_only_under_that_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server", names="DNS:server.global.nomad")
    with Wire(Answer(body=JOB), certificate=pair) as wire:
        named = _connection(wire, ca_file=authority.file, tls_server_name="server.global.nomad")
        assert _nomad_read(named) is not None
        for name in (None, "client.global.nomad"):
            with pytest.raises(UnavailableError, match=r"not trusted.*127\.0\.0\.1|not trusted.*client\.global"):
                _nomad_read(_connection(wire, ca_file=authority.file, tls_server_name=name))


def test_a_name_for_certificates_does_not_disturb_plain_http() -> None:
    with Wire(Answer(body=JOB)) as wire:
        assert _nomad_read(_connection(wire, tls_server_name="server.global.nomad")) is not None


def test_an_expired_certificate_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Wire(Answer(body=JOB), certificate=authority.issue("server", days=-1)) as wire:
        with pytest.raises(UnavailableError, match=r"not trusted.*expired"):
            _nomad_read(_connection(wire, ca_file=authority.file))

        assert wire.questions == []


def test_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("server")
    stranger = Authority(tmp_path / "other")
    with Wire(Answer(body=JOB), certificate=pair) as wire:
        for files in ({}, {"ca_file": stranger.file}):
            with pytest.raises(UnavailableError, match="not trusted") as failure:
                _nomad_read(_connection(wire, **files))
            assert not failure.value.transient

        assert wire.questions == []


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair, caller = authority.issue("server"), authority.issue("caller")
    with Wire(Answer(body=JOB), certificate=pair, client_ca=authority.file) as wire:
        files = {"client_cert": caller.certificate, "client_key": caller.key}
        assert _nomad_read(_connection(wire, ca_file=authority.file, **files)) is not None


@pytest.mark.parametrize(
    "given", [{"json": {"a": [1, "é"]}}, {"data": "é"}, {"data": b"\x00"}, {"params": {"q": "a b", "n": None}}, {}]
)
def test_a_small_request_is_on_the_wire_what_requests_would_make_of_it(given: dict[str, Any]) -> None:
    with Wire(Answer(body="true"), Answer(body="true")) as wire:
        sending = Transport("consul", _connection(wire), "X-Consul-Token", {"region": "here"})
        for more in ({}, {"stream": True}):
            with sending.calling("ask", write=False):
                answer = sending.session.put(
                    f"{wire.address}/v1/kv/a%20b?dc=x", headers={"X-More": "1"}, **given, **more
                )
                assert (answer.status_code, answer.json()) == (200, True)

    direct, prepared = wire.questions
    assert direct.path == prepared.path
    assert json.loads(direct.body) == json.loads(prepared.body) if "json" in given else direct.body == prepared.body
    assert {name.lower(): value for name, value in direct.headers.items()} == {
        name.lower(): value for name, value in prepared.headers.items()
    }


def test_a_server_may_lie_below_a_path() -> None:
    with Wire(Answer(body=JOB), Answer(body=JOB)) as wire:
        for address in (f"{wire.address}/nomad", f"{wire.address}/nomad/"):
            assert _nomad_read(Connection(address, token=TOKEN)) is not None

    assert {one.path.partition("?")[0] for one in wire.questions} == {"/nomad/v1/job/web"}


def test_an_address_that_has_to_be_quoted_is_quoted() -> None:
    with Wire(Answer(body="true")) as wire:
        sending = Transport("consul", _connection(wire), "X-Consul-Token", {})
        with sending.calling("ask", write=False):
            sending.session.get(f"{wire.address}/v1/kv/a b")

    assert wire.questions[0].path == "/v1/kv/a%20b"


def test_a_server_sees_twelve_small_calls_of_a_command_at_once_and_queries_that_wait_beside_them():
    one = Transport("nomad", Connection("http://127.0.0.1:9"), "X-Nomad-Token", {})
    meeting, guard = threading.Barrier(12, timeout=30), threading.Lock()
    under_way: list[int] = []
    beside: list[str] = []

    def small() -> None:
        with guard:
            under_way.append(under_way[-1] + 1 if under_way else 1)
        if meeting.wait() == 0:
            beside.append(one.read("wait for news", lambda: "news", wait=1.0))
        with guard:
            under_way.append(under_way[-1] - 1)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(lambda _: one.read("read a job", small), range(24)))
    assert (max(under_way), under_way[-1]) == (12, 0)
    assert beside == ["news"] * 2


def test_a_call_within_a_call_waits_for_no_turn():
    one = Transport("nomad", Connection("http://127.0.0.1:9"), "X-Nomad-Token", {})
    meeting = threading.Barrier(12, timeout=30)

    def outer() -> str:
        meeting.wait()
        return one.read("read a part of it", lambda: "part")

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda _: one.read("read a job", outer), range(12))) == {"part"}
