"""Commands run in this process, on a machine where nothing is configured and no server answers."""

from __future__ import annotations

import os

import pytest

from hms_nomad.workflows.planning.prepare import Prepared


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("NOMAD_", "CONSUL_", "VAULT_", "HMS_NOMAD_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(tmp_path / "configuration"))
    # The discard port: whoever asks a server by mistake is refused at once.
    for name in ("NOMAD_ADDR", "CONSUL_HTTP_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(autouse=True)
def _nothing_to_prepare(monkeypatch):
    """No image is resolved and none is built: no server and no engine is asked."""

    def prepare(session, files, report, **_):
        return Prepared(session, tuple(files))

    for command in ("deploy", "plan"):
        monkeypatch.setattr(f"hms_nomad.cli.{command}.prepare", prepare)


@pytest.fixture
def spec_file(tmp_path):
    """The chapter's file, with the health check that a warning would ask for."""
    file = tmp_path / "receipt.hms.yml"
    file.write_text(
        "name: receipt-svc\nversion: 1.0.0\nimage: ghcr.io/gov/receipt:1.0\nport: 3000\n"
        "routes:\n  - path: /receipt\n    methods: [POST]\n"
        "scaling:\n  min: 2\n  max: 10\nhealth: {path: /health}\n",
        encoding="utf-8",
    )
    return str(file)
