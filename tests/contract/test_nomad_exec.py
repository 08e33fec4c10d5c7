"""Commands in tasks of a real Nomad: bytes both ways, the exit code, the terminal, and each way in which it says no."""

from __future__ import annotations

import queue
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import (
    InvalidRequestError,
    NotFoundError,
    ServerError,
    UnavailableError,
    UnknownOutcomeError,
)
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_exec import Resized, TaskCommand, Typed
from tests.contract.embedded_agent import embedded_agent
from tests.contract.jobs import Jobs, jobs_of
from tests.contract.nomad_server import Nomad
from tests.processes import free_port
from tests.tcp_relay import Relay

END = Typed(b"")


@pytest.fixture(scope="module")
def allocation(nomad: Nomad) -> Iterator[str]:
    """A task that runs."""
    with jobs_of(nomad.client()) as jobs:
        yield jobs.run("commanded").id


class Heard:
    """What a command wrote, by stream; ``also`` hears of all that a stream has by now."""

    def __init__(self, also: Callable[[bytes], None] = lambda written: None) -> None:
        self.streams: defaultdict[str, bytes] = defaultdict(bytes)
        self._also = also

    def wrote(self, stream: str, data: bytes) -> None:
        self.streams[stream] += data
        self._also(self.streams[stream])


def _command(allocation: str, *words: str, tty: bool = False) -> TaskCommand:
    return TaskCommand(allocation, "work", words, tty)


@pytest.mark.contract("NomadClient.run_in_task")
def test_a_command_writes_to_two_streams_and_its_code_comes_back(client: NomadClient, allocation: str) -> None:
    heard = Heard()
    script = _command(allocation, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert client.run_in_task(script, (END,), heard.wrote) == 3
    assert heard.streams == {"stdout": b"out\n", "stderr": b"err\n"}
    killed = _command(allocation, "/bin/sh", "-c", "kill -KILL $$")
    assert client.run_in_task(killed, (END,), heard.wrote) == 137


@pytest.mark.contract("NomadClient.run_in_task")
def test_what_is_handed_in_arrives_byte_by_byte_and_its_end_too(client: NomadClient, allocation: str) -> None:
    pieces, heard = [bytes(range(256)) * 300, b"\n", b"end"], Heard()
    assert client.run_in_task(_command(allocation, "cat"), [*map(Typed, pieces), END], heard.wrote) == 0
    assert heard.streams == {"stdout": b"".join(pieces)}


@pytest.mark.contract("NomadClient.run_in_task")
def test_a_terminal_has_the_size_it_is_told_and_takes_keys(client: NomadClient, allocation: str) -> None:
    typed: queue.SimpleQueue[Typed | Resized | None] = queue.SimpleQueue()
    typed.put(Resized(33, 77))
    typed.put(Typed(b"stty size\r"))
    answers = [(b"33 77", [Resized(40, 100), Typed(b"stty size\r")]), (b"40 100", [Typed(b"exit 7\r"), None])]

    def answer(written: bytes) -> None:
        if answers and answers[0][0] in written:
            for one in answers.pop(0)[1]:
                typed.put(one)

    heard = Heard(answer)
    shell = _command(allocation, "/bin/sh", tty=True)
    assert client.run_in_task(shell, iter(typed.get, None), heard.wrote) == 7
    assert b"40 100" in heard.streams["stdout"]


@pytest.mark.contract("NomadClient.run_in_task")
def test_each_no_has_its_error(client: NomadClient, allocation: str, jobs: Jobs) -> None:
    def refusal(kind: type[ServerError], where: str, task: str, word: str) -> str:
        with pytest.raises(kind) as refused:
            client.run_in_task(TaskCommand(where, task, (word, "s3cret")), (END,), lambda *_: None)
        assert "s3cret" not in str(refused.value)
        return refused.value.detail

    unknown = "00000000-0000-0000-0000-000000000000"
    assert "nknown allocation" in refusal(NotFoundError, unknown, "work", "true")
    assert "no-such-program" in refusal(InvalidRequestError, allocation, "work", "no-such-program")
    assert refusal(NotFoundError, allocation, "no-such-task", "true") == "task not found"
    ended = jobs.run("commanded-too-late", "exit 0").id
    assert refusal(InvalidRequestError, ended, "work", "true") == 'task "work" is not running.'


@pytest.mark.contract("NomadClient.run_in_task")
def test_a_connection_that_breaks_is_no_end_of_the_command(client: NomadClient, allocation: str) -> None:
    with Relay(int(client.address.rpartition(":")[2])) as relay:
        between = NomadClient(Connection(f"http://127.0.0.1:{relay.port}"))
        heard = Heard(lambda written: relay.cut())
        with pytest.raises(UnknownOutcomeError, match="the connection ended before the command did"):
            between.run_in_task(_command(allocation, "/bin/sh", "-c", "echo begun; exec cat"), (), heard.wrote)
        assert heard.streams == {"stdout": b"begun\n"}


@pytest.mark.contract("NomadClient.run_in_task")
def test_nobody_there_and_somebody_else_there_are_told_apart(allocation: str) -> None:
    with pytest.raises(UnavailableError, match="no connection: Connection refused"):
        NomadClient(Connection(f"http://127.0.0.1:{free_port()}")).run_in_task(_command(allocation, "true"), (), print)


@pytest.mark.contract("NomadClient.run_in_task")
def test_the_embedded_agent_says_that_it_runs_no_commands(tmp_path: Path) -> None:
    with embedded_agent(tmp_path, docker=False) as agent, jobs_of(agent.client()) as jobs:
        where = jobs.run("commanded").id
        with pytest.raises(InvalidRequestError, match="not supported by the embedded agent"):
            agent.client().run_in_task(_command(where, "true"), (END,), print)
