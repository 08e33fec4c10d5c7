"""Files and templates: what a spec carries along, from where it may come, and that nothing in it is touched."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_nomad.compile.files import templates
from hms_nomad.spec.diagnostics import SpecError
from hms_nomad.workflows.planning.validate import validate
from hms_nomad.workflows.specs import read_origins, read_spec
from tests.unit.specs import spec

BASE = "name: a-svc\nversion: 1.0.0\nimage: ghcr.io/gov/a:1.0\nport: 80\n"


@pytest.fixture
def beside(tmp_path):
    """Writes a spec with some lines more, and what stands beside it."""

    def write(lines, **files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "s.hms.yml"
        path.write_text(BASE + lines, encoding="utf-8")
        return str(path)

    return write


def findings(path):
    return [str(one).replace(path, "s.hms.yml") for one in validate([path]).diagnostics if one.level == "error"]


def test_a_source_arrives_as_it_lies_there(beside):
    content = 'print("{{ x }} ${NOMAD_JOB_NAME} ${var.x} \u65e5\u672c")\r\n'
    found = read_spec(beside("files:\n  app.py: {source: code}\n", code=content.encode()))
    assert found.files["app.py"].content == content
    assert found.files["app.py"].source is None


def test_bytes_that_are_no_text_arrive_too(beside):
    found = read_spec(beside("files:\n  logo: {source: logo}\n", logo=b"\x00\xff\xfe"))
    assert base64.b64decode(found.files["logo"].content or "") == b"\x00\xff\xfe"
    assert found.files["logo"].base64


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing", "there is no such file"),
        ("folder", "this is no file"),
        ("out", "this leads out of the spec's directory"),
        ("pipe", "this is no file"),
        ("big", "the file has 524289 bytes; at most 524288 can be sent"),
    ],
)
def test_a_source_that_cannot_be_sent_is_refused_where_it_is_named(beside, tmp_path, source, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big").write_bytes(b"x" * 524_289)
    path = beside(f"files:\n  app.py: {{source: {source}}}\n")
    assert findings(path) == [
        (
            f's.hms.yml:6:20: error [HMS259] files."app.py".source "{source}": {reason}; '
            "mend the path; it is relative to the directory of the spec"
        )
    ]
    with pytest.raises(SpecError):
        read_spec(path)


@pytest.mark.parametrize("source", ["../x", "/etc/passwd", "a/../../b", ".."])
def test_a_source_cannot_even_be_written_as_a_way_out(beside, source):
    assert "HMS106" in findings(beside(f"files:\n  app.py: {{source: {source}}}\n"))[0]


def test_sources_of_an_environment_are_read_when_the_file_is_checked(beside):
    path = beside("environments:\n  staging:\n    files:\n      app.py: {source: gone}\n")
    assert ["s.hms.yml:8:24" in one and "HMS259" in one for one in findings(path)] == [True]


def test_a_source_is_shown_by_its_name_not_by_its_content(beside):
    origins = read_origins(beside("files:\n  app.py: {source: code}\n", code=b"very long"))
    shown = {one.path: one.value for one in origins if one.path.startswith("files")}
    assert shown['files."app.py".source'] == "code"
    assert "very long" not in shown.values()


def test_a_destination_with_a_way_out_is_refused(beside):
    assert findings(beside("files:\n  ../x: {content: a}\n")) == [
        (
            's.hms.yml:6:3: error [HMS106] the name in files "../x" is no path below a directory; '
            "use letters, digits and . _ - @ + between slashes"
        )
    ]


@given(content=st.text())
def test_the_opening_delimiter_never_stands_in_the_content(content):
    (template,) = templates(spec(files={"x": {"content": content}}))
    assert template["ChangeMode"] == "noop"
    if content:
        assert template["EmbeddedTmpl"] == content
        assert template["LeftDelim"] not in content


def test_content_with_our_delimiter_gets_another_one():
    (template,) = templates(spec(files={"x": {"content": 'a {hms{{ env "PATH" }}hms} b'}}))
    assert template["LeftDelim"] not in template["EmbeddedTmpl"]


def test_an_unread_source_is_never_sent_as_nothing():
    with pytest.raises(ValueError, match="was not read"):
        templates(spec(files={"x": {"source": "app.py"}}))
