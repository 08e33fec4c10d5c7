from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hms_nomad.clients.errors import UnavailableError
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.errors import ServerFailedError
from hms_nomad.dev.processes import STACK_VARIABLE, alive, of_stack, stop
from hms_nomad.dev.server import Server, await_answer, ensure_started, environment

_SLEEP = "echo started; exec sleep 600"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "consul"
    yield Server(
        name="consul",
        binary=Binary("consul", Path("/bin/sh"), "1.20.1"),
        address="http://127.0.0.1:8500",
        directory=directory,
        arguments=("-c", _SLEEP),
        config={"data": 1},
        environment=environment(tmp_path, tmp_path / "bin"),
    )
    stop(of_stack(tmp_path, frozenset()), 5)


def test_a_server_is_started_once_with_its_configuration_for_nobody_else_to_read(server: Server) -> None:
    record, started = ensure_started(server, None)
    again, twice = ensure_started(server, record)

    assert started
    assert not twice
    assert again == record
    assert alive(record.process)
    assert json.loads(server.config_file.read_text()) == {"data": 1}
    assert server.config_file.stat().st_mode & 0o777 == 0o600
    assert (record.binary, record.log_file) == ("/bin/sh", str(server.directory / "consul.log"))


def test_one_that_died_is_started_again(server: Server) -> None:
    first, _ = ensure_started(server, None)
    stop([first.process], 5)

    second, started = ensure_started(server, first)

    assert started
    assert second.process != first.process


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"data": 2}},
        {"arguments": ("-c", f"true; {_SLEEP}")},
        {"binary": Binary("consul", Path("/bin/sh"), "2")},
    ],
)
def test_another_configuration_or_program_replaces_the_process(server: Server, change: dict[str, object]) -> None:
    first, _ = ensure_started(server, None)

    second, started = ensure_started(replace(server, **change), first)

    assert started
    assert not alive(first.process)
    assert alive(second.process)


def test_waiting_ends_as_soon_as_nothing_is_missing(server: Server) -> None:
    record, _ = ensure_started(server, None)
    answers = iter(["no leader", UnavailableError("consul", "ask", "http://x", "refused"), ""])

    def missing() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    await_answer(record, missing, time.monotonic() + 60)

    assert next(answers, None) is None


def test_a_server_that_ends_is_reported_with_its_last_words_and_its_log(server: Server) -> None:
    record, _ = ensure_started(replace(server, arguments=("-c", "echo bad port; exit 1")), None)

    with pytest.raises(ServerFailedError, match=r"consul ended; it said last:\n  bad port; see ") as failed:
        await_answer(record, lambda: "no answer", time.monotonic() + 60)

    assert failed.value.log_file == record.log_file


def test_a_server_that_never_gets_ready_is_reported_with_what_it_lacks(server: Server) -> None:
    record, _ = ensure_started(server, None)

    with pytest.raises(ServerFailedError, match="consul is not ready in time: it has no leader yet"):
        await_answer(record, lambda: "it has no leader yet", time.monotonic())

    assert alive(record.process)


def test_nothing_of_the_callers_shell_reaches_a_server_but_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (
        "AWS_CA_BUNDLE",
        "AWS_PROFILE",
        "HTTPS_PROXY",
        "no_proxy",
        "NOMAD_ADDR",
        "CONSUL_HTTP_TOKEN",
        "SECRET",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("PATH", "/mine")

    found = environment(tmp_path, tmp_path / "bin")

    assert set(found) <= {"HOME", "LANG", "LC_ALL", "LOGNAME", "TMPDIR", "TZ", "USER", "PATH", STACK_VARIABLE}
    assert found["PATH"].split(":")[:2] == [str(tmp_path / "bin"), "/mine"]
    assert "/usr/sbin" in found["PATH"].split(":")
    assert found[STACK_VARIABLE] == str(tmp_path)
