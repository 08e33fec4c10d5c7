"""What an engine saved becomes the same image whenever it was built, and nothing of the machine stays in it."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from hms_nomad.build.context import EPOCH
from hms_nomad.build.errors import BuildError
from hms_nomad.build.image import from_saved, index_of
from hms_nomad.clients.oci import digest_of
from hms_nomad.compile.images import own_image
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_images import Images
from hms_nomad.sections.reading import read
from hms_nomad.spec.image import parse_image, tag_of
from hms_nomad.spec.model import Spec
from tests.unit.specs import RECEIPT


def layer(mtime):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("app.py")
        entry.size, entry.mtime = 1, mtime
        tar.addfile(entry, io.BytesIO(b"x"))
    return stream.getvalue()


def saved(path, mtime, host):
    config = {
        "architecture": "amd64", "os": "linux", "created": f"2026-01-01T00:00:{host}Z", "container": host,
        "config": {"Hostname": host, "Env": ["A=b"], "Entrypoint": ["/app"], "Image": host, "Labels": {"l": "v"}},
        "history": [{"created": f"2026-01-01T00:00:{host}Z", "created_by": "COPY"}],
    }  # fmt: skip
    files = {
        "c.json": json.dumps(config).encode(),
        "l/layer.tar": layer(mtime),
        "manifest.json": json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]).encode(),
    }
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_the_moment_and_the_machine_of_a_build_do_not_count(tmp_path):
    images = []
    for host, mtime in (("11", EPOCH + 5), ("22", EPOCH + 900)):
        folder = tmp_path / host
        folder.mkdir()
        images.append(from_saved(saved(tmp_path / f"{host}.tar", mtime, host), folder, EPOCH, {"b": "2", "a": "1"}))
    one, two = images
    assert one.digest == two.digest
    manifest = json.loads(one.manifest)
    config = json.loads(next(blob.file for blob in one.blobs if "config" in blob.media_type).read_bytes())
    assert config["config"] == {"Env": ["A=b"], "Entrypoint": ["/app"], "Labels": {"l": "v"}}
    assert config["created"] == "1980-01-01T00:00:00Z"
    assert manifest["annotations"] == {"a": "1", "b": "2"}
    for blob in one.blobs:
        assert digest_of(blob.file.read_bytes()) == blob.digest
    both = json.loads(index_of([("linux/amd64", one), ("linux/arm64/v8", two)], {}))
    assert [row["platform"].get("variant") for row in both["manifests"]] == [None, "v8"]


def test_an_archive_that_is_none_is_an_error(tmp_path):
    file = tmp_path / "bad.tar"
    file.write_bytes(b"no archive at all")
    with pytest.raises(BuildError, match="cannot be read"):
        from_saved(file, tmp_path, EPOCH, {})


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("receipt", ("receipt", "docker.io", "library/receipt", "", False)),
        ("gov/receipt:1", ("gov/receipt", "docker.io", "gov/receipt", "1", False)),
        ("ghcr.io/gov/receipt:1.0", ("ghcr.io/gov/receipt", "ghcr.io", "gov/receipt", "1.0", True)),
        ("localhost:5000/a", ("localhost:5000/a", "localhost:5000", "a", "", True)),
    ],
)
def test_names_of_images(image, parts):
    found = parse_image(image)
    assert (found.name, found.registry, found.repository, found.tag, found.named_registry) == parts
    assert parse_image(found.pinned("sha256:" + "a" * 64)).digest == "sha256:" + "a" * 64


@pytest.mark.parametrize("image", ["", "UPPER/x", "a b", "a@sha256:1", "${meta.x}/y:1"])
def test_what_is_no_name_of_an_image(image):
    with pytest.raises(ValueError, match=r"is no name|no digest"):
        parse_image(image)


def test_a_built_image_gets_the_platforms_registry_and_the_version():
    platform = Platform(images=Images(registry="registry.gov/team"))
    fields = {**RECEIPT, "build": {}}
    spec = read(Spec, {**fields, "image": "receipt"})
    assert own_image(spec, platform) == "registry.gov/team/receipt:1.0.0"
    assert own_image(spec, Platform()) == "receipt:1.0.0"
    named = read(Spec, fields)
    assert own_image(named, platform) == "ghcr.io/gov/receipt:1.0"
    assert tag_of("1.0.0+build 7") == "1.0.0-build-7"
