"""A real registry in trouble while an image is pushed: the fault names it, and nothing of the push can be pulled."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from hms_nomad.apply.progress import Event
from hms_nomad.build.engine import find_engine
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.credentials import Credentials
from hms_nomad.clients.errors import DeniedError, ServerError, UnavailableError
from hms_nomad.clients.oci import RegistryClient
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.output.faults import classify
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_images import Images, RegistryAccess
from hms_nomad.sections.reading import read
from hms_nomad.workflows.building.signatures import read_signing_key
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile
from tests.live.faults.proxy import FaultProxy, Rule
from tests.registry_server import image_registry
from tests.signed_images import key_pair
from tests.unit.specs import spec

PASSWORD = "canary-of-the-registry"
USERS = "ann:$2b$04$FRJZWtw37JL7lRsJsCnksO8hNZk/omA0ATCwBjnGTJAUs0b1.qBSm\n"
"""Ann with that password, as Apache's htpasswd writes it."""

EVERY = 1000


@pytest.fixture(scope="module", autouse=True)
def engine():
    """An engine of this machine builds."""
    if find_engine() is None:
        pytest.skip("no docker on PATH answers at its socket")


def application(folder):
    """A directory with a program that is not much and a Dockerfile."""
    folder.mkdir(exist_ok=True)
    (folder / "kept.txt").write_text("kept")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY kept.txt /\n")
    return folder


def prepared(folder, host, key=None, image="faults", tries=3.0, keeper=None, **access):
    """What a deploy does before it writes anything; of the servers only Nomad's leader can be asked for, and a Vault
    for what it keeps (``keeper``).
    """
    platform = Platform(images=Images(registry=host, registries={host: read(RegistryAccess, access)} if access else {}))
    session = Session(platform, SimpleNamespace(leader=lambda: "x"), SimpleNamespace(), keeper, 0.0, RetryBudget(tries))
    told: list[Event] = []
    file = SpecFile(str(folder / "faults.hms.yml"), spec(image=image, version="1.0.0", build={}))
    ready = prepare(session, (file,), told.append, build=True, key=key)
    return ready.built[0], "\n".join(one.message for one in told)


FAULTS = {
    "it wants credentials": ("POST", "uploads", {"status": 401, "headers": {"WWW-Authenticate": 'Basic realm="x"'}}),
    "it is asked too often": ("HEAD|POST", "blobs", {"status": 429, "body": b'{"errors":[{"message":"slow down"}]}'}),
    "it fails at a layer": ("PUT", "uploads", {"status": 500, "body": b'{"errors":[{"message":"disk failed"}]}'}),
    "it fails at the manifest": ("PUT", "manifests", {"status": 500, "body": b"oops"}),
    "it fails at the tag": ("PUT", "manifests/1", {"status": 503, "body": b"oops"}),
    "it hangs up": ("PUT", "uploads", {"drop": "before"}),
    "it is slow": ("PUT", "manifests", {"delay": 3.0}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_of_a_push_that_fails_nothing_can_be_pulled(tmp_path, fault):
    method, path, what = FAULTS[fault]
    folder = application(tmp_path / "app")
    with image_registry(tmp_path / "registry") as host:
        client = RegistryClient(Connection(f"http://{host}"))
        rules = [Rule(method, path, times=EVERY, **what)]
        with FaultProxy(f"http://{host}", rules, threading.Lock()) as proxy:
            with pytest.raises(ServerError, match=f"registry at {proxy.address}: cannot (push|look)") as caught:
                prepared(folder, host, tries=1.0, address=proxy.address, timeout=1)
            assert client.resolve("faults", "1.0.0") is None
        wanted = (DeniedError, 8) if what.get("status") == 401 else (UnavailableError, 6)
        assert (type(caught.value), classify(caught.value).exit_code) == wanted
        built, _ = prepared(folder, host)
        assert client.resolve("faults", "1.0.0") == built.digest, "and once it is well again, the same command does it"
        client.close()


def test_a_single_failure_is_got_over(tmp_path):
    rules = [
        Rule("PUT", "uploads", status=503, body=b"busy"),
        Rule("PUT", "manifests", drop="after"),
        Rule("HEAD", "blobs", first=3, status=429, headers={"Retry-After": "1"}),
    ]
    with image_registry(tmp_path / "registry") as host, FaultProxy(f"http://{host}", rules, threading.Lock()) as proxy:
        prepared(application(tmp_path / "app"), host, address=proxy.address)
    assert [rule.hit for rule in rules] == [1, 1, 1]


def test_a_registry_that_is_out_of_space_is_named(tmp_path):
    place = tmp_path / "registry"
    (place / "data").mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place / "data")], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small disk on this machine")
    folder = application(tmp_path / "app")
    (folder / "kept.txt").write_bytes(os.urandom(1024 * 1024))
    with image_registry(place) as host:
        client = RegistryClient(Connection(f"http://{host}"))
        with pytest.raises(UnavailableError, match=f"registry at http://{host}: cannot push sha256:.*") as caught:
            prepared(folder, host, tries=1.0)
        assert "no space left on device" in str(caught.value)
        assert client.resolve("faults", "1.0.0") is None
        subprocess.run(["mount", "-o", "remount,size=16m", str(place / "data")], check=True)
        built, _ = prepared(folder, host)
        assert client.resolve("faults", "1.0.0") == built.digest
        client.close()


def test_credentials_are_used_and_nowhere_to_be_found(tmp_path, monkeypatch):
    """The image begins with one of the same registry, which nobody but Ann may read."""
    folder, base = application(tmp_path / "app"), application(tmp_path / "base")
    docker = tmp_path / "docker"
    docker.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(docker))
    key = read_signing_key(str(key_pair(tmp_path, "good")))
    with image_registry(tmp_path / "registry", USERS) as host:
        with pytest.raises(
            DeniedError, match=rf"wants a user and a password, and none are known .*docker login {host}"
        ):
            prepared(base, host)
        auth = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
        (docker / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        image, _ = prepared(base, host, image="base")
        (folder / "Dockerfile").write_text(f"FROM {image.pin}\nCOPY kept.txt /second\n")
        seen = []
        for kit in ("0", "1"):
            monkeypatch.setenv("DOCKER_BUILDKIT", kit)
            subprocess.run(["docker", "image", "rm", "--force", image.pin], capture_output=True, check=False)
            built, told = prepared(folder, host, key, image=f"faults:{kit}")
            local = "hms-nomad-build/receipt-svc:1.0.0"
            history = subprocess.run(["docker", "history", "--no-trunc", local], capture_output=True, check=True)
            client = RegistryClient(Connection(f"http://{host}"), Credentials("ann", PASSWORD))
            assert client.resolve("faults", kit) == built.digest
            client.close()
            seen += [told, repr(built), history.stdout.decode()]
        stored = [file.read_bytes() for file in Path(tmp_path, "registry", "data").rglob("data") if file.is_file()]
    assert len(stored) > 10
    for text in (*(one.encode() for one in seen), *stored):
        assert PASSWORD.encode() not in text
        assert auth.encode() not in text
    shutil.rmtree(docker)


@pytest.mark.contract("VaultClient.kv_read", "VaultClient.read")
def test_a_secret_in_vault_opens_a_registry_and_nothing_else_is_asked(tmp_path, monkeypatch, vault):
    """Read with the right to that one secret; the base, its digest, the push and the signature need the password."""
    folder, base = application(tmp_path / "app"), application(tmp_path / "base")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
    key = read_signing_key(str(key_pair(tmp_path, "good")))
    ann = {"username": "ann", "password": PASSWORD}
    vault.http("POST", "secret/data/registries/team", {"data": ann})
    vault.http("POST", "secret/data/registries/empty", {"data": {"user": "ann"}})
    vault.http("POST", "cubbyhole/team", ann)
    rule = 'path "secret/data/registries/team" { capabilities = ["read"] }'
    vault.http("PUT", "sys/policies/acl/pulls", {"policy": rule})
    made = vault.http("POST", "auth/token/create", {"policies": ["pulls"], "no_default_policy": True})
    few = vault.client(made["auth"]["client_token"])
    assert few.kv_read("secret", "registries/team").data == ann
    assert vault.client().read("cubbyhole/team") == ann
    with image_registry(tmp_path / "registry", USERS) as host:
        image, told = prepared(base, host, image="base", keeper=few, vault="secret/registries/team")
        (folder / "Dockerfile").write_text(f"FROM {image.pin}\nCOPY kept.txt /second\n")
        subprocess.run(["docker", "image", "rm", "--force", image.pin], capture_output=True, check=False)
        built, more = prepared(folder, host, key, keeper=few, vault="secret/data/registries/team")
        other, _ = prepared(folder, host, image="other", keeper=vault.client(), vault="cubbyhole/team")
        assert other.pin.startswith(f"{host}/other@")
        with pytest.raises(DeniedError, match=r"vault at .*: cannot read secret secret/registries/other"):
            prepared(folder, host, keeper=few, vault="secret/registries/other")
        for path, words in (("secret/registries/empty", "has no username and password"), ("secret/none", "has no")):
            with pytest.raises(ContextError, match=rf"images.registries.{host}.vault: the secret {path} {words}"):
                prepared(folder, host, keeper=vault.client(), vault=path)
        with pytest.raises(ContextError, match="this platform has no Vault"):
            prepared(folder, host, vault="secret/registries/team")
        vault.http("POST", "secret/data/registries/team", {"data": {**ann, "password": "canary-of-another"}})
        with pytest.raises(DeniedError, match="refuses the credentials") as refused:
            prepared(folder, host, keeper=few, vault="secret/registries/team")
    assert classify(refused.value).exit_code == 8
    for text in (told, more, repr(built), repr(image), str(refused.value)):
        assert "canary" not in text
