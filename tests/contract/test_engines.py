"""Builds by each engine that is there: Docker's builder, BuildKit, and Podman's service, into a real registry."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from hms_nomad.build.engine import find_engine
from hms_nomad.build.errors import BuildError
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.credentials import Credentials
from hms_nomad.clients.oci import RegistryClient
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_images import Images
from hms_nomad.workflows.building.build import BuildOptions, build_image
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile
from tests.binaries import binary
from tests.contract.test_registry_faults import PASSWORD, USERS
from tests.processes import running
from tests.registry_server import image_registry
from tests.unit.specs import spec

DOCKERFILE = """\
FROM scratch AS small
ARG WORD=none
LABEL word=$WORD
WORKDIR /app
COPY . .
RUN ["/app/run", "--version"]
FROM small AS large
COPY run /second
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """The socket of Podman's service, with a store of its own; registries of this machine may be without TLS."""
    program = binary("podman")
    folder = tmp_path_factory.mktemp("podman")
    places = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    socket = folder / "podman.sock"
    settings = folder / "registries.conf"
    settings.write_text('[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n')
    service = [program, *places, "system", "service", "--time=0", f"unix://{socket}"]
    with running(service, folder, {"CONTAINERS_REGISTRIES_CONF": str(settings)}) as server:
        server.wait_until(socket.exists, "listening")
        yield socket
        # Containers of builds leave mounts behind that only Podman itself takes away.
        subprocess.run([program, *places, "system", "reset", "--force"], capture_output=True, check=False)


@pytest.fixture(params=["docker", "buildkit", "podman"])
def engine(request, monkeypatch):
    """One engine after the other, as the environment chooses it."""
    if request.param == "podman":
        monkeypatch.setenv("DOCKER_HOST", f"unix://{request.getfixturevalue('podman')}")
    else:
        monkeypatch.setenv("DOCKER_BUILDKIT", "1" if request.param == "buildkit" else "0")
    found = find_engine()
    if found is None or found.name != ("podman" if request.param == "podman" else "docker"):
        pytest.skip(f"no {request.param} on PATH answers at its socket")
    return SimpleNamespace(kind=request.param, title=found.title)


@pytest.fixture
def world(engine, tmp_path):
    """A registry, and a directory with a static program and a Dockerfile of two stages."""
    program = shutil.which("docker-init") or shutil.which("tini-static")
    if program is None:
        pytest.skip("no docker-init or tini-static on PATH")
    app = tmp_path / "app"
    app.mkdir()
    shutil.copy(os.path.realpath(program), app / "run")
    (app / "kept.txt").write_text("kept")
    (app / "left.txt").write_text("left")
    (app / ".dockerignore").write_text("left.*\n")
    (app / "Dockerfile").write_text(DOCKERFILE)
    with image_registry(tmp_path / "registry") as host:
        client = RegistryClient(Connection(f"http://{host}"))
        session = Session(Platform(images=Images(registry=host)), None, None, None, 0.0, RetryBudget())

        def build(cache=True, **fields):
            said = []
            built = spec(image="engines", version="1.0.0", build={"args": {"WORD": "one"}, **fields})
            file = SpecFile(str(app / "engines.hms.yml"), built)
            found = build_image(session, file, BuildOptions(cache=cache), lambda event: said.append(event.message))
            return SimpleNamespace(digest=found.digest, said="\n".join(said))

        def config(digest):
            manifest = client.manifest("engines", digest)
            return json.loads(client.blob("engines", manifest.body["config"]["digest"])), manifest

        yield SimpleNamespace(build=build, config=config, client=client, app=app, host=host, engine=engine)
        client.close()


def files_in(client, manifest, folder):
    """The paths of the regular files in all layers."""

    names = set()
    for number, layer in enumerate(manifest.body["layers"]):
        file = Path(folder, f"layer-{number}")
        file.write_bytes(client.blob("engines", layer["digest"]))
        with tarfile.open(file) as tar:
            names |= {entry.name.removeprefix("./") for entry in tar if entry.isreg()}
    return names


def test_arguments_targets_and_the_cache_do_what_they_say(world, tmp_path):
    first = world.build()
    assert world.build().digest == first.digest
    assert world.build(cache=False).digest == first.digest, "the same sources are the same bytes"
    config, manifest = world.config(first.digest)
    assert config["config"]["Labels"]["word"] == "one"
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == "1.0.0"
    # Podman leaves behind what it mounted over.
    files = {name for name in files_in(world.client, manifest, tmp_path) if not name.startswith("etc/")}
    assert files == {"app/run", "app/kept.txt", "app/Dockerfile", "second"}
    small = world.build(target="small")
    config, manifest = world.config(small.digest)
    assert "second" not in files_in(world.client, manifest, tmp_path)
    other = world.build(args={"WORD": "two"})
    assert world.config(other.digest)[0]["config"]["Labels"]["word"] == "two"


def test_what_fails_says_so_in_the_engines_words(world):
    (world.app / "Dockerfile").write_text('FROM scratch\nCOPY run /run\nRUN ["/run", "--no-such-option"]\n')
    with pytest.raises(BuildError, match=r"cannot be built: .*(no-such-option|non-zero|exit|status)"):
        world.build()
    assert world.client.resolve("engines", "1.0.0") is None
    (world.app / "Dockerfile").write_text(DOCKERFILE)
    with pytest.raises(BuildError, match="nowhere"):
        world.build(target="nowhere")
    assert world.client.resolve("engines", "1.0.0") is None


def test_a_base_image_that_cannot_be_had_is_named_with_what_would_be_right(world):
    (world.app / "Dockerfile").write_text("FROM 127.0.0.1:1/no/base:1\nCOPY kept.txt /\n")
    with pytest.raises(BuildError, match=r"no base image 127\.0\.0\.1:1/no/base:1: .*images\.bases of the context"):
        world.build()


def test_several_platforms_are_an_index_or_are_refused(world):
    (world.app / "Dockerfile").write_text("FROM scratch\nCOPY kept.txt /\n")
    if world.engine.kind == "docker":
        with pytest.raises(BuildError, match="for linux/amd64, and linux/arm64 was asked for; BuildKit"):
            world.build(platforms=["linux/amd64", "linux/arm64"])
        assert world.client.resolve("engines", "1.0.0") is None
        return
    built = world.build(platforms=["linux/amd64", "linux/arm64"])
    index = world.client.manifest("engines", built.digest)
    rows = {row["platform"]["architecture"]: row["digest"] for row in index.body["manifests"]}
    assert set(rows) == {"amd64", "arm64"}
    for architecture, digest in rows.items():
        assert world.config(digest)[0]["architecture"] == architecture


def test_a_base_behind_a_password_needs_the_credentials_of_the_docker_configuration(engine, tmp_path, monkeypatch):
    app, docker = tmp_path / "app", tmp_path / "docker"
    for folder in (app, docker):
        folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(docker))
    auth = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()

    def build(image, base, known=True):
        (docker / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}} if known else {}}))
        (app / "Dockerfile").write_text(f"FROM {base}\nCOPY Dockerfile /{image.partition(':')[0]}\n")
        session = Session(Platform(images=Images(registry=host)), None, None, None, 0.0, RetryBudget())
        file = SpecFile(str(app / "engines.hms.yml"), spec(image=image, version="1.0.0", build={}))
        return build_image(session, file, BuildOptions(), lambda event: None)

    with image_registry(tmp_path / "registry", USERS) as host:
        build("base:latest", "scratch")
        build("base:other", "scratch")
        with pytest.raises(BuildError, match=f"{host}/base.* (no basic auth credentials|authentication required)"):
            build("second", f"{host}/base", known=False)
        second = build("second", f"{host}/base")
        client = RegistryClient(Connection(f"http://{host}"), Credentials("ann", PASSWORD))
        assert len(client.manifest("second", second.digest).body["layers"]) == 2
        client.close()
        assert find_engine().image(f"{host}/base:other") is None, "no more is fetched than was asked for"
