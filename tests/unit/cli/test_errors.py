"""However a command fails: one clear line on stderr, one exit code, and with ``--output json`` a document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hms_nomad.clients import errors
from hms_nomad.output.exit_codes import MEANINGS, ExitCode
from hms_nomad.output.faults import classify, foreseen
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.platform.context import ContextError
from tests.unit.cli.running import json_of, raising, run

NOMAD = ("nomad", "list jobs", "http://127.0.0.1:4646")
FAULTS = [
    (errors.InvalidRequestError(*NOMAD, "no such field"), 2),
    (errors.NotFoundError(*NOMAD, "there is no job"), 2),
    (ContextError("there is no context 'x'"), 2),
    (ForeignObjectError("job", "receipt-svc"), 3),
    (errors.ConflictError(*NOMAD, "it changed"), 3),
    (errors.UnavailableError(*NOMAD, "connection refused"), 6),
    (errors.UnavailableError(*NOMAD, "no cluster leader", 500), 6),
    (errors.UnknownOutcomeError(*NOMAD, "the answer was lost"), 7),
    (errors.DeniedError(*NOMAD, "Permission denied", 403), 8),
    (errors.DeadlineExceededError("0 of 2 instances are healthy"), 124),
    (KeyError("surprise"), 70),
]


@pytest.mark.parametrize(("error", "code"), FAULTS, ids=lambda value: getattr(type(value), "__name__", str(value)))
def test_an_error_is_one_line_and_a_code(monkeypatch, error, code):
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(error))
    result = run("status")
    assert result.exit_code == code
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(error) in line


@pytest.mark.parametrize(("error", "code"), FAULTS, ids=lambda value: getattr(type(value), "__name__", str(value)))
def test_an_error_is_a_document_for_machines(monkeypatch, error, code):
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(error))
    result = run("status", "--output", "json")
    body = json_of(result)
    assert body["schema"] == "hms-nomad/error/v1"
    assert body["error"]["exit_code"] == code == result.exit_code
    assert str(error) in body["error"]["message"]
    assert body["error"]["diagnostics"] == []


def test_an_unavailable_server_is_named_by_its_address(spec_file):
    result = run("plan", spec_file)
    assert result.exit_code == 6
    assert "http://127.0.0.1:9" in result.stderr


def test_what_a_server_wrote_cannot_look_like_a_second_message(monkeypatch):
    forged = errors.DeniedError(*NOMAD, "no\n✓ Image pulled\r\nService URL: http://evil")
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(forged))
    assert len(run("status").stderr.splitlines()) == 1


def test_a_bug_names_its_place_and_asks_for_a_report(monkeypatch):
    monkeypatch.setattr("hms_nomad.workflows.operating.status.our_jobs", raising(KeyError("surprise")))
    result = run("status")
    assert result.exit_code == 70
    assert "KeyError" in result.stderr
    assert "hms_nomad/workflows/operating/status.py:" in result.stderr
    assert "--trace" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_trace_is_shown_only_on_demand(monkeypatch):
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(errors.DeniedError(*NOMAD, "no")))
    result = run("status", "--trace")
    assert result.exit_code == 8
    assert "Traceback" in result.stderr


def test_an_interruption_ends_with_its_own_code(monkeypatch):
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(KeyboardInterrupt()))
    result = run("status")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deplyo", "x"), "Did you mean 'deploy'?"),
        (("status", "--outptu", "json"), "--output"),
        (("status", "--output", "xml"), "--output"),
        (("deploy",), "SPEC"),
        (("deploy", "x", "--timeout", "soon"), "write for example"),
        (("logs", "x", "--grep", "("), "regular expression"),
        (("logs", "x", "--tail", "-1"), "--tail"),
        (("status", "--context", "nowhere"), "there is no context 'nowhere'"),
    ],
)
def test_a_command_line_that_nobody_can_follow(words, said):
    result = run(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_even_an_unreadable_command_line_can_ask_for_json():
    body = json_of(run("status", "--nonsense", "-o", "json"))
    assert (body["schema"], body["error"]["code"]) == ("hms-nomad/error/v1", "usage")


BAD_FILES = {
    "an unknown key": "name: a\nversion: '1'\nport: 1\nimage: x\nreplics: 2\n",
    "a wrong type": "name: a\nversion: '1'\nport: many\nimage: x\n",
    "a duplicate key": "name: a\nname: b\nversion: '1'\nport: 1\nimage: x\n",
    "no DNS label": "name: Not_A_Label\nversion: '1'\nport: 1\nimage: x\n",
    "min above max": "name: a\nversion: '1'\nport: 1\nimage: x\nscaling: {min: 3, max: 2}\n",
    "an empty file": "",
    "a tab": "name: a\n\tversion: 1\n",
}


@pytest.mark.parametrize("command", ["deploy", "plan", "render"])
@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_input_is_one_line_with_its_place_before_any_server_is_asked(tmp_path, command, text):
    file = tmp_path / "bad.hms.yml"
    file.write_text(text, encoding="utf-8")
    result = run(command, str(file))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines
    for line in lines:
        assert line.startswith(f"{file}:")
        assert "error [HMS" in line


def test_findings_of_a_file_are_listed_for_machines(tmp_path):
    file = tmp_path / "bad.hms.yml"
    file.write_text(BAD_FILES["an unknown key"], encoding="utf-8")
    (found,) = json_of(run("deploy", str(file), "-o", "json"))["error"]["diagnostics"]
    assert (found["level"], found["file"], found["line"]) == ("error", str(file), 5)
    assert found["code"].startswith("HMS")


def test_a_reader_that_goes_away_ends_nothing(spec_file):
    script = f"{sys.executable} -m hms_nomad render {spec_file} --format json | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "{\n0\n"
    assert result.stderr == ""


def test_the_documentation_has_the_table_of_exit_codes():
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {int(code)} | {meaning} |" in page
    assert set(MEANINGS) == set(ExitCode)


def test_every_foreseen_error_has_a_code_and_a_name():
    for kind, code, name, _ in foreseen():
        assert issubclass(kind, Exception)
        assert code in ExitCode
        assert name == name.lower()


def test_an_error_that_is_a_special_case_of_another_is_looked_up_first():
    kinds = [kind for kind, *_ in foreseen()]
    for number, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[number + 1 :])


def test_json_survives_any_text(monkeypatch):
    strange = errors.DeniedError(*NOMAD, 'quote " backslash \\ snowman ☃')
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(strange))
    assert "☃" in json.loads(run("status", "-o", "json").stdout)["error"]["message"]
    assert classify(strange).exit_code is ExitCode.DENIED


@pytest.mark.parametrize("trace", [[], ["--trace"]])
def test_an_error_commands_no_terminal(monkeypatch, trace):
    error = ContextError("a \x1b]0;title\x07 \x1b[2J \u202eb \x9b1m")
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", raising(error))
    result = run("status", *trace)
    assert result.exit_code == 2
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(result.stderr)
    assert "error: a \\x1b]0;title\\x07 \\x1b[2J \\u202eb \\x9b1m" in result.stderr
