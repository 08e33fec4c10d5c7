"""What is built, in which order of bytes, by which Dockerfile: the same sources give the same result."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from hms_nomad.build.archive import pack
from hms_nomad.build.context import EPOCH, sources_in, write_archive
from hms_nomad.build.dockerfile import bases_of, made_dockerfile
from hms_nomad.build.errors import BuildError
from hms_nomad.build.language import detect, hints


def tree(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def reader(files):
    return lambda name: files.get(name, b"")


def test_what_no_image_needs_is_left_out(tmp_path):
    tree(tmp_path, app_DOT_py="x", receipt_DOT_hms_DOT_yml="x", _DOT_git__config="x", _DOT_env="SECRET=1")
    tree(tmp_path, tests__test_app_DOT_py="x", docs__a_DOT_md="x", docs__keep_DOT_md="x")
    (tmp_path / "sub" / "__pycache__").mkdir(parents=True)
    (tmp_path / "sub" / "__pycache__" / "a.pyc").write_bytes(b"x")
    (tmp_path / ".dockerignore").write_text("# comment\ndocs\n!docs/keep.md\n", encoding="utf-8")
    assert sources_in(tmp_path, ["tests/**"], EPOCH).files == ("app.py", "docs/keep.md")


def test_a_directory_without_sources_is_an_error(tmp_path):
    with pytest.raises(BuildError, match="holds no files to build from"):
        sources_in(tmp_path, [], EPOCH)
    with pytest.raises(BuildError, match="is no directory"):
        sources_in(tmp_path / "none", [], EPOCH)


def test_an_archive_is_the_same_bytes_whoever_packs_it_and_when(tmp_path):
    one = tree(tmp_path / "one", app_DOT_py="x", run="#!/bin/sh")
    two = tree(tmp_path / "two", run="#!/bin/sh", app_DOT_py="x")
    for root in (one, two):
        (root / "run").chmod(0o700 if root == one else 0o755)
        (root / "link").symlink_to("run")
    os.utime(two / "app.py", (1, 1))
    packed = [pack(sources_in(root, [], EPOCH), root.with_suffix(".tar.gz")) for root in (one, two)]
    assert packed[0].sha256 == packed[1].sha256
    with tarfile.open(packed[0].file) as archive:
        assert [(entry.name, oct(entry.mode), entry.mtime) for entry in archive] == [
            ("app.py", "0o644", EPOCH), ("link", "0o777", EPOCH), ("run", "0o755", EPOCH),
        ]  # fmt: skip


def test_what_is_no_file_is_refused(tmp_path):
    tree(tmp_path, app_DOT_py="x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildError, match="pipe is neither a file nor a link"):
        write_archive(sources_in(tmp_path, [], EPOCH), io.BytesIO(), {})


CASES = [
    ({"app.py": b""}, "python", ["COPY . .", 'ENTRYPOINT ["python3", "app.py"]']),
    ({"requirements.txt": b"", "main.py": b""}, "python", ["COPY requirements.txt ./", '"requirements.txt"]']),
    ({"index.js": b""}, "node", ['ENTRYPOINT ["node", "index.js"]']),
    ({"package.json": b'{"main": "./s.js"}', "s.js": b"", "package-lock.json": b""}, "node", ['["npm", "ci"']),
    ({"package.json": b"{}", "index.js": b"", "node_modules/a/b.js": b""}, "node", ["COPY . ."]),
    ({"go.mod": b"", "main.go": b""}, "go", ["AS build", "FROM scratch", 'ENTRYPOINT ["/app"]']),
    ({"pom.xml": b""}, "java", ["mvn", "target/*.jar", "FROM docker.io/library/eclipse-temurin:25-jre"]),
    ({"Main.java": b""}, "java", ['ENTRYPOINT ["java", "Main.java"]']),
    ({"server": b"\x7fELF..", "page.html": b""}, "static", ["FROM scratch", 'ENTRYPOINT ["/server"]']),
]


@pytest.mark.parametrize(("files", "language", "lines"), CASES, ids=[f"{one[1]}-{next(iter(one[0]))}" for one in CASES])
def test_a_dockerfile_is_made_for_the_language(files, language, lines):
    found = detect(tuple(sorted(files)), reader(files))
    assert found is not None
    assert found.language == language
    text = made_dockerfile(found, (), tuple(files), {})
    for line in lines:
        assert line in text
    assert "USER 10001:10001" in text
    assert "RUN [" in text or "RUN" not in text


def test_sources_that_carry_their_modules_install_nothing():
    files = {"package.json": b"{}", "index.js": b"", "node_modules/a/b.js": b""}
    assert "npm" not in made_dockerfile(detect(tuple(files), reader(files)), (), tuple(files), {})


def test_nothing_tells_the_language():
    assert detect(("README.md",), reader({})) is None
    found = detect(("requirements.txt", "a.py", "b.py"), reader({}))
    with pytest.raises(BuildError, match="nothing says how the service is started"):
        made_dockerfile(found, (), ("requirements.txt",), {})
    assert 'ENTRYPOINT ["python3", "b.py"]' in made_dockerfile(found, ("python3", "b.py"), (), {})


def test_the_platforms_base_images_are_taken_and_listed():
    found = detect(("go.mod",), reader({}))
    text = made_dockerfile(found, (), ("go.mod",), {"go": "registry.gov/go:1"})
    assert bases_of(text) == ("registry.gov/go:1",)
    assert bases_of("FROM --platform=linux/amd64 a:1 AS x\nFROM x\nFROM b\nFROM scratch\n") == ("a:1", "b")


def test_hints_of_the_chapters_service():
    text = (
        b"import fastify from 'fastify';\nconst app = fastify();\napp.post('/receipt', (req, res) => {});\n"
        b"app.get('/health', () => 1);\napp.listen(process.env.PORT || 3000);\n"
    )
    files = {"index.js": text}
    found = hints(detect(tuple(files), reader(files)), tuple(files), reader(files))
    assert (found.port, found.health) == (3000, "/health")
    assert found.routes == {"/receipt": ("POST",), "/health": ("GET",)}
