"""The texts with which Nomad, Consul, Vault and proxies say no, and what each means to a caller."""

from __future__ import annotations

import pytest

from hms_nomad.clients.classify import Request, classify
from hms_nomad.clients.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
    ServerError,
    UnavailableError,
    UnknownOutcomeError,
)

READ = Request("nomad", "read job web", "http://127.0.0.1:4646", write=False)
WRITE = Request("nomad", "register job web", "http://127.0.0.1:4646", write=True)
PAGE = "<!DOCTYPE html><html><body>Bad Gateway</body></html>"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "Enforcing job modify index 7: job exists with conflicting job modify index: 9"),
        (500, "rpc error: Enforcing job modify index 0: job already exists"),
        (500, "can't revert to current version"),
        (500, 'tag "good" already exists on a different version of job "web"'),
        (500, "can't promote terminal deployment"),
        (400, "job scaling blocked due to active deployment"),
        (400, '{"errors":["check-and-set parameter did not match the current version"]}'),
        (400, '{"errors":["path is already in use at secret/"]}'),
        (400, '{"errors":["Vault is already initialized"]}'),
        (409, "anything"),
    ],
)
def test_somebody_else_was_there_first(status: int, text: str) -> None:
    assert type(classify(WRITE, status, text, {})) is ConflictError


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, "Permission denied"),
        (403, "Permission denied: token with AccessorID '…' lacks permission 'key:write' on \"web\""),
        (401, "ACL support disabled"),
        (500, "rpc error making call: Permission denied"),
        (500, "rpc error making call: rpc error making call: ACL not found"),
        (403, '{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}'),
    ],
)
def test_the_token_does_not_suffice(status: int, text: str) -> None:
    for request in (READ, WRITE):
        assert type(classify(request, status, text, {})) is DeniedError


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "job not found"),
        (500, 'job "web" version 7 not found'),
        (500, "deployment not found"),
        (500, "Task not found"),
        (500, "Could not find task runner for task: web"),
        (500, 'Unknown allocation "88d9f3e8"'),
        (500, 'tag "good" not found on job "web"'),
        (500, "parameterized job not found"),
        (404, '{"errors":[]}'),
    ],
)
def test_it_is_not_there(status: int, text: str) -> None:
    assert type(classify(WRITE, status, text, {})) is NotFoundError


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "Job must be specified"),
        (500, 'task "work" is not running.'),
        (500, 'task "work" not started yet.'),
        (500, "1 error occurred:\n\t* Task group main validation failed"),
        (500, "Meta must not be specified"),
        (500, 'discovery chain "web" uses inconsistent protocols; service "web" is using "tcp"'),
        (500, 'service "web" has protocol "tcp", which does not permit advanced routing or splitting behavior'),
        (500, 'Specified job "web" is not a parameterized job'),
        (500, "Dispatch did not provide required meta keys: [who]"),
        (400, "group count was greater than scaling policy maximum: 9 > 5"),
        (413, "Request body too large"),
    ],
)
def test_the_content_is_refused(status: int, text: str) -> None:
    assert type(classify(WRITE, status, text, {})) is InvalidRequestError


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "No cluster leader"),
        (500, "rpc error making call: No path to region"),
        (503, "Vault is sealed"),
        (429, "Too many concurrent connections"),
        (500, "rpc error getting client: failed to get conn: dial tcp 10.0.0.1:8300: connect: connection refused"),
        (500, "rpc error: failed to get conn: rpc error: lead thread didn't get connection"),
        (503, PAGE),
    ],
)
def test_nothing_was_taken_up(status: int, text: str) -> None:
    for request in (READ, WRITE):
        error = classify(request, status, text, {})
        assert type(error) is UnavailableError
        assert error.transient


def test_a_server_that_cannot_reach_its_leader_is_no_server_that_refuses_us() -> None:
    told = "rpc error getting client: failed to get conn: dial tcp 10.0.0.1:8300: connect: connection refused"
    error = classify(READ, 500, told, {})
    assert error.detail.startswith("it cannot pass the request on to the server that has to take it, mostly the leader")
    assert error.detail.endswith(f"({told})")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "leadership lost while committing log"),
        (500, "rpc error making call: EOF"),
        (500, "rpc error making call: i/o deadline reached: context deadline exceeded"),
        (500, "write raft.db: no space left on device"),
        (500, ""),
        (500, "Internal Server Error"),
        (500, "something that nobody has heard of before"),
        (500, PAGE),
        (502, PAGE),
        (504, "stream timeout"),
        (503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination"),
    ],
)
def test_nobody_knows_whether_it_was_done(status: int, text: str) -> None:
    error = classify(WRITE, status, text, {})
    assert type(error) is UnknownOutcomeError
    assert "may have been done" in str(error)

    of_a_read = classify(READ, status, text, {})
    assert type(of_a_read) is UnavailableError
    assert of_a_read.transient


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-1", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)]
)
def test_a_wish_to_wait_is_heard(header: str, seconds: float | None) -> None:
    error = classify(READ, 429, "too many requests", {"Retry-After": header})

    assert isinstance(error, UnavailableError)
    assert error.retry_after == seconds


def test_a_redirect_names_its_target() -> None:
    error = classify(READ, 307, "", {"Location": "https://other.example/"})

    assert type(error) is UnavailableError
    assert not error.transient
    assert "https://other.example/" in str(error)


def test_an_error_says_who_where_what_and_why_in_one_short_line() -> None:
    error = classify(READ, 500, "first\n\tsecond\x1b[31m third" + "x" * 100_000, {})

    assert isinstance(error, ServerError)
    assert str(error).startswith("nomad at http://127.0.0.1:4646: cannot read job web: first second[31m third")
    assert "\n" not in str(error)
    assert len(str(error)) < 3000
    assert error.status == 500


def test_a_page_of_a_proxy_is_not_repeated() -> None:
    error = classify(READ, 502, PAGE, {})

    assert "is a proxy in between?" in str(error)
    assert "<" not in str(error)


def test_an_answer_without_a_reason_says_so() -> None:
    assert "HTTP 400 without a reason" in str(classify(READ, 400, "", {}))
