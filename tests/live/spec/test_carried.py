"""What a spec carries along arrives in the running task: files byte for byte, templates, artifacts, helpers."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Cli

# What templates, shells, HCL and terminals would each take for something else.
AWKWARD = (
    '{{ key `x` }} ${NOMAD_JOB_NAME} $${x} %{if true} $(id) `id` \\n \\u0041 \'"\r\n\t{hms{{ env "PATH" }}hms}'
    "\u00e4 a\u0308 \u65e5\u672c \U0001f600 \u202e \ufeff \u200b no line end"
)
_APP = """
import hashlib, http.server, os, pathlib, signal, threading

local = pathlib.Path("local")

def show(*_):
    for path in sorted(local.rglob("*")):
        if path.is_file() and path.name != "app.py":
            mode = oct(path.stat().st_mode & 0o777)
            print("file", path.relative_to(local), mode, hashlib.sha256(path.read_bytes()).hexdigest(), flush=True)
    print("rendered", (local / "where.conf").read_text().strip(), flush=True)
    print("prestart", pathlib.Path(os.environ["NOMAD_ALLOC_DIR"], "data", "ready").read_text().strip(), flush=True)

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

signal.signal(signal.SIGHUP, show)
show()
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"""

_PREPARE = """
import os, pathlib
pathlib.Path(os.environ["NOMAD_ALLOC_DIR"], "data", "ready").write_text(os.environ["LEVEL"])
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """A web server of this machine with one file: its address and the file's bytes."""
    content = b"rules of the city\n" * 100

    class Files(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/rules.txt", content
    server.shutdown()
    server.server_close()


@pytest.fixture
def spec(tmp_path: Path, service: str, archive: tuple[str, bytes]) -> Path:
    url, content = archive
    (tmp_path / "app.py").write_text(_APP, encoding="utf-8")
    (tmp_path / "awkward").write_bytes(AWKWARD.encode())
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    fields = {
        "name": service,
        "version": "1.0.0",
        "command": ["python3", "local/app.py"],
        "port": 3000,
        "health": {"path": "/health"},
        "files": {
            "app.py": {"source": "app.py"},
            "conf/awkward": {"source": "awkward", "mode": "0640"},
            "bytes": {"source": "bytes"},
            "inline": {"content": AWKWARD},
            "empty": {"content": ""},
        },
        "templates": {"where.conf": {"content": '{{ env "NOMAD_TASK_NAME" }} of {{ env "NOMAD_JOB_NAME" }}\n'}},
        "artifacts": [
            {"source": url, "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}", "destination": "rules"}
        ],
        "tasks": {
            "prepare": {
                "hook": "prestart",
                "command": ["python3", "-c", _PREPARE],
                "env": {"LEVEL": "prepared"},
            },
            "beside": {
                "hook": "sidecar",
                "command": ["python3", "local/beside.py"],
                "files": {"beside.py": {"content": "import time\nprint('beside', flush=True)\ntime.sleep(3600)\n"}},
                "resources": {"cpu": 20, "memory": 32},
            },
            "after": {"hook": "poststop", "command": ["python3", "-c", "print('gone')"]},
        },
    }  # fmt: skip
    path = tmp_path / "service.hms.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_a_spec_carries_arrives_as_it_is_and_helpers_run(cli: Cli, spec: Path, service: str, archive):
    first = cli("deploy", spec)
    assert first.exit_code == 0, first.stderr + first.stdout
    lines = cli("logs", service, "--tail", "50").stdout.splitlines()
    seen = [line.partition("] ")[2] for line in lines]
    expected = {
        "bytes": ("0o644", bytes(range(256))),
        "conf/awkward": ("0o640", AWKWARD.encode()),
        "empty": ("0o644", b""),
        "inline": ("0o644", AWKWARD.encode()),
        "where.conf": ("0o644", f"app of {service}\n".encode()),
    }
    for name, (mode, content) in expected.items():
        assert f"file {name} {mode} {digest(content)}" in seen
    assert any(line.startswith("file rules/rules.txt ") and line.endswith(digest(archive[1])) for line in seen)
    assert f"rendered app of {service}" in seen
    assert "prestart prepared" in seen
    assert "beside" in cli("logs", service, "--task", "beside").stdout
    plan = cli("plan", spec)
    assert plan.exit_code == 0, plan.stdout
    again = cli("deploy", spec)
    assert again.exit_code == 0
    assert "nothing to change" in again.stdout
