"""A job that runs, described by ``init --from-job``, is the same job: a plan of the description is empty."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live.conftest import Cli

_APP = """
import http.server, os

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"""


def test_a_running_service_described_from_its_job_is_the_same_service(cli: Cli, tmp_path: Path, service: str):
    fields = {
        "name": service,
        "version": "1.2.0",
        "command": ["python3", "local/app.py"],
        "driver": "raw_exec",
        "port": 3000,
        "owner": "tax-team",
        "description": "Answers.",
        "env": {"MODE": "{{ x }} ${y}"},
        "files": {"app.py": {"content": _APP}, "empty": {"content": ""}},
        "templates": {"a.conf": {"content": '{{ env "NOMAD_JOB_NAME" }}', "change": "none", "splay": "1s"}},
        "health": {"path": "/up", "interval": "3s"},
        "resources": {"cpu": 60, "memory": 64},
        "scaling": {"min": 1, "max": 3},
        "tasks": {"after": {"hook": "poststop", "command": ["true"], "driver": "raw_exec"}},
        "actions": {"hello": {"command": ["echo", "hello"]}},
        "placement": {"constraints": [{"attribute": "attr.kernel.name", "value": "linux"}]},
        "rollout": {"drain": "1s"},
    }
    spec = tmp_path / "s.hms.json"
    spec.write_text(json.dumps(fields), encoding="utf-8")
    assert cli("deploy", spec).exit_code == 0
    described = tmp_path / "described.hms.yml"
    written = cli("init", "--from-job", service, "--file", described)
    assert written.exit_code == 0, written.stderr
    assert f"Next: hms-nomad validate {described}" in written.stdout
    assert cli("validate", described).exit_code == 0
    plan = cli("plan", described)
    assert plan.exit_code == 0, plan.stdout + described.read_text(encoding="utf-8")
