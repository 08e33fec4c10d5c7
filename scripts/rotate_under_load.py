"""Make the mesh's root and its intermediate certificate anew under 200 requests a second, and count what failed.

A secure stack of its own is brought up and taken down again (root, and the servers' programs on the PATH):

    python scripts/rotate_under_load.py

For the intermediate certificate Consul's only server is ended and started again in the midst of it. Exit code 1: a
request failed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.dev import stack as dev
from hms_nomad.dev.contexts import admin_context
from hms_nomad.platform.context import load_platform
from hms_nomad.workflows.certs.overview import active_root
from hms_nomad.workflows.platform.bootstrap import prepare
from hms_nomad.workflows.session import open_session
from tests.live.conftest import LiveStack, own_contexts, run_cli, running_stack
from tests.live.secure.test_certs import SPEC
from tests.live.stack.server import SERVER
from tests.waiting import eventually

_PROGRAM = (sys.executable, "-m", "hms_nomad")
_RESTART_SECONDS = 60


def main() -> int:
    """Both rotations, each with a load of its own around it."""
    with running_stack("rotate", secure=True) as stack, tempfile.TemporaryDirectory() as folder:
        with own_contexts(stack.config_dir):
            prepare(admin_context(stack.settings.name), lambda _: None)
        (Path(folder) / "app.py").write_text(SERVER, encoding="utf-8")
        spec = Path(folder) / "certified.hms.yml"
        spec.write_text(SPEC, encoding="utf-8")
        deployed = run_cli(stack, "deploy", spec, "--yes")
        if deployed.exit_code:
            print(deployed.stderr)
            return 1
        results = {level: rotated(stack, level) for level in ("root", "intermediate")}
        checked = run_cli(stack, "certs", "verify")
    for level, (load, rotation) in results.items():
        print(
            f"{level}: {load['requests']} requests in {load['seconds']:.0f} s, {load['failed']} failed, "
            f"p99 {load['latency']['quantiles']['99']:.1f} ms; {rotation['leaves']} new leaves"
        )
    print(checked.stdout.strip())
    return 1 if checked.exit_code or any(load["failed"] for load, _ in results.values()) else 0


def rotated(stack: LiveStack, level: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of a load during a rotation, and what the rotation said."""
    load = _begun(stack, "load", "certified/hello", "--as", "tester", "--rate", "200", "--for", "10m")
    rotation = _begun(stack, "certs", "rotate", level, "--yes", "--context", admin_context(stack.settings.name))
    if level == "intermediate":
        told = threading.Thread(target=_restart_when_asked, args=(stack,), daemon=True)
        told.start()
    said, why = rotation.communicate(timeout=400)
    load.send_signal(signal.SIGINT)
    counted, faults = load.communicate(timeout=60)
    if rotation.returncode or load.returncode not in (0, 5):
        raise SystemExit(f"{level}: {why}\n{faults}")
    return json.loads(counted)["load"], json.loads(said)["rotation"]


def _begun(stack: LiveStack, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*_PROGRAM, *words, "--output", "json"], env=stack.environment, stdout=pipe, stderr=pipe, text=True
    )


def _restart_when_asked(stack: LiveStack) -> None:
    """End Consul's server once the new certificate is there, and start it again."""
    with own_contexts(stack.config_dir), open_session(load_platform(admin_context(stack.settings.name))) as session:
        mount = eventually(
            lambda: session.consul.ca_configuration().config.get("IntermediatePKIPath"),
            lambda path: path == "connect-intermediate-3/",
            seconds=_RESTART_SECONDS,
        )
        print(f"signs at {mount} now: ending Consul's server")
        pid = next(one.pid for one in dev.status(stack.settings).servers if one.name == "consul")
        server = psutil.Process(pid)
        server.terminate()
        server.wait(_RESTART_SECONDS)
        dev.up(stack.settings, lambda _: None)
        root = active_root(session.consul.ca_roots())
        print(f"Consul is back, with {root.name if root else 'no root'}")


if __name__ == "__main__":
    sys.exit(main())
