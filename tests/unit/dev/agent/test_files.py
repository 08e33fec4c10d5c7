"""What tasks are given and leave: templates, addresses that stand in for a network, output in numbered files, state."""

from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.canonical import canonical
from hms_nomad.dev.agent.log_files import LogFile
from hms_nomad.dev.agent.store import Store
from hms_nomad.dev.agent.templates import Instance, Sources, TemplateError, render, variables_of

SOURCES = Sources({"a/b": "stored"}.get, lambda name: [Instance("i", name, "10.0.0.1", 80)] if name == "db" else [])


def _rendered(text: str) -> str:
    return render(text, "{{", "}}", {"WHO": "me"}, SOURCES).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ('a {{ env "WHO" }} b', "a me b"),
        ("{{ env `WHO` }}", "me"),
        ('{{ "" }}', ""),
        ('{{ "aGVsbG8=" | base64Decode }}', "hello"),
        ('{{ key "a/b" }}', "stored"),
        ('{{ range service "db" }}{{ .Address }}:{{ .Port }};{{ end }}', "10.0.0.1:80;"),
        ('{{ range service "no" }}x{{ else }}none{{ end }}!', "none!"),
        ('a  {{- env "WHO" -}}  b'.replace("{{-", "{{- ").replace("-}}", " -}}"), "ameb"),
    ],
)
def test_the_simple_forms_of_templates_are_rendered(text: str, expected: str):
    assert _rendered(text) == expected


@pytest.mark.parametrize("text", ['{{ secret "x" }}', "{{ open", "{{ end }}", '{{ key "absent" }}'])
def test_a_template_that_cannot_be_rendered_is_refused(text: str):
    with pytest.raises(TemplateError):
        _rendered(text)


def test_a_file_of_variables_is_read():
    assert variables_of("# no\nA=1\nexport B='two words'\n") == {"A": "1", "B": "two words"}


def _group() -> dict:
    upstream = {"DestinationName": "receipt", "LocalBindAddress": "127.0.1.1", "LocalBindPort": 80}
    database = {"DestinationName": "db", "LocalBindAddress": "127.0.1.2", "LocalBindPort": 5432}
    sidecar = {"SidecarService": {"Proxy": {"Upstreams": [upstream, database]}}}
    service = {"Name": "pay", "PortLabel": "3001", "Connect": sidecar}
    task = {"Name": "app", "Driver": "raw_exec", "Config": {"extra_hosts": ["receipt.mesh:127.0.1.1"]}}
    group = {"Name": "app", "Networks": [{"Mode": "bridge"}], "Services": [service], "Tasks": [task]}
    return canonical({"ID": "pay", "TaskGroups": [group]})["TaskGroups"][0]


def test_an_instance_has_ports_for_its_own_one_its_upstreams_and_its_sidecars_pages():
    assert emulation.stand_ins(_group()) == ["port 3001", "admin pay", "upstream receipt", "upstream db"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "3001", "10001"),
        ("OTHER", "3001", "3001"),
        ("HMS_RECEIPT_URL", "http://127.0.1.1", "http://127.0.0.1:10002"),
        ("HMS_RECEIPT_URL", "http://127.0.1.1/v1?x", "http://127.0.0.1:10002/v1?x"),
        ("HMS_RECEIPT_URL", "http://receipt.mesh", "http://127.0.0.1:10002"),
        ("HMS_DB_URL", "tcp://127.0.1.2:5432", "tcp://127.0.0.1:10003"),
        ("ELSE", "http://127.0.1.10", "http://127.0.1.10"),
    ],
)
def test_variables_name_the_ports_that_are_really_there(name: str, value: str, expected: str):
    ports = {"port 3001": 10001, "upstream receipt": 10002, "upstream db": 10003}
    assert emulation.environment({name: value}, _group(), ports) == {name: expected}


def test_output_is_shown_in_numbered_files_that_begin_at_lines(tmp_path: Path):
    log = LogFile(tmp_path / "app.stdout.0", size=100, keep=2)
    lines = [f"line {number:04d}\n" for number in range(100)]
    log.path.write_text("".join(lines))

    pieces = list(log.read(0))

    text = b"".join(piece.data for piece in pieces).decode()
    assert text == "".join(lines[-len(text.splitlines()) :])
    assert 100 <= len(text) <= 220
    first = pieces[0]
    assert (first.number, first.offset) == (8, 0)
    assert {piece.number for piece in pieces} == {8, 9}


def test_space_of_old_output_is_given_back_and_nothing_shown_is_lost(tmp_path: Path):
    log = LogFile(tmp_path / "app.stdout.0", size=1 << 20, keep=1)
    with log.path.open("wb") as stream:
        for number in range(60_000):
            stream.write(f"a line with the number {number} and some more words to fill it\n".encode())
    before = b"".join(piece.data for piece in log.read(0))

    log.trim()

    assert b"".join(piece.data for piece in log.read(0)) == before
    assert log.path.stat().st_blocks * 512 < log.path.stat().st_size


def test_what_was_written_is_there_after_a_restart(tmp_path: Path):
    store = Store(tmp_path / "state.sqlite")
    with store.write() as transaction:
        transaction.put("jobs", "default\0web", {"ID": "web", "Namespace": "default"})
    index = store.index
    store.close()

    again = Store(tmp_path / "state.sqlite")

    assert again.tables["jobs"]["default\0web"]["ID"] == "web"
    assert again.index == index
    again.close()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path):
    store = Store(tmp_path / "state.sqlite")
    before = store.index

    def write() -> None:
        with store.write() as transaction:
            transaction.put("jobs", "default\0web", {"ID": "web", "Namespace": "default"})
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write()

    assert (store.tables["jobs"], store.index) == ({}, before)
    store.close()
