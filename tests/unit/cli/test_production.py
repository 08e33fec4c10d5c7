"""Changes of a production cluster need its name; looking at it does not."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
import typer

from hms_nomad.cli.table import COMMANDS
from tests.unit.cli.running import json_of, run
from tests.unit.cli.test_help import command_lines

CHANGING = {
    ("abort",),
    ("bootstrap",),
    ("certs", "rotate"),
    ("deploy",),
    ("exec",),
    ("lock", "release"),
    ("pause",),
    ("platform", "access-log"),
    ("platform", "install"),
    ("platform", "remove"),
    ("promote",),
    ("resume",),
    ("rollback",),
    ("scale", "set"),
    ("stop",),
}


@pytest.fixture
def production():
    folder = Path(os.environ["HMS_NOMAD_CONFIG_DIR"]) / "contexts"
    folder.mkdir(parents=True)
    (folder / "live.yml").write_text("production: true\nregion: north\n", encoding="utf-8")
    (folder / "test.yml").write_text("{}\n", encoding="utf-8")


def test_every_command_that_changes_a_cluster_asks_for_the_name_of_production():
    asking = set()
    for words in command_lines():
        loaded = typer.main.get_command(importlib.import_module(COMMANDS[words[0]].module).app)
        found = loaded.commands[words[1]] if len(words) > 1 else loaded
        if any("--confirm" in option.opts for option in found.params):
            asking.add(words)
    assert asking == CHANGING


@pytest.mark.parametrize(
    "words",
    [
        ("stop", "receipt-svc", "--yes"),
        ("scale", "receipt-svc", "3"),
        ("promote", "receipt-svc"),
        ("bootstrap", "--apply", "--yes"),
        ("certs", "rotate", "root", "--yes"),
        ("platform", "access-log", "on"),
    ],
    ids=" ".join,
)
def test_where_nobody_can_be_asked_the_option_has_to_name_it(production, words):
    refused = run(*words, "--context", "live")
    assert refused.exit_code == 2
    assert "live is a production cluster; say --confirm live" in refused.stderr
    # With the name the command goes on, to servers that are not there.
    assert run(*words, "--context", "live", "--confirm", "live", "--timeout", "5s").exit_code == 6


def test_another_name_is_refused_and_other_clusters_need_none(production):
    wrong = run("stop", "receipt-svc", "--yes", "--context", "live", "--confirm", "test")
    assert (wrong.exit_code, "test is not changed here, but live" in wrong.stderr) == (2, True)
    assert run("stop", "receipt-svc", "--yes", "--context", "test").exit_code == 6
    for words in (("bootstrap", "--plan"), ("platform", "access-log"), ("status",)):
        assert run(*words, "--context", "live").exit_code == 6


def test_on_a_terminal_the_name_is_asked_for(production, monkeypatch):
    monkeypatch.setattr("hms_nomad.cli.production.is_terminal", lambda stream: True)
    words = ("stop", "receipt-svc", "--yes", "--context", "live")
    assert run(*words, answer="live\n").exit_code == 6
    other = run(*words, answer="yes\n")
    assert (other.exit_code, "that is not live" in other.stderr) == (2, True)


def test_each_of_several_clusters_is_named(production, spec_file, monkeypatch):
    for name in ("NOMAD_ADDR", "CONSUL_HTTP_ADDR"):
        monkeypatch.delenv(name)
    begun = []
    monkeypatch.setattr(
        "hms_nomad.cli.deploy_many.deploy_across", lambda run, waves, *_, **__: begun.append(waves) or 0
    )
    words = ("deploy", spec_file, "--contexts", "live,test")
    refused = run(*words)
    assert (refused.exit_code, "live is a production cluster" in refused.stderr) == (2, True)
    assert run(*words, "--confirm", "live").exit_code == 0
    assert len(begun) == 1


def test_each_field_of_a_context_says_where_it_comes_from(production, monkeypatch):
    monkeypatch.setenv("NOMAD_ADDR", "https://other.agency.gov:4646")
    shown = json_of(run("context", "show", "live", "--origin", "--output", "json"))["context"]["origins"]
    found = {one["field"]: (one["value"], Path(one["source"]).name) for one in shown}
    assert found["nomad.address"] == ("https://other.agency.gov:4646", "NOMAD_ADDR")
    assert found["production"] == (True, "live.yml")
    assert found["region"] == ("north", "live.yml")
    assert found["gateway.port"] == (8080, "default")
    assert "live.yml" in run("context", "show", "live", "--origin").stdout
    assert "origins" not in json_of(run("context", "show", "live", "--output", "json"))["context"]
