"""What is not trusted is refused before anything is written, and a password is nowhere but where it is wanted."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from hms_nomad.build.signatures import signature_tag
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient
from hms_nomad.workflows.session import Session
from tests.contract.test_registry_faults import PASSWORD, USERS
from tests.live.build.conftest import Builder, Ran, signed_only, signing_key, write_app
from tests.live.conftest import LiveStack, own_docker
from tests.registry_server import image_registry

_KINDS = ("defaults", "resolver", "router", "splitter", "intentions")


def _written(session: Session, name: str) -> list[object]:
    """Everything that a deploy would write: entries, locks, journals, records, the audit trail and the job."""
    consul, job = session.consul, session.nomad.read_job(name)
    kinds = [*(f"service-{kind}" for kind in _KINDS), "http-route"]
    entries = sorted((one.kind, one.name, one.modify_index) for kind in kinds for one in consul.list_entries(kind))
    keys = sorted((pair.key, pair.modify_index, pair.session) for pair in consul.kv_list("hms-nomad"))
    return [entries, keys, job and (job.version, job.modify_index)]


def _tampered(host: str, name: str) -> bytes:
    """Move the tag to other bytes, give these the signature of the first ones, and answer the first ones."""
    client = RegistryClient(Connection(f"http://{host}"))
    found = client.manifest(name, "1.0.0")
    assert found is not None
    signature = client.manifest(name, signature_tag(found.digest))
    assert signature is not None
    other = json.dumps({**found.body, "annotations": {"tampered": "yes"}}).encode()
    digest = client.put_manifest(name, "1.0.0", other, OCI_MANIFEST)
    client.put_manifest(name, signature_tag(digest), signature.data, OCI_MANIFEST)
    client.close()
    return bytes(found.data)


def test_only_what_a_trusted_key_signed_is_deployed_and_a_refusal_writes_nothing(
    builder: Builder, session: Session, service: str, tmp_path: Path
) -> None:
    trusted, other = signing_key(tmp_path), signing_key(tmp_path, "other")
    sources = write_app(tmp_path / "app", service)
    assert builder.cli("build", sources).exit_code == 0
    image = {"image": f"{builder.host}/{service}:1.0.0", "build": None}
    file = write_app(tmp_path / "image", service, **image)
    before = _written(session, service)

    def refused(*words: object) -> None:
        ran: Ran = builder.cli(*words)
        assert ran.exit_code == 8, ran.stdout + ran.stderr
        assert "[HMS600] rule signed" in ran.stderr
        assert "is not signed by release.pub" in ran.stderr
        assert _written(session, service) == before

    with builder.changed(rules=signed_only(tmp_path)):
        refused("plan", file)
        refused("deploy", file)
        refused("deploy", file, "--sign", other)
        assert builder.cli("build", sources, "--sign", trusted).exit_code == 0
        signed = _tampered(builder.host, service)
        refused("deploy", file)
        client = RegistryClient(Connection(f"http://{builder.host}"))
        digest = client.put_manifest(service, "1.0.0", signed, OCI_MANIFEST)
        ran = builder.cli("deploy", file)
        assert ran.exit_code == 0, ran.stderr
        job = session.nomad.read_job(service)
        assert job is not None
        assert job.body["TaskGroups"][0]["Tasks"][0]["Config"]["image"] == f"{builder.host}/{service}@{digest}"
        before = _written(session, service)
        _tampered(builder.host, service)
        refused("deploy", file)
        client.close()
    assert builder.cli("stop", service, "--purge", "--yes").exit_code == 0


@pytest.mark.real_nomad("a docker driver that logs in to registries")
def test_the_password_of_a_registry_comes_from_vault_and_the_nodes_have_their_own(
    builder: Builder, stack: LiveStack, session: Session, service: str, tmp_path: Path
) -> None:
    vault = session.vault
    assert vault is not None
    mount = f"passwords-{service}"
    vault.enable_secrets(mount, "kv")
    vault.write(f"{mount}/team", {"username": "ann", "password": PASSWORD})
    auth = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    told = []
    with image_registry(tmp_path / "registry", USERS) as host:
        images = {"registry": host, "bases": {"python": "hms-base/python:local"}}
        with builder.changed(images={**images, "registries": {host: {"vault": f"{mount}/team"}}}):
            file = write_app(tmp_path / "app", service, allow=["tax-portal"], rollout={"deadline": "20s"})
            failed = builder.cli("deploy", file)
            assert failed.exit_code == 5, failed.stdout + failed.stderr
            assert "D616: the registry lets the node pull nothing without a password" in failed.stderr, failed.stderr
            examined = builder.cli("doctor", "--service", service, "--output", "json")
            found = [one["code"] for one in json.loads(examined.stdout)["findings"] if one["subject"] == service]
            assert "D616" in found, examined.stdout
            try:
                own_docker(stack.config_dir).write_text(json.dumps({"auths": {host: {"auth": auth}}}), "utf-8")
                ran = builder.cli("deploy", file)
            finally:
                own_docker(stack.config_dir).write_text("{}", encoding="utf-8")
            assert ran.exit_code == 0, ran.stderr
            called = builder.cli("call", "GET", f"http://{service}.mesh/", "--as", "tax-portal")
            assert '"says": "first"' in called.stdout, called.stderr
            listed = builder.cli("sbom", service, "--output", "json")
            assert listed.exit_code == 0, listed.stderr
            for one in (failed, examined, ran, called, listed):
                told += [one.stdout, one.stderr]
            told += [str(one.body) for one in session.nomad.job_versions(service)]
            assert builder.cli("stop", service, "--purge", "--yes").exit_code == 0
    vault.delete(f"sys/mounts/{mount}")
    told += [pair.value.decode("utf-8", "replace") for pair in session.consul.kv_list("hms-nomad")]
    told += [one.read_text("utf-8", "replace") for one in stack.settings.state_dir.glob("*/*.log")]
    assert not [text[:200] for text in told if PASSWORD in text or auth in text]
