"""From what runs back to the commit: built, signed and deployed on real servers, then changed by somebody else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient
from hms_nomad.workflows.session import Session
from tests.live.build.conftest import Builder, signed_only, signing_key, write_app

_METADATA = "Metadata-Version: 2.4\nName: vendored\nVersion: 1.2.3\nLicense-Expression: MIT\n"


def _committed(folder: Path) -> str:
    """Make a repository of a directory; answers its commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=ann", "-c", "user.email=ann@gov"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _states(stdout: str) -> dict[str, str]:
    (chain,) = json.loads(stdout)["chains"]
    return {link["name"]: link["state"] for link in chain["links"]}


def test_what_runs_is_followed_back_to_its_commit_and_a_change_is_found(
    builder: Builder, session: Session, service: str, tmp_path: Path
) -> None:
    file = write_app(tmp_path / "app", service)
    package = tmp_path / "app" / "vendored-1.2.3.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(_METADATA, encoding="utf-8")
    commit = _committed(tmp_path / "app")
    key = signing_key(tmp_path)
    with builder.changed(rules=signed_only(tmp_path)):
        unsigned = builder.cli("deploy", file)
        assert unsigned.exit_code == 8, unsigned.stderr
        assert "is not signed by release.pub" in unsigned.stderr
        assert session.nomad.read_job(service) is None
        ran = builder.cli("deploy", file, "--sign", key)
        assert ran.exit_code == 0, ran.stderr
        shown = builder.cli("provenance", service, "--output", "json")
        assert shown.exit_code == 0, shown.stderr + shown.stdout
        assert set(_states(shown.stdout).values()) == {"verified"}
        (chain,) = json.loads(shown.stdout)["chains"]
        assert chain["links"][-1]["facts"]["commit"] == commit
        assert chain["instances"] == 1
        listed = json.loads(builder.cli("sbom", service, "--output", "json").stdout)
        assert [(one["name"], one["version"]) for one in listed["packages"]] == [("vendored", "1.2.3")]
        bill = json.loads(builder.cli("sbom", service, "--output", "cyclonedx").stdout)
        assert bill["bomFormat"] == "CycloneDX"
        (release,) = json.loads(builder.cli("history", service, "--output", "json").stdout)["releases"]
        (evidence,) = release["evidence"].values()
        assert (evidence["commit"], evidence["bill"]) == (commit, listed["bill"])
        assert evidence["statement"] == chain["links"][4]["facts"]["digest"]
        _swap(builder, session, service)
        found = builder.cli("provenance", service, "--output", "json")
        assert found.exit_code == 8
        assert f"error [provenance-mismatch]: {service} does not run what its job says" in found.stderr
    builder.cli("stop", service, "--purge", "--yes")


def _swap(builder: Builder, session: Session, name: str) -> None:
    """Let the job run other bytes of the same repository, as somebody with Nomad's own command could."""
    client = RegistryClient(Connection(f"http://{builder.host}"))
    found = client.manifest(name, "1.0.0")
    assert found is not None
    other = json.dumps({**found.body, "annotations": {"other": "yes"}}).encode()
    digest = client.put_manifest(name, "other", other, OCI_MANIFEST)
    client.close()
    job = session.nomad.read_job(name)
    assert job is not None
    body = json.loads(json.dumps(dict(job.body), default=dict))
    tasks = body["TaskGroups"][0]["Tasks"]
    next(task for task in tasks if task["Name"] == "app")["Config"]["image"] = f"{builder.host}/{name}@{digest}"
    session.nomad.register_job(body, job.modify_index)
    index = 0
    for _ in range(20):
        answer = session.nomad.job_allocations(name, index=index, wait=10)
        index = answer.index
        if any(one.job_version > job.version and one.client_status == "running" for one in answer.value):
            return
    raise AssertionError("the changed job never ran")
