"""A program that is built from its Go module: of which files, and what is refused. The Go here is a script."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from hms_nomad.dev.errors import ReleaseError
from hms_nomad.dev.go_module import GoModule, build_module

_MODULE = GoModule("example.org/server", "v1.2.3", "h1:right=")
_STATED = {
    "Replace": [
        {"Old": {"Path": "a/b"}, "New": {"Path": "./b"}},
        {"Old": {"Path": "c"}, "New": {"Path": "d", "Version": "v1"}},
    ]
}
_GO = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "asked", "a") as asked:
    print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]), file=asked)
if sys.argv[1] == {fails!r}:
    sys.exit("go: it cannot be\\nhelped")
if sys.argv[1:3] == ["mod", "download"]:
    print(json.dumps({{"Dir": str(here / "source"), "Sum": "h1:right="}}))
if sys.argv[1:3] == ["mod", "edit"]:
    print({stated!r})
if sys.argv[1] == "build":
    pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text("#!/bin/sh\\necho 'Consul v1.20.1'\\n")
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH."""
    directory = tmp_path / "path"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def _go(directory: Path, fails: str = "") -> Path:
    (directory / "source").mkdir()
    for name in ("go.mod", "go.sum"):
        (directory / "source" / name).write_text(name)
    file = directory / "go"
    file.write_text(_GO.format(python=sys.executable, fails=fails, stated=json.dumps(_STATED)))
    file.chmod(0o755)
    return file


def _built(tmp_path: Path, module: GoModule = _MODULE) -> Path:
    return build_module("server", module, tmp_path / "cache" / "bin", lambda event: None)


def test_a_program_is_built_of_the_modules_own_files_and_lists(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _go(path)
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOPROXY", "https://mirror.example.org")

    file = _built(tmp_path)

    assert file == tmp_path / "cache" / "bin" / "server"
    assert os.access(file, os.X_OK)
    assert list(file.parent.iterdir()) == [file]
    asked = [json.loads(line) for line in (path / "asked").read_text().splitlines()]
    assert [words[:2] for words, _, _ in asked] == [
        ["mod", "download"],
        ["mod", "edit"],
        ["mod", "edit"],
        ["build", "-mod=mod"],
    ]
    assert asked[0][0][2:] == ["-json", "example.org/server@v1.2.3"]
    assert asked[2][0] == ["mod", "edit", "-dropreplace=a/b", "go.mod"]
    assert asked[3][1] == str(path / "source")
    assert {(settings["GOSUMDB"], settings["GOPROXY"]) for _, _, settings in asked} == {
        ("sum.golang.org", "https://mirror.example.org")
    }


def test_another_module_than_is_meant_is_not_built(path: Path, tmp_path: Path) -> None:
    _go(path)
    with pytest.raises(
        ReleaseError, match=r"example.org/server@v1.2.3 is not what is meant \(it is h1:right=, meant is h1:x\)"
    ):
        _built(tmp_path, GoModule(_MODULE.path, _MODULE.version, "h1:x"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        ("mod", "example.org/server@v1.2.3 cannot be fetched: go: it cannot be helped"),
        ("build", "server cannot be built: go: it"),
    ],
)
def test_what_go_says_is_told_and_nothing_is_left(path: Path, tmp_path: Path, fails: str, told: str) -> None:
    _go(path, fails)
    with pytest.raises(ReleaseError, match=told):
        _built(tmp_path)
    assert not (tmp_path / "cache").exists()


def test_without_go_nothing_is_built(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="server cannot be built without go; put go or server on PATH"):
        _built(tmp_path)
