"""Services with secrets, and values that are known again wherever they turn up."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from tests.live.conftest import Cli, Ran

PROGRAM = '''
import hashlib, json, os, pathlib, signal
from http.server import BaseHTTPRequestHandler, HTTPServer
signals = []
signal.signal(signal.SIGHUP, lambda *_: signals.append("SIGHUP"))
class Answer(BaseHTTPRequestHandler):
    """Digests of what it was given, never the values."""
    def do_GET(self):
        digest = lambda text: hashlib.sha256(text.encode()).hexdigest()
        found = {name: digest(value) for name, value in os.environ.items() if name.startswith("OWN_")}
        for file in pathlib.Path("secrets").rglob("*"):
            if file.is_file() and not file.name.startswith("."):
                found[file.name] = [digest(file.read_text()), oct(file.stat().st_mode & 0o777)]
        found["signals"] = signals
        found["names"] = sorted(name for name in os.environ if "VAULT" in name)
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(found).encode())
HTTPServer(("", 3000), Answer).serve_forever()
'''


class Canaries:
    """Values that must be found nowhere but with the service whose they are."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def new(self, name: str) -> str:
        """A value that no other run knows, with signs that end strings in most languages."""
        self.values[name] = f"canary-{uuid.uuid4().hex}-\"'\\ ${{x}} {{{{ y }}}}\n<&>"
        return self.values[name]

    def found_in(self, text: str) -> list[str]:
        """The names of those in a text; their first part is enough to know one."""
        return [name for name, value in self.values.items() if value[:39] in text]


class Services:
    """Services with secrets, deployed by the stack's developer."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.names: set[str] = set()
        self._cli = cli
        self._folder = folder

    def file(self, name: str, secrets: dict[str, Any], **more: Any) -> Path:
        """The spec of a service that tells digests of what it was given."""
        self.names.add(name)
        body = {
            "name": name,
            "version": "1.0.0",
            "command": ["python3", "local/app.py"],
            "files": {"app.py": {"content": PROGRAM}},
            "port": 3000,
            "routes": [{"path": "/"}],
            "allow": ["tester"],
            "health": {"path": "/"},
            "rollout": {"strategy": "rolling", "min_healthy": "1s", "drain": "1s"},
            "secrets": secrets,
            **more,
        }
        file = self._folder / f"{name}.hms.json"
        file.write_text(json.dumps(body), encoding="utf-8")
        return file

    def deploy(self, name: str, secrets: dict[str, Any], *options: str, **more: Any) -> Ran:
        """Deploy it; the answer may be a failure."""
        return self._cli("deploy", self.file(name, secrets, **more), "--yes", *options)
