"""A real Nomad's event stream and its tasks' output: each event once, each line once, and an end."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import DeadlineExceededError, InvalidRequestError, NotFoundError, UnavailableError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_log_places import Place
from hms_nomad.clients.nomad_news import Follower, News
from hms_nomad.clients.nomad_types import Event
from tests.contract.embedded_agent import BOTH
from tests.contract.jobs import Jobs
from tests.contract.nomad_server import job
from tests.tcp_relay import Relay
from tests.waiting import eventually

pytestmark = BOTH

PATIENT = 60.0


@pytest.fixture
def relay(client: NomadClient) -> Iterator[Relay]:
    with Relay(int(client.address.rpartition(":")[2])) as relay:
        yield relay


def _soon() -> float:
    return time.monotonic() + PATIENT


def _priorities(events: list[Event]) -> list[int]:
    return [event.payload["Job"]["Priority"] for event in events if event.type == "JobRegistered"]


def _register(client: NomadClient, job_id: str, priorities: range) -> None:
    stored = client.read_job(job_id)
    index = 0 if stored is None else stored.modify_index
    for priority in priorities:
        index = client.register_job({**job(job_id, Count=0), "Priority": priority}, modify_index=index).modify_index


@pytest.mark.contract("NomadClient.events")
def test_events_come_in_order_and_once(client: NomadClient, jobs: Jobs) -> None:
    jobs.struct("heard")
    start = client.register_job(job("heard", Count=0), modify_index=0).modify_index
    _register(client, "heard", range(51, 61))

    events = client.events({"Job": ["heard"]}, index=start, deadline=_soon())
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if _priorities(seen)[-1:] == [60]:
            break

    assert _priorities(seen) == list(range(50, 61))
    assert {event.topic for event in seen} == {"Job"}
    assert {event.key for event in seen} == {"heard"}
    assert [event.index for event in seen] == sorted(event.index for event in seen)


@pytest.mark.contract("NomadClient.events")
def test_events_of_others_are_left_out(client: NomadClient, jobs: Jobs) -> None:
    jobs.struct("loud")
    jobs.struct("quiet")
    _register(client, "loud", range(50, 53))
    _register(client, "quiet", range(50, 51))
    _register(client, "loud", range(53, 56))
    _register(client, "quiet", range(51, 52))

    seen: list[Event] = []
    for event in client.events({"Job": ["quiet"]}, deadline=_soon()):
        seen.append(event)
        if _priorities(seen) == [50, 51]:
            break

    assert {event.key for event in seen} == {"quiet"}


@pytest.mark.contract("NomadClient.events")
def test_an_event_of_a_deployment_names_it_and_the_index_at_which_it_changed(client: NomadClient, jobs: Jobs) -> None:
    jobs.run("deployed")
    settled = jobs.settled("deployed")

    events = client.events({"Deployment": ["deployed"]}, index=settled.create_index, deadline=_soon())
    last = next(event for event in events if event.payload["Deployment"]["Status"] == "successful")

    assert (last.key, last.index) == (settled.id, settled.modify_index)


def test_news_of_jobs_come_on_one_stream_and_hold_what_a_reading_would(client: NomadClient, jobs: Jobs) -> None:
    names = ["news-a", "news-b"]
    told: dict[str, list[News]] = {}
    with Relay(int(client.address.rpartition(":")[2])) as relay:
        listener = NomadClient(Connection(f"http://127.0.0.1:{relay.port}"))
        with contextlib.ExitStack() as stack:
            followers = {name: stack.enter_context(listener.news.of(name)) for name in names}
            for name in names:
                jobs.run(name)
            for name, follower in followers.items():
                told[name] = [*_until_successful(follower)]
        assert relay.connections == 1

    for name in names:
        last = told[name][-1]
        assert last.deployment == jobs.settled(name)
        (running,) = client.job_allocations(name).value
        news = [one.allocation for one in told[name] if one.allocation is not None]
        assert {one.deployment_id for one in news} == {last.deployment.id}
        assert (news[-1].id, news[-1].healthy, news[-1].tasks) == (running.id, True, running.tasks)


@pytest.mark.contract("NomadClient.events")
def test_events_that_nobody_wants_any_more_end(client: NomadClient, jobs: Jobs) -> None:
    jobs.struct("unwanted")
    client.register_job(job("unwanted", Count=0), modify_index=0)
    asked = itertools.count()
    assert len(list(client.events({"Job": ["unwanted"]}, deadline=_soon(), wanted=lambda: next(asked) < 3))) <= 3


def _until_successful(follower: Follower) -> Iterator[News]:
    deadline = _soon()
    while time.monotonic() < deadline:
        if (news := follower.next(1.0)) is not None:
            yield news
            if news.deployment is not None and news.deployment.status == "successful":
                return
    raise AssertionError("no news of success came")


@pytest.mark.contract("NomadClient.events")
def test_a_broken_stream_goes_on_after_the_last_event(client: NomadClient, jobs: Jobs, relay: Relay) -> None:
    jobs.struct("cut")
    start = client.register_job(job("cut", Count=0), modify_index=0).modify_index
    listener = NomadClient(Connection(f"http://127.0.0.1:{relay.port}"))
    seen: list[Event] = []
    events = listener.events({"Job": ["cut"]}, index=start, deadline=_soon())

    for round_ in range(4):
        first = 51 + 3 * round_
        _register(client, "cut", range(first, first + 3))
        while _priorities(seen)[-1:] != [first + 2]:
            seen.append(next(events))
        relay.cut()

    assert _priorities(seen) == list(range(50, 63))
    assert relay.connections >= 4


@pytest.mark.contract("NomadClient.events")
def test_waiting_for_an_event_ends_at_the_deadline(client: NomadClient) -> None:
    with pytest.raises(DeadlineExceededError, match="in time"):
        list(client.events({"Job": ["never-registered"]}, deadline=time.monotonic() + 0.5))


@pytest.mark.contract("NomadClient.logs")
def test_a_finished_task_is_read_whole_or_from_its_end(client: NomadClient, jobs: Jobs) -> None:
    script = "for i in $(seq 1 3000); do echo line $i; done; printf 'tail\\033[1m without end'"
    body = {**jobs.struct("spoke", script), "Type": "batch", "Update": None}
    client.register_job(body, modify_index=0)
    allocation = jobs.started("spoke")
    eventually(lambda: client.read_allocation(allocation.id).done)

    everything = list(client.logs(allocation.id, "work"))

    assert everything == [*(f"line {number}" for number in range(1, 3001)), "tail\033[1m without end"]
    assert list(client.logs(allocation.id, "work", tail_lines=3)) == everything[-3:]
    assert list(client.logs(allocation.id, "work", tail_lines=2500)) == everything[-2500:]
    assert list(client.logs(allocation.id, "work", tail_lines=9999)) == everything
    assert list(client.logs(allocation.id, "work", tail_lines=0)) == []
    assert list(client.logs(allocation.id, "work", "stderr")) == []
    assert list(client.logs(allocation.id, "work", follow=True)) == everything
    assert list(client.logs(allocation.id, "work", tail_lines=3, follow=True)) == everything[-3:]
    assert list(client.logs(allocation.id, "work", tail_lines=0, follow=True)) == []


@pytest.mark.contract("NomadClient.placed_logs")
def test_output_is_read_on_from_a_place(client: NomadClient, jobs: Jobs) -> None:
    script = "for i in $(seq 1 3000); do echo line $i; done; printf 'tail without end'"
    client.register_job({**jobs.struct("placed", script), "Type": "batch", "Update": None}, modify_index=0)
    allocation = jobs.started("placed")
    eventually(lambda: client.read_allocation(allocation.id).done)
    stop = threading.Event()

    everything = list(client.placed_logs(allocation.id, "work", None, stop, lambda: True))
    texts = [line.text for line in everything if line.text is not None]
    rest = client.placed_logs(allocation.id, "work", everything[999].end, stop, lambda: True)

    assert texts == [*(f"line {number}" for number in range(1, 3001)), "tail without end"]
    assert [line.text for line in rest if line.text is not None] == texts[1000:]


@pytest.mark.contract("NomadClient.placed_logs")
def test_output_that_was_deleted_before_it_was_read_is_told(client: NomadClient, jobs: Jobs) -> None:
    script = "i=0; while [ $i -lt 70000 ]; do i=$((i+1)); echo a line of about fifty bytes with the number $i; done"
    body = jobs.struct("rotated", script)
    body["TaskGroups"][0]["Tasks"][0]["LogConfig"] = {"MaxFiles": 1, "MaxFileSizeMB": 1}
    client.register_job({**body, "Type": "batch", "Update": None}, modify_index=0)
    allocation = jobs.started("rotated")
    eventually(lambda: client.read_allocation(allocation.id).done)

    found = list(client.placed_logs(allocation.id, "work", Place(0, 53), threading.Event(), lambda: True))

    assert found[0].lost == Place(0, 53)
    assert found[0].end.file > 0
    numbers = [int(line.text.split()[-1]) for line in found if line.text is not None]
    assert numbers == list(range(numbers[0], 70001))


@pytest.mark.contract("NomadClient.logs")
def test_a_followed_task_is_read_until_it_ends(client: NomadClient, jobs: Jobs) -> None:
    script = "echo first; while [ ! -e local/go ]; do sleep 0.1; done; echo last; exit 0"
    body = {**jobs.struct("followed-log", f"trap 'touch local/go' USR1; {script}"), "Type": "batch", "Update": None}
    client.register_job(body, modify_index=0)
    allocation = jobs.started("followed-log")

    lines = client.logs(allocation.id, "work", follow=True)
    assert next(lines) == "first"
    client.signal_allocation(allocation.id, "SIGUSR1")

    assert list(lines) == ["last"]


@pytest.mark.contract("NomadClient.logs")
def test_following_ends_when_it_is_told_to(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("endless", "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    stop = threading.Event()

    lines = client.logs(allocation.id, "work", tail_lines=0, follow=True, stop=stop)
    some = [int(line) for line in itertools.islice(lines, 5)]
    stop.set()
    rest = [int(line) for line in lines]

    numbers = some + rest
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.contract("NomadClient.logs")
def test_following_a_tail_misses_nothing_and_repeats_nothing(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("counted", "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: len(lines) > 10)

    lines = client.logs(allocation.id, "work", tail_lines=5, follow=True)
    numbers = [int(line) for line in itertools.islice(lines, 40)]

    assert numbers == list(range(numbers[0], numbers[0] + 40))


@pytest.mark.contract("NomadClient.logs")
def test_logs_of_what_is_not_there_are_not_found(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("silent")

    with pytest.raises(NotFoundError):
        list(client.logs("00000000-0000-0000-0000-000000000000", "work"))
    with pytest.raises(NotFoundError):
        list(client.logs("00000000-0000-0000-0000-000000000000", "work", follow=True))
    with pytest.raises(InvalidRequestError, match="no-such-task"):
        list(client.logs(allocation.id, "no-such-task"))


@pytest.mark.contract("NomadClient.logs")
def test_a_cut_log_is_unavailable(client: NomadClient, jobs: Jobs, relay: Relay) -> None:
    allocation = jobs.run("cut-log", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done")
    listener = NomadClient(Connection(f"http://127.0.0.1:{relay.port}"))
    lines = listener.logs(allocation.id, "work", follow=True)
    assert next(lines) == "up"
    relay.cut()

    with pytest.raises(UnavailableError, match="cut short"):
        list(lines)
