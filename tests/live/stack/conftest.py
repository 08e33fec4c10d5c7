"""An image that needs no registry, for the tests of the stack."""

from __future__ import annotations

import importlib.util
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.dev.engine import build_image, find_engine, remove_image
from tests.live.stack.server import SERVER

_SCRIPT = Path(__file__).parents[3] / "scripts" / "example_images.py"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """An image that runs the server, made of this machine's own Python; None without a container engine."""
    engine = find_engine()
    if engine is None:
        yield None
        return
    name = f"hms-nomad/live-server:{os.getpid()}"
    build_image(engine, name, _build_context(tmp_path_factory.mktemp("image")))
    yield name
    remove_image(engine, name)


def _build_context(directory: Path) -> bytes:
    """A Dockerfile and the root file system that the examples' images are made of."""
    spec = importlib.util.spec_from_file_location("example_images", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    program = directory / "app.py"
    program.write_text(SERVER, encoding="utf-8")
    root = script.root_filesystem(program)
    dockerfile = b'FROM scratch\nADD root.tar /\nENV PYTHONHOME=/\nENTRYPOINT ["/bin/python3", "-u", "/app.py"]\n'
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in (("Dockerfile", dockerfile), ("root.tar", root)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
