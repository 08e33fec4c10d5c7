"""Who signs the mesh's certificates: read, set, left, and renewed from the root or from the certificate below it.

Consul cross-signs a new root by the old one and goes on trusting both, so calls go on while agents fetch new leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import CaConfiguration
from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.vault import VaultClient
from hms_nomad.compile.foundation import CONNECT_PATHS, CONNECT_POLICY, BaseObject
from hms_nomad.patterns import lazy_pattern
from hms_nomad.plan.groundwork import Stored

_ROOT, _INTERMEDIATE = "RootPKIPath", "IntermediatePKIPath"
_PLAIN_SETTINGS = frozenset({"Token", _ROOT, _INTERMEDIATE})
_TOKEN_PERIOD_SECONDS = 32 * 24 * 3600
_NUMBERED = lazy_pattern(r"(.*?)(?:-([0-9]+))?/?")
_KEY_BITS = (256, 384)
"""A root of Consul's own is made anew when the size of its key changes."""


class Servers(Struct, frozen=True):
    """The servers that a foundation is laid on; ``vault`` is None where the platform has none."""

    nomad: NomadClient
    consul: ConsulClient
    vault: VaultClient | None


def vault_of(servers: Servers) -> VaultClient:
    """Raises InvalidRequestError where the platform has none."""
    if servers.vault is None:
        raise InvalidRequestError("vault", "be asked", "no address", "the platform has no Vault")
    return servers.vault


def read_authority(consul: ConsulClient) -> Stored | None:
    """The mesh's authority where it is a Vault; Consul's own, which every mesh begins with, is nobody's.

    Mounts of later roots count as the first ones: a rotation makes nothing differ from what is wanted.
    """
    found = consul.ca_configuration()
    if found.provider != "vault":
        return None
    paths = {key: _first(str(found.config.get(key, ""))) for key in CONNECT_PATHS}
    return Stored({**found.config, **paths}, paths[_ROOT] == CONNECT_PATHS[_ROOT])


def write_authority(servers: Servers, wanted: BaseObject) -> None:
    """Let Vault sign; where it does already, from the mounts that are in use."""
    current = servers.consul.ca_configuration()
    paths: Mapping[str, Any] = {}
    if current.provider == "vault" and _first(str(current.config.get(_ROOT, ""))) == CONNECT_PATHS[_ROOT]:
        paths = {key: current.config[key] for key in CONNECT_PATHS}
    servers.consul.set_ca_configuration("vault", {**wanted.body, **paths, "Token": _token(vault_of(servers))})


def leave_authority(servers: Servers) -> None:
    """Let Consul sign by itself again: Vault's root signs the new one, so that running sidecars go on trusting it."""
    current = servers.consul.ca_configuration()
    with _cross_signing(vault_of(servers), str(current.config.get(_ROOT, CONNECT_PATHS[_ROOT]))):
        servers.consul.set_ca_configuration("consul", {})


def renew_root(servers: Servers) -> None:
    """A new root, with all below it. Raises InvalidRequestError for an authority whose root is made by others."""
    current = servers.consul.ca_configuration()
    if current.provider == "consul":
        _renew_own_root(servers.consul, current)
        return
    _check_ours(servers.consul, current)
    paths = {key: _next(str(current.config[key])) for key in CONNECT_PATHS}
    with _cross_signing(vault_of(servers), str(current.config[_ROOT])):
        _set_paths(servers, current, paths)


def renew_intermediate(servers: Servers) -> str:
    """A new certificate between root and leaves; answers the mount in Vault of the one before.

    New leaves are signed by it at once. Consul notices that it has to replace the other ones when it elects a leader.
    Raises InvalidRequestError for an authority that has none, or whose mounts are of others.
    """
    current = servers.consul.ca_configuration()
    if current.provider != "vault":
        detail = f"leaves are signed by the root itself ({current.provider}): rotate the root"
        raise InvalidRequestError("consul", "renew the intermediate certificate", servers.consul.address, detail)
    _check_ours(servers.consul, current)
    before = str(current.config[_INTERMEDIATE])
    _set_paths(servers, current, {_ROOT: current.config[_ROOT], _INTERMEDIATE: _next(before)})
    return before.rstrip("/")


def forget_mount(servers: Servers, mount: str) -> None:
    """Remove the mount of an intermediate certificate that signs nothing any more."""
    vault_of(servers).delete(f"sys/mounts/{mount}")


def _renew_own_root(consul: ConsulClient, current: CaConfiguration) -> None:
    if current.config.get("RootCert") or current.config.get("PrivateKey"):
        detail = "its root was given to Consul (RootCert, PrivateKey): give it the next one in the same way"
        raise InvalidRequestError("consul", "renew the root certificate", consul.address, detail)
    bits = int(current.config.get("PrivateKeyBits") or _KEY_BITS[0])
    other = next(one for one in _KEY_BITS if one != bits)
    consul.set_ca_configuration("consul", {**current.config, "PrivateKeyType": "ec", "PrivateKeyBits": other})


def _check_ours(consul: ConsulClient, current: CaConfiguration) -> None:
    if _first(str(current.config.get(_ROOT, ""))) != CONNECT_PATHS[_ROOT]:
        detail = f"its authority ({current.provider}) was not set by hms-nomad bootstrap: rotate it by its own means"
        raise InvalidRequestError("consul", "renew the mesh's authority", consul.address, detail)


def _set_paths(servers: Servers, current: CaConfiguration, paths: Mapping[str, Any]) -> None:
    kept = {key: value for key, value in current.config.items() if key not in _PLAIN_SETTINGS}
    servers.consul.set_ca_configuration("vault", {**kept, **paths, "Token": _token(vault_of(servers))})


def _token(vault: VaultClient) -> str:
    return vault.create_token([CONNECT_POLICY], _TOKEN_PERIOD_SECONDS)


@contextmanager
def _cross_signing(vault: VaultClient, root: str) -> Iterator[None]:
    """Inside, Consul has the right to let a root sign another one, which it does not have otherwise."""
    text = vault.read_policy(CONNECT_POLICY) or ""
    right = f'path "{root.rstrip("/")}/root/sign-self-issued" {{ capabilities = ["sudo", "update"] }}'
    vault.write_policy(CONNECT_POLICY, f"{text}\n{right}")
    try:
        yield
    finally:
        vault.write_policy(CONNECT_POLICY, text)


def _first(path: str) -> str:
    """ "connect-root-3/" -> "connect-root/"."""
    match = _NUMBERED.fullmatch(path)
    return f"{match.group(1)}/" if match else path


def _next(path: str) -> str:
    """ "connect-root/" -> "connect-root-2/" -> "connect-root-3/"."""
    match = _NUMBERED.fullmatch(path)
    name, number = match.groups() if match else (path, None)
    return f"{name}-{int(number or 1) + 1}/"
