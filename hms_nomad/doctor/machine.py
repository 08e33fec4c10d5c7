"""This machine -> what keeps it from running a node or a stack, asked of the machine alone and of no server."""

from __future__ import annotations

from collections.abc import Callable

from hms_nomad.apply.progress import Event
from hms_nomad.dev.binaries import Binaries, find_binaries, find_cni
from hms_nomad.dev.engine import find_engine
from hms_nomad.dev.errors import MissingBinaryError, StackError
from hms_nomad.dev.machine import check_ports, check_rights, check_tools
from hms_nomad.dev.settings import StackSettings
from hms_nomad.doctor.finding import Finding, Section, SectionResult, finding
from hms_nomad.doctor.mesh import envoy_too_old

_CHECKS = 7
# Consul names the versions that it supports only while it runs: these are of its table, by its minor version
# (https://developer.hashicorp.com/consul/docs/reference/proxy/envoy#supported-versions).
_OLDEST_ENVOY = {(1, 17): "1.24.0", (1, 18): "1.25.0", (1, 19): "1.26.0", (1, 20): "1.28.0", (1, 21): "1.28.0"}


def examine_machine(settings: StackSettings) -> SectionResult:
    """What the machine lacks for a stack of ``settings``; nothing is fetched, started or written."""
    found: list[Finding] = []
    found += _refused("D001", "this machine", check_rights)
    found += _refused("D002", "this machine", check_tools)
    found += _refused("D004", "this machine", find_cni)
    found += _refused("D005", "this machine", lambda: check_ports(settings, ("consul", "nomad", "vault")))
    if settings.docker is not False and find_engine() is None:
        found.append(finding("D006", "this machine", "no container engine answers at its socket"))
    found += _programs(settings)
    return SectionResult(Section.MACHINE, _CHECKS, tuple(found))


def _programs(settings: StackSettings) -> list[Finding]:
    try:
        return _pair(find_binaries(settings, _unseen))
    except MissingBinaryError as error:
        return [finding("D003", error.binary, error.what, error.fix)]
    except StackError as error:
        return [finding("D003", "this machine", error.what, error.fix)]


def _pair(programs: Binaries) -> list[Finding]:
    minor = tuple(int(part) for part in programs.consul.version.split(".")[:2])
    oldest = _OLDEST_ENVOY.get((minor[0], minor[1]))
    if oldest is None or not envoy_too_old(programs.envoy.version, (oldest,)):
        return []
    detail = f"Envoy {programs.envoy.version} with Consul {programs.consul.version}, which needs {oldest} or newer"
    return [finding("D007", "envoy", detail)]


def _refused(code: str, subject: str, check: Callable[[], object]) -> list[Finding]:
    try:
        check()
    except StackError as error:
        return [finding(code, subject, error.what, error.fix)]
    return []


def _unseen(event: Event) -> None:
    del event
