"""A gateway whose certificate comes from Vault, with nothing made by hand but its context."""

from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.clients.errors import DeniedError
from hms_nomad.clients.http_call import Target, ask, public_context
from hms_nomad.platform.context import load_platform, remove_context, save_context
from hms_nomad.platform.model_proxies import GatewayTls
from tests.live.conftest import Cli, own_contexts
from tests.live.secure.conftest import SecureStack

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]

HOST = "api.agency.test"


def test_bootstrap_lets_the_gateway_have_its_certificate_and_no_other(
    secure: SecureStack, secure_cli: Cli, tmp_path: Path
) -> None:
    with own_contexts(secure.stack.config_dir):
        platform = load_platform(secure.admin)
        assert platform.gateway is not None
        gateway = platform.gateway.changed(tls=GatewayTls(names=(HOST,)))
        save_context(platform.changed(name="front", gateway=gateway))
    front = ("--context", "front")
    try:
        made = secure_cli("bootstrap", "--apply", "--yes", *front)
        assert made.exit_code == 0, made.stderr
        assert secure_cli("bootstrap", "--plan", *front).exit_code == 0
        installed = secure_cli("platform", "install", "gateway", *front)
        assert installed.exit_code == 0, installed.stderr

        with secure.as_admin() as session:
            vault = session.vault
            assert vault is not None
            (tmp_path / "ca.pem").write_text(str((vault.read("pki-root/cert/ca") or {})["certificate"]))
            (instance,) = session.consul.instances(gateway.name).value
        target = Target("gateway", instance.address, gateway.port, server_name=HOST)
        trusting = public_context(str(tmp_path / "ca.pem"))
        assert ask(target, "GET", "/", {"Host": HOST}, None, 10.0, trusting).status == 404
        other = Target("gateway", instance.address, gateway.port, server_name="other.test")
        with pytest.raises(DeniedError, match="certificate"):
            ask(other, "GET", "/", {}, None, 10.0, trusting)
    finally:
        assert secure_cli("platform", "remove", "gateway", "--force", *front).exit_code == 0
        with own_contexts(secure.stack.config_dir):
            remove_context("front")
        with secure.as_admin() as session:
            assert session.vault is not None
            for path in ("pki/roles/hms-gateway", "auth/jwt-nomad/role/hms-gateway"):
                session.vault.delete(path)
            session.vault.delete_policy("hms-gateway")
