"""A stack of its own for faults of services, so that what other tests leave does not count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hms_nomad.workflows.session import Session, open_session
from tests.live.conftest import LiveStack, own_contexts, running_stack


@pytest.fixture(scope="session")
def clinic() -> Iterator[LiveStack]:
    """The stack on which faults are planted."""
    with running_stack("clinic") as running:
        yield running


@pytest.fixture(scope="session")
def ward(clinic: LiveStack) -> Iterator[Session]:
    """The clients of that stack."""
    with own_contexts(clinic.config_dir), open_session(clinic.platform) as clients:
        yield clients
