"""What was planned is what runs: built here, pushed to a real registry, and never moved by a tag."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient
from hms_nomad.workflows.session import Session
from tests.live.build.conftest import Builder, write_app
from tests.live.faults.proxy import FaultProxy, Rule, refused_port
from tests.registry_server import image_registry

_CANARY = "canary-of-the-registry-password"
_TROUBLES: dict[str, tuple[dict[str, Any], str, int]] = {
    "away": ({}, "refused", 6),
    "slow": ({"delay": 3.0}, "", 6),
    "full": ({}, "no space left on device", 6),
    "asking for a password": ({"status": 401, "headers": {"WWW-Authenticate": 'Basic realm="x"'}}, "", 8),
    "asked too often": ({"status": 429}, "HTTP 429", 6),
    "failing": ({"status": 500}, "HTTP 500", 6),
}
"""What befalls every request, words of the error, and the exit code."""


@dataclass(frozen=True, slots=True)
class First:
    """A release that runs: the service, the spec of its next release, and where the job stood."""

    name: str
    next: Path
    modify_index: int


def _image(session: Session, name: str) -> str:
    job = session.nomad.read_job(name)
    assert job is not None
    return str(job.body["TaskGroups"][0]["Tasks"][0]["Config"]["image"])


def _running(session: Session, name: str) -> str:
    (one,) = [each for each in session.nomad.job_allocations(name).value if not each.done]
    return one.id


def _replaced(session: Session, name: str, before: str) -> str:
    """The instance that came for one that was stopped, once it runs."""
    index, deadline = 0, time.monotonic() + 90
    while time.monotonic() < deadline:
        answer = session.nomad.job_allocations(name, index=index, wait=15)
        index = answer.index
        for one in answer.value:
            # An instance counts as running when its sidecar does.
            if one.id != before and (app := one.tasks.get("app")) and app.state == "running":
                return one.id
    raise AssertionError(f"nothing came for {before}")


def _digests_in(allocation: str) -> str:
    """The digests of the image that the container of an instance was made of, as the engine knows them."""
    inspect = ["docker", "inspect", "--format"]
    done = subprocess.run([*inspect, "{{.Image}}", f"app-{allocation}"], capture_output=True, text=True, check=True)
    shown = [*inspect, "{{.RepoDigests}}", done.stdout.strip()]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout


def _retag(host: str, name: str, word: str = "yes") -> str:
    """Move the tag to other bytes: the same image with one more annotation."""
    client = RegistryClient(Connection(f"http://{host}"))
    found = client.manifest(name, "1.0.0")
    assert found is not None
    other = json.dumps({**found.body, "annotations": {"moved": word}}).encode()
    digest = client.put_manifest(name, "1.0.0", other, OCI_MANIFEST)
    client.close()
    return digest


def test_a_tag_that_moves_between_plan_apply_and_two_starts_changes_nothing(
    builder: Builder, session: Session, service: str, tmp_path: Path
) -> None:
    file = write_app(tmp_path / "app", service)
    built = builder.cli("build", file, "--output", "json")
    assert built.exit_code == 0, built.stderr
    (body,) = json.loads(built.stdout)["built"]
    again = json.loads(builder.cli("build", file, "--no-cache", "--output", "json").stdout)["built"][0]
    assert again["pin"] == body["pin"], "the same sources are the same bytes"
    kept = tmp_path / "next.plan"
    planned = builder.cli("plan", file, "--out", kept)
    assert planned.exit_code == 1, planned.stderr
    digest = body["pin"].rpartition("@")[2]
    assert f"image {builder.host}/{service}:1.0.0 is {digest}" in planned.stdout
    moved = _retag(builder.host, service)
    assert moved != digest
    ran = builder.cli("deploy", kept)
    assert ran.exit_code == 0, ran.stderr
    assert _image(session, service) == f"{builder.host}/{service}@{digest}"
    first = _running(session, service)
    assert digest in _digests_in(first)
    assert _retag(builder.host, service, "again") not in (digest, moved)
    session.nomad.stop_allocation(first)
    second = _replaced(session, service, first)
    assert digest in _digests_in(second)
    assert _image(session, service) == f"{builder.host}/{service}@{digest}"
    (release,) = json.loads(builder.cli("history", service, "--output", "json").stdout)["releases"]
    assert release["images"] == {f"{builder.host}/{service}:1.0.0": f"{builder.host}/{service}@{digest}"}
    builder.cli("stop", service, "--purge", "--yes")


@pytest.fixture(scope="module")
def first(builder: Builder, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """A release that runs, of a service whose next release is built and not pushed yet."""
    name = f"svc-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("first") / "app"
    ran = builder.cli("deploy", write_app(folder, name, allow=["tax-portal"]))
    assert ran.exit_code == 0, ran.stderr
    job = session.nomad.read_job(name)
    assert job is not None
    yield First(name, write_app(folder, name, word="second", version="1.0.1", allow=["tax-portal"]), job.modify_index)
    builder.cli("stop", name, "--purge", "--yes")


@contextlib.contextmanager
def _in_trouble(builder: Builder, trouble: str, folder: Path) -> Iterator[str]:
    """The address of the builder's registry, or of one like it, that is as ``trouble`` says."""
    if trouble == "away":
        yield f"http://127.0.0.1:{refused_port()}"
    elif trouble == "full":
        (folder / "data").mkdir(parents=True)
        small = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder / "data")]
        if subprocess.run(small, capture_output=True, check=False).returncode != 0:
            pytest.skip("no right to mount a small disk on this machine")
        with image_registry(folder) as host:
            yield f"http://{host}"
    else:
        rule = Rule(path="/v2/", times=1000, **_TROUBLES[trouble][0])
        with FaultProxy(f"http://{builder.host}", [rule], threading.Lock()) as proxy:
            yield proxy.address


@pytest.mark.parametrize("trouble", _TROUBLES)
def test_a_registry_in_trouble_is_named_and_leaves_the_old_release_alone(
    builder: Builder, session: Session, first: First, tmp_path: Path, trouble: str
) -> None:
    _, words, code = _TROUBLES[trouble]
    kept = builder.context.read_text(encoding="utf-8")
    body = yaml.safe_load(kept)
    with _in_trouble(builder, trouble, tmp_path / "registry") as address:
        body["images"]["registries"] = {builder.host: {"address": address, "timeout": 1}}
        builder.context.write_text(yaml.safe_dump(body), encoding="utf-8")
        ran = builder.cli("deploy", first.next)
        builder.context.write_text(kept, encoding="utf-8")
    assert ran.exit_code == code, ran.stderr
    assert re.search(f"registry at {address}: cannot .*{words}", ran.stderr), ran.stderr
    job = session.nomad.read_job(first.name)
    assert job is not None
    assert job.modify_index == first.modify_index
    (release,) = json.loads(builder.cli("history", first.name, "--output", "json").stdout)["releases"]
    (image,) = release["images"].values()
    assert _image(session, first.name) == image
    assert image.rpartition("@")[2] in _digests_in(_running(session, first.name))
    called = builder.cli("call", "GET", f"http://{first.name}.mesh/", "--as", "tax-portal")
    assert '"says": "first"' in called.stdout, called.stderr
    client = RegistryClient(Connection(f"http://{builder.host}"))
    assert client.resolve(first.name, "1.0.1") is None, "nothing of the push can be pulled"
    client.close()


def test_a_process_gets_its_files_as_an_archive_by_checksum(
    builder: Builder, session: Session, service: str, tmp_path: Path
) -> None:
    file = write_app(tmp_path / "app", service, image=None, command=["python3", "local/app.py"])
    planned = builder.cli("plan", file)
    assert planned.exit_code == 1, planned.stderr
    ran = builder.cli("deploy", file)
    assert ran.exit_code == 0, ran.stderr
    job = session.nomad.read_job(service)
    assert job is not None
    (artifact,) = job.body["TaskGroups"][0]["Tasks"][0]["Artifacts"]
    assert artifact["GetterOptions"]["checksum"].startswith("sha256:")
    assert builder.cli("plan", file).exit_code == 0
    builder.cli("stop", service, "--purge", "--yes")


def test_credentials_are_in_no_job_no_log_and_no_image(
    builder: Builder, session: Session, service: str, tmp_path: Path
) -> None:
    docker = tmp_path / "docker"
    docker.mkdir()
    auth = {"auths": {builder.host: {"username": "ann", "password": _CANARY}}}
    (docker / "config.json").write_text(json.dumps(auth), encoding="utf-8")
    file = write_app(tmp_path / "app", service)
    (tmp_path / "app" / ".env").write_text(f"TOKEN={_CANARY}", encoding="utf-8")
    ran = builder.cli("deploy", file, DOCKER_CONFIG=str(docker))
    assert ran.exit_code == 0, ran.stderr
    job = session.nomad.read_job(service)
    assert job is not None
    client = RegistryClient(Connection(f"http://{builder.host}"))
    manifest = client.manifest(service, "1.0.0")
    assert manifest is not None
    config = client.blob(service, manifest.body["config"]["digest"]).decode()
    client.close()
    for text in (ran.stdout, ran.stderr, json.dumps(dict(job.body), default=dict), manifest.data.decode(), config):
        assert _CANARY not in text
    builder.cli("stop", service, "--purge", "--yes")
