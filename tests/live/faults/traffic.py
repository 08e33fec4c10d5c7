"""A caller in the mesh -> what became of its requests, sent at a steady rate while something else happens."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hms_nomad.compile.names import upstream_addresses
from hms_nomad.workflows.session import Session
from tests.live.conftest import LiveStack, run_cli
from tests.live.faults.world import spec_of

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from zero_loss.way_out import way_out

_ZERO_LOSS = Path(__file__).parents[3] / "scripts" / "zero_loss"

APP = [sys.executable, str(_ZERO_LOSS / "app.py")]
"""The command of a service that answers every path."""


@dataclass
class Asked:
    """What became of the requests to one service; filled in when the sending has ended."""

    sent: int = 0
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


def deploy_caller(stack: LiveStack, folder: Path, name: str, uses: Sequence[str]) -> None:
    """A service of the mesh that may call ``uses``, and does nothing by itself."""
    done = run_cli(stack, "deploy", spec_of(folder, name, uses=list(uses), command=APP))
    assert done.exit_code == 0, done.stderr


@contextlib.contextmanager
def requests_from(session: Session, caller: str, uses: Sequence[str], rate: float) -> Iterator[dict[str, Asked]]:
    """While the block runs, ``rate`` requests a second go from the caller's instance to each of ``uses``.

    They leave through its sidecar, in an open loop; half of them keep their connection, and none is sent again.
    """
    addresses = upstream_addresses(tuple(uses))
    allocation = next(one.id for one in session.nomad.job_allocations(caller).value if one.client_status == "running")
    asked = {name: Asked() for name in uses}
    with tempfile.TemporaryDirectory() as folder:
        stop = Path(folder) / "stop"
        senders = {}
        for name in uses:
            enter, reached = way_out(session.nomad, allocation, name, addresses[name])
            command = [*enter, sys.executable, str(_ZERO_LOSS / "load.py"), *reached]
            command += ["--path=/hello", f"--rate={rate}", f"--until={stop}"]
            senders[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield asked
        finally:
            stop.touch()
            for name, sender in senders.items():
                counted = json.loads(sender.communicate()[0])
                for key in ("sent", "failed", "reasons"):
                    setattr(asked[name], key, counted[key])
