"""People who log in to the servers of a secure stack, work with the tokens that they get, and log out."""

from __future__ import annotations

import json

import pytest

from hms_nomad.compile.desired import OWNER_MARK
from tests.contract.test_logins import AUDIENCE, PUBLIC_KEY, signed
from tests.live.conftest import Cli, run_cli
from tests.live.secure.conftest import SecureStack

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]

PASSWORD = "canary-of-a-password"


@pytest.fixture(scope="module", autouse=True)
def _ways_in(secure: SecureStack) -> None:
    """An agency's identities: a key that signs them, and a name with a password."""
    with secure.as_admin() as session:
        vault = session.vault
        assert vault is not None
        vault.enable_auth("userpass", "userpass")
        vault.write("auth/userpass/users/jane", {"password": PASSWORD, "token_policies": ["hms-viewer"]})
        config = {"JWTValidationPubKeys": [PUBLIC_KEY], "BoundAudiences": [AUDIENCE], "ClaimMappings": {"sub": "who"}}
        method = {"Name": "people", "Type": "jwt", "MaxTokenTTL": "10m", "Description": OWNER_MARK, "Config": config}
        session.consul.write_acl("auth-method", method)
        rule = {"AuthMethod": "people", "Description": "", "BindType": "policy", "BindName": "hms-viewer"}
        session.consul.write_binding_rule({**rule, "Selector": ""})
        headers = {"X-Nomad-Token": secure.security.stored("nomad-management")}
        secure.post(
            f"{session.nomad.address}/v1/acl/auth-method",
            {"Name": "people", "Type": "JWT", "TokenLocality": "local", "MaxTokenTTL": "10m", "Config": config},
            headers,
        )
        secure.post(f"{session.nomad.address}/v1/acl/binding-rule", {**rule, "Selector": ""}, headers)


def test_who_logs_in_has_the_rights_of_that_login_until_logging_out(secure: SecureStack, secure_cli: Cli) -> None:
    try:
        told = []
        for server in ("nomad", "consul"):
            told.append(
                run_cli(secure.stack, "login", server, "--method", "people", "--jwt-file", "-", stdin=signed("j"))
            )
        told.append(run_cli(secure.stack, "login", "vault", "--user", "jane", stdin=f"{PASSWORD}\n"))
        assert [one.exit_code for one in told] == [0, 0, 0], [one.stderr for one in told]
        shown = json.loads(secure_cli("context", "show", "--output", "json").stdout)["context"]["servers"]
        assert all(one["token_from"].startswith("login until") for one in shown)

        # What lookers may, and nothing else: the stack's own tokens are the deployer's.
        told += [secure_cli("status"), secure_cli("stop", "no-such", "--yes"), secure_cli("bootstrap", "--plan")]
        assert told[3].exit_code == 0, told[3].stderr
        assert {one.exit_code for one in told[4:]} <= {8}
        tokens = [json.loads(file.read_text())["token"] for file in secure.stack.config_dir.glob("logins/*/*.json")]
        assert len(tokens) == 3
        assert not [one for one in told for secret in (*tokens, PASSWORD) if secret in one.stdout + one.stderr]
    finally:
        out = secure_cli("logout", "--output", "json")
    assert json.loads(out.stdout)["servers"] == ["nomad", "consul", "vault"]
    assert not list(secure.stack.config_dir.glob("logins/*/*.json"))
    assert secure_cli("context", "show").stdout.count("login") == 0
