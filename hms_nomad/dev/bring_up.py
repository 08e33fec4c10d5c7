"""Settings -> a running stack, step by step; each step looks first and does only what is missing."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.credentials import docker_configuration
from hms_nomad.clients.nomad_types import Node as ReadyNode
from hms_nomad.dev import access_lists, consul_agent, image_registry, nomad_agent, vault_server
from hms_nomad.dev.binaries import Binaries, find_binaries, find_cni, find_transparent_cni, has_nomad
from hms_nomad.dev.contexts import admin_platform, check_contexts, platform_of
from hms_nomad.dev.embedded import EMBEDDED, EmbeddedStack, check_embedded, own_program
from hms_nomad.dev.engine import Engine, find_engine
from hms_nomad.dev.errors import StackError, UnsuitableMachineError
from hms_nomad.dev.firewall import separate
from hms_nomad.dev.leftovers import remove_tree, unmount_below
from hms_nomad.dev.machine import check_ports, check_rights, check_tools
from hms_nomad.dev.network import Slot, claim, keep_accepted, machine_locked
from hms_nomad.dev.pause import ensure_image, image_name
from hms_nomad.dev.processes import alive
from hms_nomad.dev.readiness import await_node
from hms_nomad.dev.rootfs import build_rootfs
from hms_nomad.dev.security import Security, ensure_security
from hms_nomad.dev.server import Server, await_answer, ensure_started, environment
from hms_nomad.dev.settings import StackSettings
from hms_nomad.dev.state import ServerRecord, StackRecord, load, save
from hms_nomad.platform.context import save_context, use_context


def owner_of(settings: StackSettings) -> str:
    """What marks the stack's interface: its name, and which state directory it is of."""
    return f"hms-nomad:{settings.name}:{hashlib.sha256(str(settings.state_dir).encode()).hexdigest()[:12]}"


def bring_up(settings: StackSettings, report: Report) -> tuple[StackRecord, bool]:
    """Bring a stack up, or repair it; answers its record, and whether anything was started.

    The caller holds the stack's lock. Raises the errors of ``hms_nomad.dev.errors`` and
    ``hms_nomad.clients.errors``; what runs by then stays, for its logs, until the stack is taken down.
    """
    embedded = _is_embedded(settings, load(settings.state_dir))
    if not embedded:
        check_rights()
        check_tools()
    check_contexts(settings.name)
    engine = None if embedded else _engine(settings)
    record = _record(settings)
    if embedded:
        check_embedded(settings)
        settings = replace(settings, registry=settings.registry or "registry" in record.servers)
        binaries = find_binaries(settings, report, own_program())
        check_ports(settings, _absent(record, binaries))
        return EmbeddedStack(settings, report, binaries, record).up()
    # What the stack has once it keeps.
    settings = replace(
        settings, registry=settings.registry or "registry" in record.servers, secure=settings.secure or record.secure
    )
    if settings.secure and not record.secure and record.servers:
        raise StackError(
            f"the stack {settings.name} runs without access lists and TLS",
            "take it down first: what it holds was open to everybody on this machine",
        )
    binaries = find_binaries(settings, report)
    cni_dir = find_cni()
    if "vault" in record.servers and binaries.vault is None:
        raise StackError(
            f"the stack {settings.name} has a Vault, which signs the certificates of its mesh",
            "bring it up with one, or take it down first",
        )
    check_ports(settings, _absent(record, binaries))
    return _Stack(settings, report, binaries, cni_dir, engine, record).up()


class _Stack:
    """The steps of one ``up``; the record is saved after each, so that ``down`` knows of everything."""

    def __init__(
        self,
        settings: StackSettings,
        report: Report,
        binaries: Binaries,
        cni_dir: Path,
        engine: Engine | None,
        record: StackRecord,
    ) -> None:
        self._settings = settings
        self._report = report
        self._binaries = binaries
        self._cni_dir = cni_dir
        self._engine = engine
        self._record = record
        self._deadline = time.monotonic() + settings.timeout
        self._security: Security | None = None
        self._environment = environment(settings.state_dir, settings.state_dir / "bin")
        self._started = False

    def up(self) -> tuple[StackRecord, bool]:
        slot = self._place()
        if self._settings.secure:
            self._remember(secure=True)
            self._security = ensure_security(self._settings.state_dir)
        self._programs()
        consul = self._consul()
        vault = self._vault(consul) if self._binaries.vault else None
        self._registry()
        nomad = self._nomad(slot, vault)
        node = await_node(
            nomad,
            docker=self._engine is not None,
            vault=vault is not None,
            deadline=self._deadline,
            report=self._report,
            token=self._management("nomad"),
        )
        self._write_context(slot, node)
        return self._record, self._started

    def _place(self) -> Slot:
        with machine_locked():
            slot = claim(self._record.slot, owner_of(self._settings))
        if slot.number != self._record.slot:
            # Whoever had this place before is gone; what is left of it would confuse our Nomad.
            unmount_below([slot.directory])
            remove_tree(slot.directory)
        self._remember(slot=slot.number)
        facts = {"interface": slot.interface, "address": slot.address, "subnet": slot.subnet}
        self._report(Event("network", f"{slot.interface} at {slot.address}, allocations in {slot.subnet}", facts))
        return slot

    def _programs(self) -> None:
        """One directory with the programs, first on the servers' PATH: Nomad runs ``consul`` for every sidecar."""
        directory = self._settings.state_dir / "bin"
        directory.mkdir(exist_ok=True, mode=0o755)
        for binary in (self._binaries.consul, self._binaries.nomad, self._binaries.envoy, self._binaries.vault):
            if binary is not None:
                link = directory / binary.name
                if not (link.is_symlink() and link.readlink() == binary.path):
                    link.unlink(missing_ok=True)
                    link.symlink_to(binary.path)

    def _consul(self) -> ServerRecord:
        settings = self._settings
        directory = settings.state_dir / "consul"
        server = consul_agent.consul_server(
            settings.name, self._binaries.consul, settings.ports, directory, self._environment, self._security
        )
        with contextlib.closing(consul_agent.consul_client(server)) as client:
            record = self._start(server, lambda: consul_agent.lacks_leader(client))
        if (security := self._security) is None:
            return record
        await_answer(record, lambda: access_lists.lacks_access_lists(record, security), self._deadline)
        if access_lists.grant_in_consul(record, security):
            self._report(Event("access", "Consul denies what no token allows", {"server": "consul"}))
        return record

    def _vault(self, consul: ServerRecord) -> ServerRecord:
        settings, binary = self._settings, self._binaries.vault
        if binary is None:
            raise StackError("this stack has no Vault")
        directory = settings.state_dir / "vault"
        server = vault_server.vault_server(binary, settings.ports, directory, self._environment, self._security)
        record = self._start(server, lambda: vault_server.lacks_answer(server))
        with (
            contextlib.closing(vault_server.open_vault(server.address, directory, server.ca_file)) as vault,
            contextlib.closing(consul_agent.consul_client(consul, self._management("consul"))) as client,
        ):
            await_answer(record, lambda: vault_server.lacks_activity(vault), self._deadline)
            if self._security:
                access_lists.grant_in_vault(vault, record, self._security)
            if vault_server.become_authority(vault, client, server.ca_file):
                self._report(Event("authority", "Vault signs the certificates of the mesh", {"provider": "vault"}))
        return record

    def _registry(self) -> None:
        binary = self._binaries.registry
        if binary is not None:
            directory = self._settings.state_dir / "registry"
            server = image_registry.registry_server(binary, self._settings.ports, directory, self._environment)
            self._start(server, lambda: image_registry.lacks_answer(server.address))

    def _nomad(self, slot: Slot, vault: ServerRecord | None) -> ServerRecord:
        settings = self._settings
        rootfs = slot.directory / "rootfs"
        separate(slot)
        keep_accepted()
        build_rootfs(rootfs, (self._binaries.envoy, self._binaries.consul))
        node = nomad_agent.Node(
            slot=slot,
            cni_dir=self._cni_dir,
            alloc_dir=slot.directory / "alloc",
            rootfs=rootfs,
            docker=self._engine.socket if self._engine else None,
            pause_image=self._pause_image(slot),
            vault=vault.address if vault else None,
            transparent_cni=find_transparent_cni(self._cni_dir),
            docker_auth=docker_configuration(),
        )
        directory, security = settings.state_dir / "nomad", self._security
        server = nomad_agent.nomad_server(
            settings.name, self._binaries.nomad, settings.ports, node, directory, self._environment, security
        )
        if not (server.directory / "data" / "server").is_dir():
            first, _ = ensure_started(nomad_agent.without_node(server), None)
            self._keep(first)
            self._first_token(first)
            token = self._management("nomad")
            await_answer(first, lambda: nomad_agent.lacks_keys(first, token), self._deadline)
        with contextlib.closing(nomad_agent.nomad_client(server)) as client:
            record = self._start(server, lambda: nomad_agent.lacks_leader(client))
        self._first_token(record)
        if security and access_lists.grant_in_nomad(record, security):
            self._report(Event("access", "Nomad denies what no token allows", {"server": "nomad"}))
        return record

    def _first_token(self, server: ServerRecord) -> None:
        if security := self._security:
            await_answer(server, lambda: access_lists.lacks_first_token(server, security), self._deadline)

    def _pause_image(self, slot: Slot) -> str:
        """The image that we made, or none where Nomad's own must do."""
        if self._engine is None:
            return ""
        image = image_name(slot.number)
        self._remember(image=image, docker=True)
        return image if ensure_image(self._engine, image) else ""

    def _start(self, server: Server, missing: Callable[[], str]) -> ServerRecord:
        record, started = ensure_started(server, self._record.servers.get(server.name))
        self._keep(record)
        await_answer(record, missing, self._deadline)
        self._started |= started
        word = "started" if started else "runs already"
        facts = {"name": record.name, "pid": record.process.pid, "address": record.address, "started": started}
        self._report(Event("server", f"{server.binary.name} {server.binary.version} {word} at {server.address}", facts))
        return record

    def _keep(self, server: ServerRecord) -> None:
        self._record = self._record.with_server(server)
        save(self._settings.state_dir, self._record)

    def _write_context(self, slot: Slot, node: ReadyNode) -> None:
        settings, security = self._settings, self._security
        platform = platform_of(settings, self._record, node, self._binaries.envoy, security)
        file = save_context(platform)
        if security is not None:
            save_context(admin_platform(platform, settings, security))
        use_context(settings.name)
        self._remember(context=settings.name, sidecar=platform.sidecar.driver)
        facts = {"context": settings.name, "file": str(file), "address": slot.address}
        self._report(Event("context", f"context {settings.name} written to {file}", facts))

    def _management(self, server: str) -> str:
        """The token with which a stack's own server is set up; "" where none is asked for."""
        return self._security.token(f"{server}-management") if self._security else ""

    def _remember(self, **changes: str | int | bool) -> None:
        self._record = replace(self._record, **changes)
        save(self._settings.state_dir, self._record)


def _engine(settings: StackSettings) -> Engine | None:
    if settings.docker is False:
        return None
    engine = find_engine()
    if engine is None and settings.docker:
        raise UnsuitableMachineError(
            "no container engine answers at DOCKER_HOST or /var/run/docker.sock",
            "start one (Debian: apt-get install docker.io), or leave containers out",
        )
    return engine


def _is_embedded(settings: StackSettings, record: StackRecord | None) -> bool:
    """What was asked for, or what the stack is already, or what this machine has."""
    before = (record.nomad or "real") if record is not None and record.servers else None
    if settings.nomad is not None and before not in (None, settings.nomad):
        raise StackError(
            f"the stack {settings.name} has the {before} Nomad", f"take it down first, or use --nomad {before}"
        )
    wanted = settings.nomad or before
    return wanted == EMBEDDED if wanted else not (settings.secure or settings.vault or has_nomad())


def _record(settings: StackSettings) -> StackRecord:
    record = load(settings.state_dir)
    if record is None:
        return StackRecord(name=settings.name, port_offset=settings.port_offset)
    if (record.name, record.port_offset) != (settings.name, settings.port_offset):
        raise StackError(
            f"{settings.state_dir} holds the stack {record.name} with the port offset {record.port_offset}",
            "use these, or take it down first",
        )
    return record


def _absent(record: StackRecord, binaries: Binaries) -> list[str]:
    optional = (("vault", binaries.vault), ("registry", binaries.registry))
    wanted = ["consul", "nomad", *(name for name, binary in optional if binary)]
    running = {name for name, server in record.servers.items() if alive(server.process)}
    return [name for name in wanted if name not in running]
