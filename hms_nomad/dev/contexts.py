"""A running stack -> the contexts by which every other command finds it: its own, and of a secure one an admin's."""

from __future__ import annotations

import sys
from pathlib import Path

from hms_nomad.clients.nomad_types import Node as ReadyNode
from hms_nomad.dev import nomad_agent, vault_server
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.consul_agent import LOOPBACK
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.rootfs import PROGRAMS
from hms_nomad.dev.security import Security
from hms_nomad.dev.settings import StackSettings
from hms_nomad.dev.state import ServerRecord, StackRecord
from hms_nomad.platform.context import list_contexts, load_platform
from hms_nomad.platform.model import Autoscaler, Platform, Rollouts, ServerAddress, Telemetry
from hms_nomad.platform.model_images import Images
from hms_nomad.platform.model_proxies import Egress, Gateway, Sidecar


def admin_context(name: str) -> str:
    """The name of the context with the management tokens of a secure stack."""
    return f"{name}-admin"


def check_contexts(name: str) -> None:
    """Contexts of these names are a development stack's, or are none. Raises StackError."""
    for context in (name, admin_context(name)):
        if context in list_contexts().names and not load_platform(context).development:
            raise StackError(
                f"there is a context {context} that is no development stack's", "give the stack another name"
            )


def platform_of(
    settings: StackSettings, record: StackRecord, node: ReadyNode, envoy: Binary, security: Security | None
) -> Platform:
    """What the stack's own context says. Tokens are named by their files."""
    platform = Platform(
        name=settings.name,
        nomad=_reached(record.servers["nomad"]),
        consul=_reached(record.servers["consul"]),
        vault=_vault(record.servers.get("vault"), settings.state_dir / "vault", security),
        region=nomad_agent.REGION,
        sidecar=_sidecar(node, envoy),
        command_driver="raw_exec",
        rollouts=Rollouts(command=_own_program()),
        images=_images(settings.name, record.servers.get("registry")),
        development=True,
    )
    if security is None:
        return platform
    grpc = f"{LOOPBACK}:{settings.ports.consul_grpc}"
    return platform.changed(
        nomad=_with_token(platform.nomad, security.token_file("nomad")),
        consul=_with_token(platform.consul, security.token_file("consul")),
        gateway=Gateway(consul_grpc=grpc),
        egress=Egress(consul_grpc=grpc),
        autoscaler=Autoscaler(consul_token=True),
        telemetry=Telemetry(consul_token=True, ca_file=security.ca_file),
        rollouts=Rollouts(command=_own_program(), consul_token=True),
    )


def admin_platform(platform: Platform, settings: StackSettings, security: Security) -> Platform:
    """The same stack for whoever sets it up: with the management tokens, and Vault's root token."""
    vault_token = vault_server.token_file(settings.state_dir / "vault")
    return platform.changed(
        name=admin_context(settings.name),
        nomad=_with_token(platform.nomad, security.token_file("nomad-management")),
        consul=_with_token(platform.consul, security.token_file("consul-management")),
        vault=_with_token(platform.vault, vault_token) if platform.vault else None,
    )


def _reached(server: ServerRecord) -> ServerAddress:
    return ServerAddress(address=server.address, ca_file=server.ca_file or None)


def _with_token(server: ServerAddress, file: Path) -> ServerAddress:
    return server.changed(token_file=str(file))


def _vault(server: ServerRecord | None, directory: Path, security: Security | None) -> ServerAddress | None:
    if server is None:
        return None
    return _with_token(
        _reached(server), security.token_file("vault") if security else vault_server.token_file(directory)
    )


def _images(name: str, registry: ServerRecord | None) -> Images:
    """What somebody wrote into the context about images, base images above all, stays; the registry is ours."""
    before = load_platform(name).images if name in list_contexts().names else Images()
    return before.changed(registry=registry.address.removeprefix("http://") if registry else None)


def _sidecar(node: ReadyNode, envoy: Binary) -> Sidecar:
    """Envoy in a small chroot where the node can make one, else as a plain process; both join a container's network."""
    if "exec" in node.drivers and "nomad.embedded" not in node.attributes:
        return Sidecar(driver="exec", command=f"{PROGRAMS}/{envoy.name}")
    return Sidecar(driver="raw_exec", command=str(envoy.path))


def _own_program() -> str:
    """This program as the node finds it: beside the interpreter that runs it, which need not be on the node's PATH."""
    beside = Path(sys.executable).with_name("hms-nomad")
    return str(beside) if beside.is_file() else str(Rollouts().command)
