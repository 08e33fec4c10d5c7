"""Secrets of services on a secure stack: each reads its own and no other's, and they are nowhere else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests

from hms_nomad.clients.vault import VaultClient
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.live.secure.conftest import SecureStack
from tests.live.secure.secret_services import Canaries, Services
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]


@pytest.fixture
def clients(secure: SecureStack) -> Iterator[Session]:
    with secure.as_admin() as session:
        yield session


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _asked(cli: Cli, name: str) -> dict[str, Any]:
    answered = cli("call", "GET", f"http://{name}.mesh/", "--as", "tester")
    assert answered.exit_code == 0, answered.stderr
    return dict(json.loads(answered.stdout))


def _keep_variable(secure: SecureStack, address: str, path: str, items: dict[str, str]) -> None:
    """Write a variable of Nomad, which this program only ever lets jobs read."""
    headers = {"X-Nomad-Token": secure.security.stored("nomad-management")}
    answer = requests.put(
        f"{address}/v1/var/{path}",
        json={"Path": path, "Items": items},
        headers=headers,
        verify=secure.security.ca_file,
        timeout=10,
    )
    answer.raise_for_status()


def _roles(vault: VaultClient) -> set[str]:
    return {name for name in vault.list_keys("auth/jwt-nomad/role") if name.startswith("hms-svc-")}


def test_a_service_gets_its_secrets_in_every_form_and_they_are_nowhere_else(
    secure: SecureStack, secure_cli: Cli, clients: Session, services: Services, canaries: Canaries
) -> None:
    vault = clients.vault
    assert vault is not None
    word, key, variable = canaries.new("word"), canaries.new("key"), canaries.new("variable")
    vault.kv_write("secret", "forms", {"word": word, "api-key": key, "port": 5432}, version=0)
    _keep_variable(secure, clients.nomad.address, "nomad/jobs/forms", {"token": variable})
    secrets = {
        "OWN_WORD": "vault:secret/forms#word",
        "OWN_KEY": "vault:secret/forms#api-key",
        "OWN": "vault:secret/forms",
        "OWN_VARIABLE": {"ref": "nomad:var/nomad/jobs/forms#token", "change": "none"},
        "file": {"ref": "vault:secret/forms#word", "file": "word", "change": "signal", "signal": "SIGHUP"},
        "all": {"ref": "vault:secret/forms", "file": "all.json", "mode": "0640", "change": "none"},
        "tls": {"ref": "pki", "file": "tls.pem", "names": ["forms.mesh", "forms.gov"], "ttl": "24h"},
    }

    planned = secure_cli("plan", services.file("forms", secrets))
    done = services.deploy("forms", secrets, "--trace")
    assert done.exit_code == 0, done.stderr
    again = services.deploy("forms", secrets)
    assert "nothing to change" in again.stdout

    found = _asked(secure_cli, "forms")
    assert {name: found[name] for name in ("OWN_WORD", "OWN_KEY", "OWN_VARIABLE", "OWN_API_KEY", "OWN_PORT")} == {
        "OWN_WORD": _digest(word),
        "OWN_KEY": _digest(key),
        "OWN_VARIABLE": _digest(variable),
        "OWN_API_KEY": _digest(key),
        "OWN_PORT": _digest("5432"),
    }
    assert found["word"] == [_digest(word), "0o600"]
    assert found["all.json"][1] == "0o640"
    assert found["tls.pem"][1] == "0o600"
    assert not [name for name in ("vault_token",) if name in found]
    assert found["names"] == []

    nomad, consul = clients.nomad, clients.consul
    job = nomad.read_job("forms")
    assert job is not None
    told = [planned.stdout, planned.stderr, done.stdout, done.stderr, again.stdout, again.stderr]
    told += [str(job.body), str([version.body for version in nomad.job_versions("forms")])]
    told += [pair.value.decode("utf-8", "replace") for pair in consul.kv_list("hms-nomad")]
    told += [secure_cli(*words).stdout for words in (("audit", "list"), ("history", "forms"), ("logs", "forms"))]
    told += [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    state = secure.stack.settings.state_dir
    told += [file.read_text("utf-8", "replace") for file in state.glob("*/*.log")]
    assert not [names for text in told if (names := canaries.found_in(text))]
    assert secure_cli("drift", "forms").exit_code == 0


def test_a_changed_secret_is_written_anew_and_a_signal_says_so(
    secure: SecureStack, secure_cli: Cli, clients: Session, services: Services, canaries: Canaries
) -> None:
    place = (clients.nomad.address, "nomad/jobs/changing")
    _keep_variable(secure, *place, {"word": canaries.new("before")})
    secrets = {"f": {"ref": "nomad:var/nomad/jobs/changing#word", "file": "w", "change": "signal", "signal": "SIGHUP"}}
    assert services.deploy("changing", secrets).exit_code == 0
    assert _asked(secure_cli, "changing")["signals"] == []

    after = canaries.new("after")
    _keep_variable(secure, *place, {"word": after})

    def told() -> bool:
        found = _asked(secure_cli, "changing")
        return bool(found["w"][0] == _digest(after) and found["signals"] == ["SIGHUP"])

    eventually(told, seconds=60)


def test_a_service_cannot_be_another_whose_name_begins_alike(
    secure_cli: Cli, clients: Session, services: Services, canaries: Canaries
) -> None:
    vault = clients.vault
    assert vault is not None
    for name in ("tax", "tax-web"):
        vault.kv_write("secret", name, {"word": canaries.new(name)}, version=0)
    assert services.deploy("tax", {"OWN_A": "vault:secret/tax#word"}).exit_code == 0
    assert services.deploy("tax-web", {"OWN_A": "vault:secret/tax-web#word"}).exit_code == 0
    assert _asked(secure_cli, "tax")["OWN_A"] == _digest(canaries.values["tax"])
    assert _asked(secure_cli, "tax-web")["OWN_A"] == _digest(canaries.values["tax-web"])

    role = next(name for name in _roles(vault) if name.startswith("hms-svc-default.tax."))
    other = next(name for name in _roles(vault) if name.startswith("hms-svc-default.tax-web."))
    stolen = {"task": {"Vault": {"Role": role}}}
    thief = services.deploy("tax-w", {"OWN_A": "vault:secret/tax#word"}, "--timeout", "60s", nomad=stolen)
    assert thief.exit_code == 5
    assert "does not match any associated bound claim values" in thief.stdout + thief.stderr
    policy = vault.read_policy(other)
    assert policy is not None
    assert '"secret/data/tax-web"' in policy
    assert '"secret/data/tax"' not in policy


def test_what_a_release_does_not_need_any_more_is_nobodys_and_a_purge_leaves_nothing(
    secure_cli: Cli, clients: Session, services: Services
) -> None:
    vault = clients.vault
    assert vault is not None
    vault.kv_write("secret", "fewer", {"a": "1", "b": "2"}, version=0)
    before = _roles(vault)
    assert services.deploy("fewer", {"OWN_A": "vault:secret/fewer#a", "OWN_B": "vault:secret/fewer#b"}).exit_code == 0
    first = _roles(vault) - before
    assert services.deploy("fewer", {"OWN_A": "vault:secret/fewer#a"}).exit_code == 0
    second = _roles(vault) - before
    assert len(first) == len(second) == 1
    assert first != second

    assert secure_cli("rollback", "fewer", "--yes").exit_code == 0
    assert _roles(vault) - before == first
    assert secure_cli("stop", "fewer", "--purge", "--yes").exit_code == 0
    assert _roles(vault) == before
    assert not [name for name in vault.list_keys("sys/policies/acl") if name.startswith("hms-svc-default.fewer.")]


def test_a_field_that_is_not_there_is_named_and_no_instance_starts(clients: Session, services: Services) -> None:
    vault = clients.vault
    assert vault is not None
    vault.kv_write("secret", "lacking", {"a": "1"}, version=0)

    failed = services.deploy("lacking", {"OWN_A": "vault:secret/lacking#b"}, "--timeout", "60s")
    assert failed.exit_code == 5
    assert "secret/lacking has no field b" in failed.stdout + failed.stderr
