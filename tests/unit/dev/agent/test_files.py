"""What tasks are given and leave: templates, addresses that stand in for a network, output in numbered files, state."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.artifacts import ArtifactError, _put
from hms_nomad.dev.agent.canonical import canonical
from hms_nomad.dev.agent.log_files import LogFile
from hms_nomad.dev.agent.store import Store
from hms_nomad.dev.agent.template_language import Record
from hms_nomad.dev.agent.templates import Sources, TemplateError, render, trouble_with, variables_of

_DB = Record(ID="i", Name="db", Address="10.0.0.1", Port=80, Node="n", ServiceMeta={"metrics_port": "9102"})
SOURCES = Sources(
    {"a/b": "stored"}.get,
    lambda name: {"db": [_DB], "db|any": [_DB, Record(_DB, ID="j")]}.get(name, []),
    lambda: ["db", "db-sidecar-proxy"],
    {"own": {"user": 'a"b', "x-y": "2"}}.get,
)


_JOBSPECS = Path(__file__).parents[4] / "jobspecs"


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
        ('{{ range service "db|any" }}{{ .ID }}{{ end }}', "ij"),
        (
            '{{ range $n, $one := service "db|any" }}{{ if eq $n 0 }}{{ $one.ID }}{{ else }}{{ $n }}{{ end }}{{ end }}',
            "i1",
        ),
        ('{{ with nomadVar "own" }}{{ .user }}{{ end }}', 'a"b'),
        ('{{ with nomadVar "own" }}{{ with index . "user" }}{{ printf "%v" . | toJSON }}{{ end }}{{ end }}', '"a\\"b"'),
        ('{{ $c := "" }}{{ range $k, $v := nomadVar "own" }}{{ $c }}{{ $k }}{{ $c = ", " }}{{ end }}', "user, x-y"),
        ('{{ "a-b-c" | replaceAll "-" "_" }}', "a_b_c"),
        ('{{ with service "db" }}{{ with index . 0 }}{{ .ServiceMeta.metrics_port }}{{ end }}{{ end }}', "9102"),
        ('{{ with service "no" }}x{{ else }}none{{ end }}', "none"),
        ('{{ range services }}{{ if not (.Name | regexMatch "-sidecar-proxy$") }}{{ .Name }}{{ end }}{{ end }}', "db"),
        (
            '{{ range service "db" }}{{ print .Address ":" (index .ServiceMeta "metrics_port") | toJSON }}{{ end }}',
            '"10.0.0.1:9102"',
        ),
        ('{{ range service "db" }}{{ or (index .ServiceMeta "path") "/metrics" }}{{ end }}', "/metrics"),
        ('{{ "_task-0a1b-x" | regexReplaceAll "^_task-([0-9a-f]{4}).*$" "$1" }}', "0a1b"),
        ('{{ $x := env "WHO" }}{{ if and (eq $x "me") (ne $x "you") }}{{ $x | toUpper }}{{ end }}', "ME"),
        ('{{/* a word */}}{{ keyOrDefault "absent" "or this" }}', "or this"),
        ('a  {{- env "WHO" -}}  b'.replace("{{-", "{{- ").replace("-}}", " -}}"), "ameb"),
    ],
)
def test_the_simple_forms_of_templates_are_rendered(text: str, expected: str):
    assert _rendered(text) == expected


@pytest.mark.parametrize("text", ['{{ secret "x" }}', "{{ open", "{{ end }}", '{{ key "absent" }}'])
def test_a_template_that_cannot_be_rendered_is_refused(text: str):
    with pytest.raises(TemplateError):
        _rendered(text)


@pytest.mark.parametrize("file", sorted(_JOBSPECS.glob("telemetry/*.yml")), ids=lambda file: file.name)
def test_the_templates_of_the_platforms_own_jobs_are_known(file: Path):
    template = {"EmbeddedTmpl": file.read_text(encoding="utf-8"), "LeftDelim": "<<<", "RightDelim": ">>>"}

    assert trouble_with(template) == ""


@pytest.mark.parametrize("code", ['with secret "kv/a"', "range nomadServices", 'file "/etc/passwd"'])
def test_what_is_not_known_is_named_before_anything_is_rendered(code: str):
    template = {"EmbeddedTmpl": f"{{{{ {code} }}}}{{{{ end }}}}", "LeftDelim": "{{", "RightDelim": "}}"}

    assert trouble_with(template) == f"{{{{ {code} }}}} is not known to the embedded agent"


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


def _packed(file: Path, *members: tuple[str, bytes, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.uid, member.mode = kind, len(content), 4242, 0o6777
            member.linkname = "there" if kind == tarfile.SYMTYPE else ""
            tar.addfile(member, io.BytesIO(content))
    return file


@pytest.fixture(params=["with its filter", "before its filter"])
def tarfile_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Python's tarfile as it is since 3.11.4, and as it was."""
    if request.param == "before its filter":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        monkeypatch.setattr(tarfile.TarFile, "extraction_filter", staticmethod(lambda one, _: one), raising=False)
    return str(request.param)


@pytest.mark.usefixtures("tarfile_of")
def test_an_archive_is_unpacked_for_who_runs_the_agent(tmp_path: Path):
    file = _packed(tmp_path / "a.tar.gz", ("in", tarfile.DIRTYPE, b""), ("in/plain", tarfile.REGTYPE, b"plain"))

    _put(file, tmp_path / "to", mode="any", archive="")

    found = tmp_path / "to" / "in" / "plain"
    assert found.read_bytes() == b"plain"
    assert (found.stat().st_uid, found.stat().st_mode & 0o7022) == (os.getuid(), 0)


@pytest.mark.usefixtures("tarfile_of")
def test_an_archive_with_something_outside_is_refused(tmp_path: Path):
    file = _packed(tmp_path / "a.tar.gz", ("../outside", tarfile.REGTYPE, b"x"))

    with pytest.raises((ArtifactError, tarfile.TarError)):
        _put(file, tmp_path / "to", mode="any", archive="")

    assert not (tmp_path / "outside").exists()


def test_a_link_in_an_archive_needs_pythons_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    file = _packed(tmp_path / "a.tar.gz", ("link", tarfile.SYMTYPE, b""))

    with pytest.raises(ArtifactError, match=r"link is no file; the embedded agent needs Python 3\.11\.4"):
        _put(file, tmp_path / "to", mode="any", archive="")
