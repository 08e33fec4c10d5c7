"""A service to be broken, and what the servers hold of it: its job, its entries, and what is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.plan.diff import OWN_KINDS
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.workflows.session import Session
from tests.live.conftest import LiveStack

_SERVER = (
    "import http.server, os; "
    "http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler)"
    ".serve_forever()"
)


def spec_of(folder: Path, name: str, **fields: Any) -> Path:
    """The file of a service that is healthy within seconds, and replaced at once; a field that is None is left out."""
    spec = {
        "name": name,
        "version": "1.0.0",
        "command": ["python3", "-c", _SERVER],
        "port": 3000,
        "routes": [{"path": "/hello", "methods": ["GET"]}],
        "scaling": {"min": 1, "max": 3},
        "health": {"path": "/", "interval": "2s"},
        "rollout": {
            "strategy": "rolling",
            "min_healthy": "1s",
            "deadline": "60s",
            "drain": "1s",
            "on_no_traffic": "promote",
        },
        **fields,
    }
    file = folder / f"{name}-{spec['version']}-{spec['scaling']['max']}.hms.yml"
    file.write_text(json.dumps({key: value for key, value in spec.items() if value is not None}), encoding="utf-8")
    return file


def started(stack: LiveStack, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """A command that runs by itself; whoever starts it ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "hms_nomad", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=stack.environment | environment,
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What the servers hold of a service, in a form in which two runs of the same deploy are equal."""

    digest: str
    release: str
    scaling: Mapping[str, Any]
    entries: Mapping[str, Any]
    stopped: bool


def held(session: Session, name: str) -> Held | None:
    """What is there now; None when there is no job."""
    job = session.nomad.read_job(name)
    if job is None:
        return None
    group = job.body["TaskGroups"][0]
    meta = group["Services"][0]["Meta"]
    found = {
        f"{kind}/{entry.name}": dict(entry.body)
        for kind in (*OWN_KINDS, INTENTIONS)
        for entry in session.consul.list_entries(kind)
        if entry.name == name and (entry.body.get("Meta") or {}).get(OWNER_KEY) == OWNER
    }
    bounds = {key: group["Scaling"][key] for key in ("Min", "Max")}
    return Held(meta["digest"], meta["release"], bounds, found, job.stop)


def left_behind(session: Session, name: str) -> list[str]:
    """Locks, journals and rollouts of a service that nobody works on any more."""
    namespace = session.platform.namespace
    prefixes = (
        f"hms-nomad/locks/{namespace}/{name}",
        f"hms-nomad/runs/{namespace}/{name}/",
        f"hms-nomad/rollouts/{namespace}/{name}",
    )
    return [
        pair.key
        for prefix in prefixes
        for pair in session.consul.kv_list(prefix)
        if b'"rollout":null' not in pair.value
    ]


def audited(session: Session, name: str) -> list[str]:
    """How the changes of a service ended, oldest first, by the audit trail."""
    pairs = sorted(session.consul.kv_list(f"hms-nomad/audit/{session.platform.namespace}/"), key=lambda pair: pair.key)
    records = [json.loads(pair.value) for pair in pairs]
    return [f"{record['command']} {record['result']}" for record in records if record["service"] == name]
