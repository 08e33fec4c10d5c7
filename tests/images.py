"""A program in Python -> an image of this machine's own interpreter with it, so that no registry is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hms_nomad.dev.engine import Engine, build_image, remove_image

_SCRIPT = Path(__file__).parents[1] / "scripts" / "example_images.py"


@contextlib.contextmanager
def python_image(engine: Engine, stem: str, program: str, directory: Path) -> Iterator[str]:
    """The name of an image that runs ``program``, which is removed at the end; ``directory`` is for its file."""
    name = f"hms-nomad/{stem}:{os.getpid()}"
    file = directory / "app.py"
    file.write_text(program, encoding="utf-8")
    build_image(engine, name, _build_context(file))
    try:
        yield name
    finally:
        remove_image(engine, name)


def _build_context(program: Path) -> bytes:
    """A Dockerfile and the root file system that the examples' images are made of."""
    spec = importlib.util.spec_from_file_location("example_images", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    root = script.root_filesystem(program)
    dockerfile = b'FROM scratch\nADD root.tar /\nENV PYTHONHOME=/\nENTRYPOINT ["/bin/python3", "-u", "/app.py"]\n'
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in (("Dockerfile", dockerfile), ("root.tar", root)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
