"""The audit trail: sealed records, in a file and in keys, and what breaks the chain."""

from __future__ import annotations

import json
import threading
from typing import Any, cast

import pytest
from msgspec.structs import replace

from hms_nomad.apply.audit import AuditError, ConsulTrail, FileTrail, Record, broken_links
from hms_nomad.clients.consul import ConsulClient
from tests.unit.workflows.servers import FakeConsul


class StrictConsul(FakeConsul):
    """One whose keys are made once only when that is asked for."""

    def kv_put(self, key: str, value: bytes, modify_index: int | None = None, acquire: str | None = None) -> bool:
        if modify_index == 0 and key in self.keys:
            return False
        return super().kv_put(key, value, modify_index, acquire)


def record(service: str = "receipt-svc") -> Record:
    return Record(1.0, "dev", "default", service, "deploy", "ann@laptop", "", "run", "deployed")


@pytest.fixture(params=["file", "consul"])
def trail(request, tmp_path) -> Any:
    if request.param == "file":
        return FileTrail(tmp_path / "audit.log")
    return ConsulTrail(cast("ConsulClient", StrictConsul()), "default")


def test_each_record_seals_the_one_before_it(trail):
    sealed = [trail.append(record(name)) for name in ("a", "b", "c")]
    assert trail.records() == tuple(sealed)
    assert [one.number for one in sealed] == [1, 2, 3]
    assert [one.before for one in sealed[1:]] == [one.hash for one in sealed[:-1]]
    assert broken_links(sealed) == ()


def test_an_empty_trail_is_whole(trail):
    assert trail.records() == ()
    assert broken_links(()) == ()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda chain: [replace(chain[0], who="mallory@far"), *chain[1:]], "record 1 was changed"),
        (lambda chain: [chain[0], *chain[2:]], "record 2 is missing"),
        (lambda chain: [chain[0], replace(chain[1], result="failed").sealed(2, chain[0].hash), chain[2]], "record 3"),
    ],
    ids=["changed", "removed", "replaced and sealed again"],
)
def test_harm_to_the_trail_is_found(trail, harm, words):
    chain = [trail.append(record(name)) for name in ("a", "b", "c")]
    (found,) = broken_links(harm(chain))
    assert found.startswith(words)


def test_many_writers_of_a_file_make_one_chain(tmp_path):
    trail = FileTrail(tmp_path / "audit.log")
    writers = [threading.Thread(target=lambda: [trail.append(record()) for _ in range(20)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(trail.records()) == 80
    assert broken_links(trail.records()) == ()


def test_a_writer_who_died_before_moving_the_head_stops_nobody():
    consul = StrictConsul()
    trail = ConsulTrail(cast("ConsulClient", consul), "default")
    for name in ("a", "b"):
        trail.append(record(name))
    consul.kv_put(trail.head, b"1")
    assert trail.append(record("c")).number == 3
    del consul.keys[trail.head]
    assert trail.append(record("d")).number == 4
    assert broken_links(trail.records()) == ()


def test_who_looked_ahead_searches_no_more_and_still_comes_behind_others():
    consul = StrictConsul()
    first, second = (ConsulTrail(cast("ConsulClient", consul), "default") for _ in range(2))
    second.append(record("a"))
    first.look_ahead()
    read, consul.kv_get = consul.kv_get, None
    assert first.append(record("b")).number == 2
    consul.kv_get = read
    first.look_ahead()
    second.append(record("c"))
    assert first.append(record("d")).number == 4
    assert broken_links(first.records()) == ()


def test_a_file_that_cannot_be_written_is_found_before_anything_is_changed(tmp_path):
    with pytest.raises(AuditError, match="nothing is changed without it"):
        FileTrail(tmp_path / "no" / "audit.log").check()


def test_a_line_that_is_no_record_is_named(tmp_path):
    file = tmp_path / "audit.log"
    file.write_text(json.dumps({"schema": 99}) + "\n", encoding="utf-8")
    with pytest.raises(AuditError, match=r"line 1 of .*audit.log is no record"):
        FileTrail(file).records()


@pytest.mark.parametrize("head", [b"9" * 5000, b"9999999999", b"-1", b"\xff", b"0", b""])
def test_a_head_that_somebody_spoilt_stops_nobody(head):
    consul = StrictConsul()
    ConsulTrail(cast("ConsulClient", consul), "default").append(record("a"))
    trail = ConsulTrail(cast("ConsulClient", consul), "default")
    consul.kv_put(trail.head, head)
    assert trail.append(record("b")).number == 2
    assert broken_links(trail.records()) == ()


@pytest.mark.parametrize("time", ["1e300", "-1", "1e18"])
def test_a_record_of_a_time_that_no_calendar_has_is_named(tmp_path, time):
    trail = FileTrail(tmp_path / "audit.log")
    trail.append(record())
    line = json.loads(trail.file.read_text(encoding="utf-8"))
    trail.file.write_text(json.dumps(line | {"time": float(time)}), encoding="utf-8")
    with pytest.raises(AuditError, match=r"line 1 of .* is no record"):
        trail.records()
