"""A real registry beside the stack, base images of this machine's own programs, and a context that names both."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.live.conftest import LiveStack, Ran, run_cli
from tests.registry_server import image_registry

_ROOT = Path(__file__).parents[3]
APP = """\
import http.server, json, os

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"says": "WORD", "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", 3000))), Answer).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Builder:
    """Runs the program with a registry; ``host`` is the registry's HOST:PORT."""

    host: str
    cli: Callable[..., Ran]
    context: Path

    @contextlib.contextmanager
    def changed(self, **fields: object) -> Iterator[None]:
        """The context with other fields."""
        text = self.context.read_text(encoding="utf-8")
        self.context.write_text(yaml.safe_dump(yaml.safe_load(text) | fields), encoding="utf-8")
        try:
            yield
        finally:
            self.context.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def builder(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """A context of the stack with a registry of its own and base images that are there."""
    if not stack.status.docker:
        pytest.skip("no container engine answers on this machine")
    script = [sys.executable, str(_ROOT / "scripts" / "base_images.py"), "python"]
    subprocess.run(script, check=True, capture_output=True)
    contexts = stack.config_dir / "contexts"
    with image_registry(tmp_path_factory.mktemp("registry")) as host:
        body = yaml.safe_load((contexts / f"{stack.settings.name}.yml").read_text(encoding="utf-8"))
        body |= {"name": "built", "images": {"registry": host, "bases": {"python": "hms-base/python:local"}}}
        context = contexts / "built.yml"
        context.write_text(yaml.safe_dump(body), encoding="utf-8")

        def cli(*words: str | Path, **environment: str) -> Ran:
            return run_cli(stack, *words, HMS_NOMAD_CONTEXT="built", **environment)

        yield Builder(host, cli, context)
        context.unlink()


def write_app(folder: Path, name: str, word: str = "first", **fields: object) -> Path:
    """A service in a directory of its own; answers its spec."""
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(APP.replace("WORD", word), encoding="utf-8")
    spec = {"name": name, "version": "1.0.0", "image": name, "build": {}, "port": 3000, "health": {"path": "/health"}}
    file = folder / f"{name}.hms.yml"
    body = {key: value for key, value in {**spec, **fields}.items() if value is not None}
    file.write_text(yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
    return file


def signing_key(folder: Path, name: str = "release") -> Path:
    """A key to sign with, and beside it the public one."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(pem, form))
    return folder / f"{name}.key"


def signed_only(folder: Path) -> list[str]:
    """Deploy rules that want the signature of ``release.pub``, as a context names them."""
    rule = {"name": "signed", "why": "reviewed", "require_signature": ["release.pub"]}
    (folder / "rules.yml").write_text(yaml.safe_dump({"rules": [rule]}), encoding="utf-8")
    return [str(folder / "rules.yml")]
