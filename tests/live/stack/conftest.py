"""An image that needs no registry, for the tests of the stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hms_nomad.dev.engine import find_engine
from tests.images import python_image
from tests.live.stack.server import SERVER


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """An image that runs the server, made of this machine's own Python; None without a container engine."""
    engine = find_engine()
    if engine is None:
        yield None
        return
    with python_image(engine, "live-server", SERVER, tmp_path_factory.mktemp("image")) as name:
        yield name
