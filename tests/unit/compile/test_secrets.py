"""What a spec's secrets compile to: where they come to the task, and what the service may read for that."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform, PlatformError, Secrets, ServerAddress
from hms_nomad.spec.secrets import Reference, parse_reference
from tests.unit.specs import spec

PLATFORM = Platform(vault=ServerAddress(address="https://vault:8200"))


def compiled(platform: Platform = PLATFORM, **fields: Any) -> Any:
    return compile_spec(spec(**fields), platform)


def task_of(desired: Any, number: int = 0) -> dict[str, Any]:
    return dict(desired.job["TaskGroups"][0]["Tasks"][number])


def templates(desired: Any) -> dict[str, dict[str, Any]]:
    return {one["DestPath"]: one for one in task_of(desired).get("Templates", ())}


def objects(desired: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    return {one["kind"]: (one["name"], one["body"]) for one in desired.vault}


def rights(desired: Any) -> dict[str, str]:
    text = objects(desired)["vault policy"][1]["policy"]
    return dict(re.findall(r'path "([^"]+)" \{ capabilities = \["(\w+)"\] \}', text))


def test_without_secrets_nothing_speaks_of_vault() -> None:
    desired = compiled()

    assert desired.vault == ()
    assert not {"Vault", "Identities"} & set(task_of(desired))


def test_a_variable_is_rendered_into_an_environment_file_that_only_the_task_reads() -> None:
    found = templates(compiled(secrets={"DB_PASSWORD": "vault:secret/receipt#password"}))
    one = found["secrets/hms-env-restart.env"]

    assert (one["Envvars"], one["Perms"], one["ChangeMode"], one["ErrMissingKey"]) == (True, "0600", "restart", True)
    assert one["EmbeddedTmpl"].startswith('{{ with secret "secret/data/receipt" }}DB_PASSWORD={{ with index .Data.data')
    assert "| toJSON" in one["EmbeddedTmpl"]


@pytest.mark.parametrize(
    ("change", "signal", "expected"),
    [
        ("restart", None, {"ChangeMode": "restart"}),
        ("none", None, {"ChangeMode": "noop"}),
        ("signal", "SIGHUP", {"ChangeMode": "signal", "ChangeSignal": "SIGHUP"}),
    ],
)
def test_a_file_says_what_happens_when_it_changes(change: str, signal: str | None, expected: dict[str, str]) -> None:
    secret = {"ref": "vault:secret/receipt", "file": "db.json", "change": change, "mode": "0640"}
    one = templates(compiled(secrets={"db": {**secret, "signal": signal}}))["secrets/db.json"]

    assert one | expected == one
    assert one["Perms"] == "0640"
    assert one["EmbeddedTmpl"] == '{{ with secret "secret/data/receipt" }}{{ .Data.data | toJSON }}{{ end }}'


@pytest.mark.parametrize(
    ("fields", "owner"),
    [
        ({"user": "10001"}, (10001, 10001)),
        ({"user": "10001:20"}, (10001, 20)),
        ({"image": None, "command": ["x"], "driver": "exec"}, (65534, 65534)),
        ({"image": None, "command": ["x"], "driver": "raw_exec"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_a_file_belongs_to_whom_the_task_runs_as(fields: dict[str, Any], owner: tuple[int | None, int | None]) -> None:
    secret = {"ref": "vault:secret/receipt#key", "file": "key"}
    one = templates(compiled(secrets={"key": secret}, **fields))["secrets/key"]

    assert (one.get("Uid"), one.get("Gid")) == owner


def test_the_token_of_vault_stays_out_of_the_task_and_its_renewal_restarts_nothing() -> None:
    task = task_of(compiled(secrets={"A": "vault:secret/receipt#a"}))

    assert (task["Vault"]["Env"], task["Vault"]["DisableFile"], task["Vault"]["ChangeMode"]) == (False, True, "noop")
    assert task["Identities"][0]["Name"] == "vault_default"


def test_the_policy_allows_what_is_declared_and_nothing_more() -> None:
    secrets = {
        "A": "vault:secret/receipt#a",
        "B": "vault:secret/receipt/deep#b",
        "DB": "vault:database/creds/receipt",
        "tls": {"ref": "pki", "file": "tls.pem"},
        "V": "nomad:var/nomad/jobs/receipt-svc#v",
    }
    desired = compiled(secrets=secrets)
    name = objects(desired)["vault policy"][0]

    assert rights(desired) == {
        "secret/data/receipt": "read",
        "secret/data/receipt/deep": "read",
        "database/creds/receipt": "read",
        f"pki/issue/{name}": "update",
        "sys/leases/renew": "update",
        "auth/token/lookup-self": "read",
        "auth/token/renew-self": "update",
        "auth/token/revoke-self": "update",
    }
    assert not [path for path in rights(desired) if "*" in path or "+" in path]


def test_the_role_is_bound_to_exactly_one_job_of_one_namespace() -> None:
    _, role = objects(compiled(secrets={"A": "vault:secret/receipt#a"}))["vault role"]

    assert role["bound_claims"] == {"nomad_namespace": "default", "nomad_job_id": "receipt-svc"}
    assert role["bound_claims_type"] == "string"
    assert role["token_no_default_policy"] is True
    assert role["token_policies"] == [objects(compiled(secrets={"A": "vault:secret/receipt#a"}))["vault policy"][0]]


def test_names_that_begin_alike_have_roles_that_do_not() -> None:
    def stem(name: str, namespace: str = "default") -> str:
        platform = PLATFORM.changed(namespace=namespace)
        whole = objects(compiled(platform, name=name, secrets={"A": "vault:secret/x#a"}))["vault policy"][0]
        return whole.rpartition(".")[0] + "."

    stems = [stem("tax"), stem("tax-web"), stem("tax-web-b"), stem("web", "tax"), stem("b", "tax-web")]
    assert len(set(stems)) == len(stems)
    assert not [(a, b) for a in stems for b in stems if a != b and a.startswith(b)]


def test_another_set_of_secrets_is_another_role_and_another_release() -> None:
    one = compiled(secrets={"A": "vault:secret/receipt#a"})
    two = compiled(secrets={"A": "vault:secret/receipt#a", "B": "vault:secret/other#b"})

    assert objects(one)["vault role"][0] != objects(two)["vault role"][0]
    assert one.release != two.release


def test_a_certificate_is_issued_for_the_names_that_are_declared_or_that_of_the_mesh() -> None:
    plain = compiled(secrets={"tls": {"ref": "pki", "file": "tls.pem"}})
    named = compiled(secrets={"tls": {"ref": "pki", "file": "tls.pem", "names": ["b.gov", "a.gov"], "ttl": "24h"}})

    assert objects(plain)["vault pki role"][1]["allowed_domains"] == ["receipt-svc.mesh"]
    name, body = objects(named)["vault pki role"]
    assert (body["allowed_domains"], body["max_ttl"], body["allow_subdomains"]) == (["a.gov", "b.gov"], 86400, False)
    text = templates(named)["secrets/tls.pem"]["EmbeddedTmpl"]
    asked = f'pkiCert "pki/issue/{name.removeprefix("pki/roles/")}"'
    assert f'{asked} "common_name=b.gov" "alt_names=b.gov,a.gov" "ttl=86400s"' in text


def test_only_mounts_of_kv_2_have_their_values_a_level_deeper() -> None:
    platform = PLATFORM.changed(secrets=Secrets(kv=("team/kv", "secret")))
    desired = compiled(platform, secrets={"A": "vault:team/kv/x#a", "B": "vault:old/x#b"})

    assert {"team/kv/data/x", "old/x"} <= set(rights(desired))


def test_variables_of_nomad_need_no_vault() -> None:
    desired = compiled(Platform(), secrets={"A": "nomad:var/nomad/jobs/receipt-svc#a"})

    assert desired.vault == ()
    assert 'nomadVar "nomad/jobs/receipt-svc"' in json.dumps(desired.job).replace('\\"', '"')
    with pytest.raises(PlatformError, match="names none"):
        compiled(Platform(), secrets={"A": "vault:secret/a#b"})


def test_a_helper_has_its_own_secrets_and_the_service_does_not_see_them() -> None:
    helper = {"hook": "prestart", "image": "m", "secrets": {"M": "vault:secret/migrate#m"}}
    desired = compiled(tasks={"migrate": helper})

    assert "Vault" not in task_of(desired)
    assert "Vault" in task_of(desired, 1)
    assert "secret/data/migrate" in rights(desired)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pki", Reference("pki")),
        ("vault:secret/a#b", Reference("vault", "secret/a", "b")),
        ("vault:database/creds/x", Reference("vault", "database/creds/x")),
        ("nomad:var/nomad/jobs/x#y", Reference("nomad", "nomad/jobs/x", "y")),
    ],
)
def test_a_reference_names_a_place(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "vault:secret",
        "vault:secret/../sys#a",
        "vault:secret//a#b",
        "vault:/secret/a#b",
        'vault:secret/a" }}{{ env "X" }}#b',
        "vault:secret/a#b}}",
        "vault:secret/a#",
        "vault:secret/*#a",
        "vault:secret/a b#c",
        "nomad:var/#a",
        "nomad:jobs/a#b",
    ],
)
def test_what_could_leave_its_place_in_a_template_or_a_policy_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match=r"no path|no name|neither|mount alone"):
        parse_reference(text)
