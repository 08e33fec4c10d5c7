"""Logins: where their tokens are kept, who gets them, and that nothing shows them."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hms_nomad.clients.browser import redirect_of, wait_for_browser
from hms_nomad.clients.errors import DeadlineExceededError, DeniedError, UnavailableError
from hms_nomad.clients.login import Login, seconds_until
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.logins import KeptLogin, keep_login, kept_login
from hms_nomad.platform.model import ServerAddress
from hms_nomad.workflows.tokens import token_of, token_source
from tests.processes import free_port
from tests.unit.cli.running import json_of, run

CANARY = "canary-of-a-token"
PASSWORD = "canary-of-a-password"
ADDRESS = "http://127.0.0.1:9"


@pytest.fixture
def vault(monkeypatch):
    """A Vault that believes everybody, and what it was told."""
    told = []

    class Client:
        def __init__(self, connection):
            self.token = connection.token

        def login_userpass(self, mount, user, password):
            told.append((mount, user, password))
            return Login(CANARY, "accessor-1", ("hms-viewer",), 600.0)

        def login_jwt(self, mount, role, jwt):
            told.append((mount, role, jwt))
            return Login(CANARY, "accessor-1", ("hms-viewer",), 0.0)

        def logout(self):
            told.append(("logout", self.token))

    monkeypatch.setattr("hms_nomad.workflows.operating.login.VaultLogin", Client)
    monkeypatch.setenv("VAULT_ADDR", ADDRESS)
    return told


def kept() -> Path:
    return Path(os.environ["HMS_NOMAD_CONFIG_DIR"]) / "logins" / "default" / "vault.json"


def test_a_password_comes_from_stdin_and_the_token_lies_in_a_private_file(vault):
    done = run("login", "vault", "--user", "jane", "--output", "json", answer=f"{PASSWORD}\n")
    assert done.exit_code == 0, done.stderr
    assert vault == [("userpass", "jane", PASSWORD)]
    login = json_of(done)["login"]
    assert (login["accessor"], login["rights"], bool(login["until"])) == ("accessor-1", ["hms-viewer"], True)
    assert kept().stat().st_mode & 0o777 == 0o600
    assert kept().parent.stat().st_mode & 0o077 == 0

    shown = run("context", "show")
    assert "login until" in shown.stdout
    for text in (done.stdout, done.stderr, shown.stdout):
        assert CANARY not in text
        assert PASSWORD not in text

    assert json_of(run("logout", "--output", "json"))["servers"] == ["vault"]
    assert vault[-1] == ("logout", CANARY)
    assert not kept().exists()
    assert "nobody was logged in" in run("logout").stdout


def test_a_jwt_comes_from_a_file_or_from_stdin(vault, tmp_path):
    (tmp_path / "jwt").write_text("a.b.c\n")
    assert run("login", "vault", "--jwt-file", str(tmp_path / "jwt"), "--method", "ci", "--role", "one").exit_code == 0
    done = run("login", "vault", "--jwt-file", "-", answer="d.e.f\n")
    assert "without an end" in done.stdout
    assert vault == [("ci", "one", "a.b.c"), ("jwt", "", "d.e.f")]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nomad", "--user", "jane"), "known to Vault alone"),
        (("consul",), "log in with a JWT"),
        (("vault", "--user", "jane", "--jwt-file", "-"), "two ways"),
        (("vault", "--jwt-file", "no-such-file"), "no-such-file cannot be read"),
        (("vault", "--jwt-file", "-"), "is empty"),
    ],
)
def test_a_way_that_a_server_has_not_is_bad_input(vault, words, text):
    refused = run("login", *words, answer="\n" if "-" in words else f"{PASSWORD}\n")
    assert refused.exit_code == 2
    assert text in refused.stderr
    assert not vault


def test_a_login_wins_over_files_and_helpers_and_variables_win_over_it(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("of-the-file\n")
    (tmp_path / "token").chmod(0o600)
    where = ServerAddress(address=ADDRESS, token_file=str(tmp_path / "token"))
    assert token_of("nomad", where, "live") == "of-the-file"
    keep_login("live", "nomad", KeptLogin("of-the-login", ADDRESS, time.time() + 60))
    assert token_of("nomad", where, "live") == "of-the-login"
    assert token_source("nomad", where, "live").startswith("login until")
    assert token_of("nomad", where, "other") == "of-the-file"
    monkeypatch.setenv("NOMAD_TOKEN", "of-the-variable")
    assert token_of("nomad", where, "live") == "of-the-variable"


def test_a_login_is_sent_to_its_own_server_alone_and_not_after_its_end():
    keep_login("live", "nomad", KeptLogin(CANARY, ADDRESS, time.time() + 60))
    assert kept_login("live", "nomad", "https://elsewhere.example:4646") is None
    keep_login("live", "nomad", KeptLogin(CANARY, ADDRESS, time.time() - 1))
    assert kept_login("live", "nomad", ADDRESS) is None
    file = keep_login("live", "nomad", KeptLogin(CANARY, ADDRESS, 0.0))
    found = kept_login("live", "nomad", ADDRESS)
    assert found is not None
    assert CANARY not in repr(found)
    file.chmod(0o644)
    with pytest.raises(ContextError, match="can be read by others"):
        kept_login("live", "nomad", ADDRESS)
    file.write_text(json.dumps({"token": 1}))
    assert kept_login("live", "nomad", ADDRESS) is None


def test_times_of_servers_are_seconds_from_now():
    assert seconds_until("") == seconds_until("0001-01-01T00:00:00Z") == 0.0
    assert seconds_until("2001-01-01T00:00:00.123456789Z") == 1.0


def _visit(url: str, *paths: str) -> None:
    def go() -> None:
        for path in paths:
            try:
                urllib.request.urlopen(url.replace("/oidc/callback", path), timeout=5).read()
            except urllib.error.HTTPError:
                continue

    threading.Thread(target=go, daemon=True).start()


def test_a_browser_brings_a_code_or_the_reason_why_not():
    port = free_port()
    back = wait_for_browser(
        "nomad", port, lambda to: _visit(to, "/favicon.ico", f"/oidc/callback?state=s&code={CANARY}"), 10.0
    )
    assert (back.state, back.code) == ("s", CANARY)
    assert CANARY not in repr(back)
    with pytest.raises(DeniedError, match="not you"):
        wait_for_browser("nomad", port, lambda to: _visit(to, "/oidc/callback?error_description=not+you"), 10.0)
    with pytest.raises(DeadlineExceededError, match="no browser came back"):
        wait_for_browser("nomad", port, lambda to: None, 0.05)

    def taken(address: str) -> None:
        with pytest.raises(UnavailableError, match="the port is taken"):
            wait_for_browser("nomad", port, lambda to: None, 1.0)
        _visit(address, "/oidc/callback?code=c")

    assert wait_for_browser("nomad", port, taken, 10.0).code == "c"
    assert redirect_of(port).endswith(f":{port}/oidc/callback")
