"""The load generator: latencies from when requests were due, figures, and answers however they are framed."""

from __future__ import annotations

import asyncio
import signal
import ssl
from array import array
from collections import Counter

import pytest

from hms_nomad.clients import http_load
from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.forward import Way
from hms_nomad.clients.http_call import Target
from hms_nomad.clients.http_load import LoadPlan, Tally, send_load
from hms_nomad.clients.load_figures import latency_of, result_of
from hms_nomad.output.load import load_lines, milliseconds
from hms_nomad.output.printer import Color, Look, Printer

HERE = Target("receipt-svc", "127.0.0.1", 1, "spiffe://x/svc/receipt-svc", "receipt-svc")
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Writer:
    """Takes requests and lets ``answer`` say what comes back, and when."""

    def __init__(self, reader, answer):
        self.reader = reader
        self.answer = answer

    def write(self, data):
        asyncio.get_running_loop().create_task(self.answer(self.reader, data))

    async def drain(self):
        pass

    def close(self):
        pass


@pytest.fixture
def answered_by(monkeypatch):
    """Lets a coroutine play the service: it is given the reader to feed and the request."""

    def install(answer):
        async def open_connection(target, context):
            if answer is None:
                raise ConnectionRefusedError(111, "Connection refused")
            reader = asyncio.StreamReader()
            return http_load._Connection(reader, Writer(reader, answer), target)

        monkeypatch.setattr(http_load, "_open", open_connection)

    return install


def sent(rate=100.0, seconds=0.1, timeout=2.0, connections=8, method="GET", body=b"", targets=(HERE,)):
    plan = LoadPlan(method, "/receipt", {"Host": "receipt-svc.mesh"}, body, rate, seconds, timeout, connections)
    return send_load(plan, lambda: Way(targets, CONTEXT), lambda tally: None)


def test_every_request_is_sent_and_counted(answered_by):
    seen = []

    async def answer(reader, request):
        seen.append(request)
        reader.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    answered_by(answer)
    tally = sent(method="POST", body=b"{}")
    assert (tally.due, tally.statuses, tally.failures) == (10, Counter({200: 10}), Counter())
    assert seen[0] == b"POST /receipt HTTP/1.1\r\nHost: receipt-svc.mesh\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    ],
)
def test_an_answer_is_read_to_its_end_however_it_is_framed(answered_by, answer):
    async def say(reader, request):
        reader.feed_data(answer)

    answered_by(say)
    assert sent().statuses == {503: 10}


def test_a_service_that_stands_still_shows_in_every_request_that_was_due_meanwhile(answered_by):
    first = True

    async def answer(reader, request):
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(0.3)
        reader.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    answered_by(answer)
    tally = sent(connections=1)
    assert tally.statuses == {200: 10}
    assert sum(latency > 0.15 for latency in tally.latencies) == 10
    assert sum(served > 0.15 for served in tally.served) == 1


def test_requests_without_an_answer_say_why(answered_by):
    async def silence(reader, request):
        pass

    answered_by(silence)
    assert sent(timeout=0.05).failures == {"no answer in time": 10}
    answered_by(None)
    assert sent().failures == {"not connected: Connection refused": 10}

    async def hang_up(reader, request):
        reader.feed_eof()

    answered_by(hang_up)
    assert all(reason.startswith("the connection broke") for reason in sent().failures)


def test_a_load_that_is_ended_early_counts_no_request_under_way(answered_by):
    answers = 0

    async def answer(reader, request):
        nonlocal answers
        answers += 1
        if answers == 5:
            signal.raise_signal(signal.SIGINT)
        if answers < 4:
            reader.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    answered_by(answer)
    tally = sent(connections=10)
    assert (tally.due, tally.statuses, tally.failures) == (3, {200: 3}, {})


def test_failed_requests_are_those_without_an_answer_and_errors_of_the_service():
    tally = Tally(due=10, statuses=Counter({200: 5, 404: 1, 503: 2}), failures=Counter({"no answer in time": 2}))
    tally.latencies = array("d", [0.001] * 8)
    tally.served = array("d", [0.001] * 8)
    assert result_of("receipt-svc", tally).failed == 4


def test_quantiles_are_real_values_and_the_histogram_counts_all_of_them():
    latency = latency_of([number / 1000 for number in range(1, 101)])
    assert latency is not None
    assert (latency.quantiles["50"], latency.quantiles["99"], latency.highest) == (50, 99, 100)
    assert sum(count for _, count in latency.histogram) == 100
    assert latency.histogram[-1] == (128.0, 36)
    assert latency_of([]) is None


def test_a_result_is_shown_with_both_latencies_and_a_histogram():
    tally = Tally(due=2, statuses=Counter({200: 2}), instances=Counter({"10.0.0.1:1": 2}), seconds=1.0)
    tally.latencies, tally.served = array("d", [0.002, 0.004]), array("d", [0.001, 0.001])
    lines = list(load_lines(Printer(Look(color=Color.NEVER)), result_of("receipt-svc", tally)))
    assert lines[0] == "✓ 2 requests in 1.0 s (2 a second), 0 failed"
    assert any(line.startswith("from when it was due") for line in lines)
    assert lines[-1].startswith("up to     4 ms         1  █")
    assert [milliseconds(value) for value in (0.84, 120, 1500)] == ["0.84 ms", "120 ms", "1.50 s"]


@pytest.mark.parametrize("url", ["https://example.gov/", "http://example.gov/", "http://receipt-svc.mesh:8080/"])
def test_only_services_of_the_mesh_are_loaded(url):
    from types import SimpleNamespace

    from hms_nomad.platform.model import Platform
    from hms_nomad.workflows.mesh.load import LoadOptions, load

    with pytest.raises(InvalidRequestError, match="no URL of the mesh"):
        load(SimpleNamespace(platform=Platform()), url, LoadOptions(), lambda tally: None)
