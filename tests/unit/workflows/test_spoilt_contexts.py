"""Contexts and the choice of one, as a slip or another hand may leave them: named by one line, and never waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_nomad.platform.context import ContextError, list_contexts, load_platform, save_context, use_context
from hms_nomad.platform.model import Platform


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("HMS_NOMAD_CONTEXT", raising=False)
    (tmp_path / "contexts").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_text("a: 2024-99-99\n"), "this is no YAML: month must be in 1..12"),
        (lambda file: file.write_text("[" * 5000), "nested too deeply"),
        (lambda file: file.write_bytes(b"\xff"), "this is no YAML"),
        (lambda file: file.write_text("a: !!python/object:os.system ls\n"), "this is no YAML"),
        (Path.mkdir, "cannot be read: it is no file"),
        (os.mkfifo, "cannot be read: it is no file"),
        (lambda file: file.symlink_to(file.name), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["date", "deep", "bytes", "tag", "folder", "pipe", "loop"],
)
def test_a_spoilt_context_is_named(folder: Path, spoil: Callable[[Path], object], words: str):
    spoil(folder / "contexts" / "spoilt.yml")
    with pytest.raises(ContextError, match=rf"spoilt\.yml.*{words}"):
        load_platform("spoilt")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(b"\xff"), "names no context"),
        (Path.mkdir, "cannot be read: it is no file"),
        (os.mkfifo, "cannot be read: it is no file"),
    ],
    ids=["bytes", "folder", "pipe"],
)
def test_a_spoilt_choice_is_named(folder: Path, spoil: Callable[[Path], object], words: str):
    spoil(folder / "current-context")
    with pytest.raises(ContextError, match=words):
        list_contexts()


def test_a_choice_that_cannot_be_kept_is_named(folder: Path):
    save_context(Platform(name="here"))
    (folder / "current-context").mkdir()
    with pytest.raises(ContextError, match="current-context cannot be written: Is a directory"):
        use_context("here")


def test_a_file_in_the_place_of_the_directory_holds_no_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(file))
    assert list_contexts().names == ()
    with pytest.raises(ContextError, match="cannot be written: Not a directory"):
        save_context(Platform(name="here"))
