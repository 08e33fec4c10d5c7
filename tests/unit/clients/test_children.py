"""Programs that this one runs get no token and no password that is not for them."""

from __future__ import annotations

import json
import os
import subprocess

from hms_nomad.clients.children import HELPERS_KEEP, SECRET_VARIABLES, child_environment
from hms_nomad.clients.credentials import Credentials, docker_credentials
from hms_nomad.clients.git import git

SHOW = 'echo "$(env | grep -c canary-)-$VAULT_TOKEN"'


def secrets(monkeypatch):
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, f"canary-{name}")


def test_a_child_gets_everything_but_secrets(monkeypatch):
    secrets(monkeypatch)
    monkeypatch.setenv("OTHER", "kept")
    given = child_environment()
    assert given["OTHER"] == "kept"
    assert given.keys() == os.environ.keys() - SECRET_VARIABLES
    assert child_environment(HELPERS_KEEP).keys() - given.keys() == {"VAULT_TOKEN"}


def test_git_answers_without_a_token_whatever_a_repository_lets_it_run(monkeypatch, tmp_path):
    secrets(monkeypatch)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "config", "alias.spy", f"!{SHOW}"], check=True)
    assert git(tmp_path, "spy") == "0-"
    assert git(tmp_path / "nowhere", "spy") == ""


def test_a_credential_helper_gets_only_the_token_of_vault(monkeypatch, tmp_path):
    secrets(monkeypatch)
    helper = tmp_path / "docker-credential-spy"
    helper.write_text(f'#!/bin/sh\nsecret=$({SHOW})\necho "{{\\"Username\\":\\"u\\",\\"Secret\\":\\"$secret\\"}}"\n')
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"reg.gov": "spy"}}), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert docker_credentials("reg.gov") == Credentials("u", "1-canary-VAULT_TOKEN")
