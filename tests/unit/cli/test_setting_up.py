"""``render``, ``validate``, ``stop``, ``context`` and ``dev``: the commands around the everyday ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hms_nomad.dev.stack import DownResult, ServerState, ServerStatus, StackState, StackStatus
from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.spec.facts import UNKNOWN
from hms_nomad.workflows.deploying.stop import StopOptions, StopOutcome, StopPlan
from tests.unit.cli.running import json_of, run


def test_render_gives_one_object_with_everything_and_the_same_bytes_twice(spec_file):
    first = run("render", spec_file, "--format", "json").stdout
    assert first == run("render", spec_file, "--format", "json").stdout
    assert set(json.loads(first)) == {"nomad", "consul", "vault", "registry"}


def test_render_as_yaml_holds_the_same(spec_file):
    as_json = json.loads(run("render", spec_file, "--format", "json").stdout)
    text = run("render", spec_file, "--format", "yaml").stdout
    assert yaml.safe_load(text) == as_json
    assert "&id" not in text


def test_render_as_hcl_is_the_job(spec_file):
    assert run("render", spec_file, "-f", "hcl").stdout.startswith('job "receipt-svc" {\n')


def test_a_rendered_text_for_machines_is_wrapped(spec_file):
    body = json_of(run("render", spec_file, "-f", "hcl", "-o", "json"))
    assert (body["schema"], body["service"], body["format"]) == ("hms-nomad/render/v1", "receipt-svc", "hcl")
    assert body["rendered"].startswith('job "receipt-svc"')


def test_render_takes_the_namespace_that_is_asked_for(spec_file):
    body = json.loads(run("render", spec_file, "-f", "json", "--namespace", "tax").stdout)
    assert body["nomad"]["Job"]["Namespace"] == "tax"


def test_validate_lists_findings_and_counts_them(tmp_path):
    file = tmp_path / "bad.hms.yml"
    file.write_text("name: a\nversion: '1'\nport: 1\nimage: x:1\nreplics: 2\n", encoding="utf-8")
    result = run("validate", str(file))
    assert result.exit_code == 2
    assert result.stderr == ""
    assert any(line.startswith(f"{file}:5:1: error [HMS") for line in result.stdout.splitlines())
    assert result.stdout.splitlines()[-1].startswith("1 file: 1 error, ")


def test_notes_do_not_hide_errors(tmp_path):
    file = tmp_path / "bad.hms.yml"
    file.write_text("name: a\nversion: '1'\nport: 1\nimage: x:1\nreplics: 2\n", encoding="utf-8")
    lines = run("validate", str(file)).stdout.splitlines()
    assert not any(": info [" in line for line in lines)
    assert any(line.endswith("notes not shown before the errors are mended") for line in lines)
    assert any(": info [" in line for line in run("validate", str(file), "--fail-on", "info").stdout.splitlines())
    document = json_of(run("validate", str(file), "-o", "json"))
    assert "info" in {found["level"] for found in document["diagnostics"]}


def test_validate_can_fail_on_a_warning(tmp_path):
    file = tmp_path / "unchecked.hms.yml"
    file.write_text("name: a\nversion: '1'\nport: 1\nimage: x:1\n", encoding="utf-8")
    assert run("validate", str(file)).exit_code == 0
    strict = run("validate", str(file), "--fail-on", "warning", "-o", "json")
    assert strict.exit_code == 2
    body = json_of(strict)
    assert (body["schema"], body["ok"]) == ("hms-nomad/validate/v1", False)
    assert "warning" in {found["level"] for found in body["diagnostics"]}


def test_findings_for_code_scanners(tmp_path):
    file = tmp_path / "unchecked.hms.yml"
    file.write_text("name: a\nversion: '1'\nport: 1\nimage: x:1\n", encoding="utf-8")
    body = json_of(run("validate", str(file), "-o", "sarif"))
    assert body["version"] == "2.1.0"
    assert body["runs"][0]["results"]


def test_validate_asks_the_cluster_only_on_demand(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("hms_nomad.cli.validate.gather_facts", lambda *servers: asked.append(servers) or UNKNOWN)
    file = tmp_path / "a.hms.yml"
    file.write_text("name: a\nversion: '1'\nport: 1\nimage: x:1\n", encoding="utf-8")
    run("validate", str(file))
    assert not asked
    run("validate", str(file), "--cluster")
    assert len(asked) == 1


OPEN = """name: a
version: "1"
port: 1
image: x:1
env: {LINE: "${var.tag}"}
variables: {tag: {type: text}}
environments: {staging: {scaling: {max: 7}}}
"""


def test_environments_and_variables_reach_the_spec(tmp_path):
    file = tmp_path / "open.hms.yml"
    file.write_text(OPEN, encoding="utf-8")
    result = run("render", str(file), "-f", "json", "--env", "staging", "--var", "tag=1=2")
    group = json.loads(result.stdout)["nomad"]["Job"]["TaskGroups"][0]
    assert group["Scaling"]["Max"] == 7
    assert group["Tasks"][0]["Env"]["LINE"] == "1=2"
    table = run("render", str(file), "--env", "staging", "--var", "tag=1.1", "--show-origin").stdout
    (line,) = [line for line in table.splitlines() if line.startswith("scaling.max ")]
    assert "environment staging" in line


@pytest.mark.parametrize("words", [("--var", "tag"), ("--var", "=1"), ("--var", "tag=1", "--var", "tag=2")])
def test_a_variable_without_a_clear_value_is_refused(spec_file, words):
    result = run("render", spec_file, *words)
    assert result.exit_code == 2
    assert "--var" in result.stderr


def test_a_field_is_explained_and_a_misspelt_one_is_not_far():
    assert "Above this one instance is added" in run("explain", "scaling.cpu.high").stdout
    assert json_of(run("explain", "port", "-o", "json"))["field"]["required"] is True
    wrong = run("explain", "scaling.cpu.hihg")
    assert wrong.exit_code == 2
    assert "scaling.cpu.high" in wrong.stderr


@pytest.fixture
def stops(monkeypatch):
    """Let a service be there to be stopped; answers what was stopped."""
    stopped = []
    outcome = StopOutcome("receipt-svc", True, False, ("job receipt-svc stopped",), ("payment-svc",), ("x y",))
    monkeypatch.setattr(
        "hms_nomad.workflows.deploying.stop.plan_stop",
        lambda *_: StopPlan("receipt-svc", True, False, False, False, (), ("payment-svc",), ()),
    )

    def stop(session, name, options, report):
        stopped.append((name, options))
        return outcome

    monkeypatch.setattr("hms_nomad.workflows.deploying.stop.stop", stop)
    return stopped


def on_a_terminal(monkeypatch):
    monkeypatch.setattr("hms_nomad.cli.stop.is_terminal", lambda stream: True)


def test_stop_says_who_misses_the_service_and_what_stays(stops):
    result = run("stop", "receipt-svc", "--purge", "--timeout", "5s")
    assert stops == [("receipt-svc", StopOptions(timeout=5.0, purge=True))]
    assert result.stdout == (
        "✓ receipt-svc stopped\n"
        "These services may call it and get no answer now: payment-svc\n"
        "Not made by hms-nomad, so it stays: x y\n"
    )


def test_on_a_terminal_stop_asks_first(stops, monkeypatch):
    on_a_terminal(monkeypatch)
    result = run("stop", "receipt-svc", answer="n\n")
    assert (result.exit_code, stops) == (130, [])
    assert "payment-svc may call it and will get no answer" in result.stderr
    assert run("stop", "receipt-svc", answer="y\n").exit_code == 0
    assert len(stops) == 1


def test_yes_answers_the_question(stops, monkeypatch):
    on_a_terminal(monkeypatch)
    assert run("stop", "receipt-svc", "--yes").exit_code == 0
    assert len(stops) == 1


def test_stopping_what_is_not_there_is_no_error(monkeypatch):
    nothing = StopOutcome("receipt-svc", False, False, (), (), ())
    monkeypatch.setattr("hms_nomad.workflows.deploying.stop.stop", lambda *_: nothing)
    result = run("stop", "receipt-svc")
    assert (result.exit_code, result.stdout) == (
        0,
        "✓ receipt-svc does not run and has no entries: nothing to do\n",
    )


def test_contexts_are_listed_chosen_and_shown(monkeypatch):
    for name in ("NOMAD_ADDR", "CONSUL_HTTP_ADDR"):
        monkeypatch.delenv(name)
    assert "hms-nomad dev up" in run("context", "list").stdout
    save_context(Platform(name="prod", nomad=ServerAddress(address="https://nomad.example.gov:4646")))
    assert run("context", "use", "prod").exit_code == 0
    assert run("context", "list").stdout == "* prod\n"
    monkeypatch.setenv("NOMAD_TOKEN", "s3cr3t")
    result = run("context", "show")
    assert "s3cr3t" not in result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["nomad", "https://nomad.example.gov:4646", "context", "prod", "NOMAD_TOKEN"] in rows
    assert ["consul", "http://127.0.0.1:8500", "context", "prod", "none"] in rows
    assert json_of(run("context", "show", "-o", "json"))["context"]["chosen_by"] == "current context"


def test_an_unknown_context_cannot_be_chosen():
    result = run("context", "use", "nowhere")
    assert result.exit_code == 2
    assert "there is no context 'nowhere'" in result.stderr


CONSUL = ServerStatus("consul", "/bin/consul", "1.20.1", "http://127.0.0.1:8500", 7, ServerState.RUNNING, "c.log")
UP = StackStatus("dev", StackState.UP, Path("state"), (CONSUL,), "dev", docker=True, changed=True)


def test_dev_up_prints_addresses_context_and_the_next_command(monkeypatch):
    asked = []
    monkeypatch.setattr("hms_nomad.dev.stack.up", lambda settings, report: asked.append(settings) or UP)
    result = run("dev", "up", "--name", "two", "--port-offset", "1000", "--no-vault", "--timeout", "30s")
    assert result.stdout.splitlines()[:3] == ["✓ dev is up", "Consul  http://127.0.0.1:8500", "Context dev"]
    assert result.stdout.splitlines()[-1].startswith("Next: hms-nomad deploy ")
    (settings,) = asked
    assert (settings.name, settings.ports.nomad_http, settings.vault, settings.docker, settings.timeout) == (
        "two",
        5646,
        False,
        None,
        30.0,
    )


def test_dev_down_names_what_it_could_not_remove(monkeypatch):
    monkeypatch.setattr("hms_nomad.dev.stack.down", lambda *_: DownResult("dev", True, leftovers=("a mount",)))
    result = run("dev", "down")
    assert result.exit_code == 7
    assert "left behind: a mount" in result.stdout


def test_dev_status_is_a_table_and_a_document(monkeypatch):
    monkeypatch.setattr("hms_nomad.dev.stack.status", lambda *_: UP)
    assert "consul" in run("dev", "status").stdout
    body = json_of(run("dev", "status", "-o", "json"))
    assert (body["schema"], body["stack"]["state"]) == ("hms-nomad/dev/v1", "up")


def test_a_setting_that_cannot_be_used_is_bad_input():
    result = run("dev", "up", "--name", "Not A Name")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
