"""The world of scripts/zero-loss, on the stack of the live tests: a caller, a service without retries, and load."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.clients.errors import ServerError
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.session import Session
from tests.live.conftest import LiveStack

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from zero_loss.world import CALLER, SERVICE, World

# A machine that runs other tests beside this one still answers so many in time.
_RATE = 100.0


@pytest.fixture(scope="module")
def world(stack: LiveStack, session: Session) -> Iterator[World]:
    """A service that runs in its first release, and its caller; both are gone at the end."""
    made = World(session, stack.platform, _RATE)
    made.start()
    yield made
    for name in (SERVICE, CALLER):
        with contextlib.suppress(ServerError):
            session.nomad.stop_job(name, purge=True)
            # Or else a later world's release would be one that this one took back.
            RolloutStore(session.consul, stack.platform.namespace, name).forget()
