from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import astuple

from hms_nomad.dev.errors import SettingsError
from hms_nomad.dev.settings import Ports, StackSettings


@pytest.mark.parametrize("name", ["", "Dev", "-dev", "dev-", "a/b", "../x", "a.b", "x" * 33, "dév", "a\n"])
def test_a_name_that_is_no_label_is_refused_with_what_would_be_right(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a stack; use up to 32 lower-case letters"):
        StackSettings(name=name)


@pytest.mark.parametrize("offset", [-1, 56936])
def test_a_port_offset_beyond_the_ports_is_refused(offset: int) -> None:
    with pytest.raises(SettingsError, match="use 0 to 56935"):
        StackSettings(port_offset=offset)


def test_the_highest_offset_still_gives_ports() -> None:
    ports = astuple(StackSettings(port_offset=56935).ports)

    assert max(ports) == 65535
    assert len(set(ports)) == len(ports)


def test_without_an_offset_the_servers_have_their_usual_ports() -> None:
    ports = Ports.shifted(0)

    assert (ports.nomad_http, ports.consul_http, ports.consul_grpc, ports.consul_dns, ports.vault_api) == (
        4646,
        8500,
        8502,
        8600,
        8200,
    )


def test_the_state_lies_in_the_users_state_directory_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert StackSettings(name="two").state_dir == tmp_path / "hms-nomad" / "stacks" / "two"


def test_a_relative_state_directory_is_taken_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert StackSettings(state_dir=Path("here")).state_dir == tmp_path / "here"
