"""Files, directories and standard input of the command line become specs, or lines about what is wrong with them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from hms_nomad.spec.diagnostics import Level, SpecError
from hms_nomad.workflows.planning.validate import validate
from hms_nomad.workflows.specs import read_spec, read_specs
from tests.unit.spec.lines import CHAPTER


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(*paths):
    with pytest.raises(SpecError) as caught:
        read_specs(paths)
    return str(caught.value).splitlines()


def fleet():
    Path("fleet/tax/.git").mkdir(parents=True)
    Path("fleet/z.hms.yml").write_text(CHAPTER)
    Path("fleet/tax/a.hms.yaml").write_text(CHAPTER.replace("receipt-svc", "tax-svc"))
    Path("fleet/tax/.git/b.hms.yml").write_text("no spec")
    Path("fleet/b.hms.json").write_text('{"name": "audit-svc", "version": "1", "image": "a:1", "port": 80}')
    Path("fleet/other.yml").write_text("no spec")


def test_a_file_is_one_spec():
    Path("receipt.yml").write_text(CHAPTER)
    assert read_spec("receipt.yml").name == "receipt-svc"


def test_a_directory_stands_for_every_spec_below_it_in_a_fixed_order():
    fleet()
    assert [(one.file, one.spec.name) for one in read_specs(["fleet"])] == [
        ("fleet/b.hms.json", "audit-svc"),
        ("fleet/tax/a.hms.yaml", "tax-svc"),
        ("fleet/z.hms.yml", "receipt-svc"),
    ]


def test_a_file_named_twice_is_read_once():
    fleet()
    assert len(read_specs(["fleet/z.hms.yml", "fleet", "fleet/z.hms.yml"])) == 3


def test_a_dash_reads_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CHAPTER.replace("port", "prot").encode())))
    assert refusal("-") == [
        '<stdin>:4:1: error [HMS101] unknown key "prot"; did you mean port?',
    ]


def test_what_is_wrong_with_paths_is_said_in_the_same_form():
    Path("empty").mkdir()
    assert refusal("nothing.hms.yml", "empty", "a\0b") == [
        "nothing.hms.yml: error [HMS001] there is no such file; check the path; hms-nomad init writes a first spec",
        "empty: error [HMS001] no spec is in this directory; a spec is named *.hms.yml, *.hms.yaml, *.hms.json",
        "a\\x00b: error [HMS001] the file cannot be read: embedded null byte; check the path and its permissions",
    ]


def test_a_directory_is_no_single_spec():
    fleet()
    with pytest.raises(SpecError, match=r"^fleet: error \[HMS001\] this is a directory; name one file in it$"):
        read_spec("fleet")


def test_a_file_of_100_mb_is_refused_unread():
    with Path("big.hms.yml").open("wb") as stream:
        os.truncate(stream.fileno(), 100 * 1024 * 1024)
    assert refusal("big.hms.yml") == [
        (
            "big.hms.yml: error [HMS003] the file has 104857600 bytes; at most 1048576 are read; "
            "a spec is a short file: is this the right one?"
        )
    ]


def test_a_device_is_no_spec():
    assert refusal("/dev/zero") == ["/dev/zero: error [HMS001] this is no file; name a spec or a directory of specs"]


def test_one_service_cannot_have_two_specs():
    for name in ("a.hms.yml", "b.hms.yml"):
        Path(name).write_text(CHAPTER)
    assert refusal(".") == [
        "b.hms.yml: error [HMS014] the service receipt-svc is declared in a.hms.yml too; rename one"
    ]


def test_errors_of_all_files_are_listed_at_once():
    Path("a.hms.yml").write_text(CHAPTER.replace("port", "prot"))
    Path("b.hms.yml").write_text("")
    assert [line.split(":")[0] for line in refusal("a.hms.yml", "c.hms.yml", "b.hms.yml")] == [
        "a.hms.yml",
        "c.hms.yml",
        "b.hms.yml",
    ]


def test_validate_reports_instead_of_raising():
    fleet()
    Path("fleet/broken.hms.yml").write_text(CHAPTER.replace("3000", "0"))
    report = validate(["fleet"])
    assert report.failed
    assert report.count(Level.ERROR) == 1
    assert len(report.files) == 4
    assert {one.spec.name for one in report.specs} == {"receipt-svc", "tax-svc", "audit-svc"}


def test_validate_of_good_specs_does_not_fail():
    fleet()
    assert not validate(["fleet"]).failed
