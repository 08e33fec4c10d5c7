"""Where a token comes from, and that nothing ever shows it."""

from __future__ import annotations

import sys

import pytest

from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.session import open_session
from hms_nomad.workflows.tokens import token_of, token_source
from tests.unit.cli.running import run

CANARY = "c4naryc4-4ary-c4na-ryc4-naryc4naryc4"


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch):
    for name in ("NOMAD_TOKEN", "CONSUL_HTTP_TOKEN", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def helper(code: str) -> ServerAddress:
    return ServerAddress(address="http://127.0.0.1:4646", token_helper=(sys.executable, "-c", code))


def test_a_helper_prints_the_token_of_the_server_that_it_is_told():
    where = helper("import os; print(os.environ['HMS_NOMAD_SERVER'] + '@' + os.environ['HMS_NOMAD_ADDRESS'])")
    assert token_of("nomad", where) == "nomad@http://127.0.0.1:4646"
    assert token_source("nomad", where) == f"helper {sys.executable}"


def test_the_servers_own_variable_wins_and_then_no_helper_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "mine")
    trace = tmp_path / "ran"
    where = helper(f"open({str(trace)!r}, 'w'); print('other')")
    assert token_of("consul", where) == "mine"
    assert token_source("consul", where) == "CONSUL_HTTP_TOKEN"
    assert not trace.exists()


@pytest.mark.parametrize(
    "code",
    [
        f"print({CANARY!r}); raise SystemExit(3)",
        f"print({CANARY!r}); print('and more')",
        "pass",
        f"import sys; sys.stdout.buffer.write(b'\\xff' + {CANARY!r}.encode())",
    ],
)
def test_a_helper_that_fails_is_named_and_its_words_are_not(code):
    with pytest.raises(ContextError) as raised:
        token_of("vault", helper(code))
    assert sys.executable in str(raised.value)
    assert CANARY not in str(raised.value)


def test_a_helper_that_is_not_there_is_named():
    where = ServerAddress(address="http://127.0.0.1:1", token_helper=("/is/not/there",))
    with pytest.raises(ContextError, match="/is/not/there cannot be run: No such file"):
        token_of("nomad", where)


def test_a_context_names_one_source(monkeypatch, tmp_path):
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(tmp_path))
    folder = tmp_path / "contexts"
    folder.mkdir()
    both = "nomad: {address: 'http://127.0.0.1:1', token_file: /a, token_helper: [b]}\n"
    (folder / "both.yml").write_text(both, encoding="utf-8")
    result = run("status", "--context", "both")
    assert result.exit_code == 2
    assert "token_helper or from token_file, not from both" in result.stderr


def test_no_command_shows_the_token_that_a_helper_gave(monkeypatch, tmp_path):
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(tmp_path))
    folder = tmp_path / "contexts"
    folder.mkdir()
    program = tmp_path / "helper"
    program.write_text(f"#!{sys.executable}\nprint({CANARY!r})\n", encoding="utf-8")
    program.chmod(0o700)
    text = f"nomad: {{address: 'http://127.0.0.1:1', token_helper: [{program}]}}\n"
    (folder / "one.yml").write_text(text, encoding="utf-8")
    for words in (
        ("context", "show", "one"),
        ("status", "--context", "one", "--trace"),
        ("doctor", "--context", "one"),
    ):
        result = run(*words)
        assert CANARY not in result.stdout + result.stderr
    assert f"helper {program}" in run("context", "show", "one").stdout


def test_the_token_is_in_no_repr(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text(CANARY, encoding="utf-8")
    with open_session(Platform(nomad=helper(f"print(open({str(kept)!r}).read())"))) as session:
        assert CANARY not in repr(session)
