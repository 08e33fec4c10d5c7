"""What a stack leaves out, and what it falls back on: no container engine, no Vault, no chroot for sidecars."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_nomad.dev.binaries import find_binaries
from hms_nomad.platform.context import CONTEXT_VARIABLE, save_context
from hms_nomad.platform.model_proxies import Sidecar
from hms_nomad.workflows.session import open_session
from tests.live.conftest import Cli, LiveStack, own_contexts, run_cli, running_stack
from tests.live.stack.server import SERVER


def _process(folder: Path, name: str) -> Path:
    spec = {
        "name": name,
        "version": "1.0.0",
        "port": 3000,
        "command": ["python3", "-c", SERVER],
        "health": {"path": "/hello", "interval": "2s"},
    }
    file = folder / f"{name}.hms.yml"
    file.write_text(json.dumps(spec), encoding="utf-8")
    return file


def test_without_containers_and_vault_processes_still_meet_in_the_mesh(tmp_path: Path) -> None:
    with running_stack("plain", docker=False, vault=False) as plain:
        assert plain.platform.vault is None
        assert {server.name for server in plain.status.servers} == {"consul", "nomad"}
        with own_contexts(plain.config_dir), open_session(plain.platform) as session:
            assert session.consul.ca_configuration().provider == "consul"
            assert {"raw_exec"} <= session.nomad.ready_nodes()[0].drivers
            assert "docker" not in session.nomad.ready_nodes()[0].drivers

        ran = run_cli(plain, "deploy", _process(tmp_path, "process"))

        assert ran.exit_code == 0, ran.stderr


@pytest.mark.real_nomad("a chroot for sidecars")
def test_where_no_chroot_can_be_made_envoy_serves_as_a_plain_process(
    stack: LiveStack, cli: Cli, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    envoy = find_binaries(stack.settings, lambda event: None).envoy
    sidecar = Sidecar(driver="raw_exec", command=str(envoy.path))
    with own_contexts(stack.config_dir):
        save_context(stack.platform.changed(name="no-chroot", sidecar=sidecar))

    ran = cli("deploy", _process(tmp_path, fresh_name("bare")), **{CONTEXT_VARIABLE: "no-chroot"})

    assert ran.exit_code == 0, ran.stderr
