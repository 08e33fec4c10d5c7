"""The shell is offered names from the cluster, contexts and files; an error or a silent server offers nothing."""

from __future__ import annotations

import contextlib
import socket
from types import SimpleNamespace

import pytest

from hms_nomad.cli.completion import complete_context, complete_service, complete_spec
from hms_nomad.cli.quick import quick_answer
from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Platform
from tests.unit.cli.running import run


def typing(**params):
    return SimpleNamespace(params=params)


def test_names_of_services_come_from_the_cluster(monkeypatch):
    asked = []

    @contextlib.contextmanager
    def session(platform):
        asked.append(platform.namespace)
        yield None

    monkeypatch.setattr("hms_nomad.workflows.session.open_session", session)
    monkeypatch.setattr("hms_nomad.workflows.fleet.service_names", lambda _: ("payment-svc", "portal", "receipt-svc"))
    assert complete_service(typing(), "p") == ["payment-svc", "portal"]
    assert complete_service(typing(namespace="tax"), "x") == []
    assert asked == ["default", "tax"]


def test_a_refusing_server_offers_nothing():
    assert complete_service(typing(), "") == []


def test_a_silent_server_offers_nothing(monkeypatch):
    monkeypatch.setattr("hms_nomad.cli.completion._PATIENCE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("NOMAD_ADDR", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert complete_service(typing(), "") == []


def test_an_unknown_context_offers_nothing():
    assert complete_service(typing(context="nowhere"), "") == []


def test_contexts_are_offered():
    save_context(Platform(name="prod"))
    save_context(Platform(name="dev"))
    assert complete_context("") == ["dev", "prod"]
    assert complete_context("p") == ["prod"]


def test_specs_and_folders_are_offered(tmp_path, monkeypatch):
    for name in ("receipt.hms.yml", "rest.txt", "request.json", ".hidden.yml"):
        (tmp_path / name).touch()
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts" / "a.hms.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert complete_spec("re") == ["receipt.hms.yml", "receipts/", "request.json"]
    assert complete_spec("receipts/") == ["receipts/a.hms.yaml"]
    assert complete_spec(f"{tmp_path}/rec") == [f"{tmp_path}/receipt.hms.yml", f"{tmp_path}/receipts/"]
    assert complete_spec("nowhere/x") == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [("hms-nomad sta", "status"), ("hms-nomad registry loo", "lookup"), ("hms-nomad plan --out", "--output")],
)
def test_the_shell_completes_commands_and_options(monkeypatch, line, offered):
    monkeypatch.setenv("_HMS_NOMAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    from typer.testing import CliRunner

    from hms_nomad.cli.app import app

    result = CliRunner().invoke(app, [], prog_name="hms-nomad")
    assert offered in result.stdout.split()


def test_completion_can_be_installed():
    assert "--install-completion" in run("--help").stdout


@pytest.mark.parametrize("line", ["hms-nomad", "hms-nomad ", "hms-nomad sta", "hms-nomad x"])
def test_commands_are_completed_without_a_library_as_typer_completes_them(monkeypatch, line):
    from typer.testing import CliRunner

    from hms_nomad.cli.app import app

    asked = {"_HMS_NOMAD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "1"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    by_typer = CliRunner().invoke(app, [], prog_name="hms-nomad").stdout.split()
    assert quick_answer("hms-nomad", [], asked).split() == by_typer


def test_zsh_is_told_what_each_command_does():
    answer = quick_answer("hms-sys", [], {"_HMS_SYS_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hms-sys prom"})
    assert answer == '_arguments \'*: :(("promote":"Let a rollout enter its next step, or take all the traffic."))\''


@pytest.mark.parametrize(
    ("line", "place"), [("hms-nomad deploy re", "2"), ("hms-nomad --ver", "1"), ("hms-nomad 'sta", "1")]
)
def test_what_takes_a_parser_is_left_to_typer(line, place):
    bash = {"_HMS_NOMAD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": place}
    zsh = {"_HMS_NOMAD_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    assert quick_answer("hms-nomad", [], bash) is None
    assert quick_answer("hms-nomad", [], zsh) is None
