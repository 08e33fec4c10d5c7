from __future__ import annotations

import ipaddress
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.dev import network
from hms_nomad.dev.errors import UnsuitableMachineError
from hms_nomad.dev.network import Slot, claim, is_lost, machine_locked, neighbours, release
from hms_nomad.dev.system import CommandError


class Kernel:
    """Answers ``ip`` commands from a few links in memory."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds
        self.links: dict[str, dict[str, Any]] = {}

    def run(self, arguments: list[str]) -> str:
        match arguments:
            case ["ip", "-json", *_]:
                return json.dumps(list(self.links.values()))
            case ["ip", "link", "add", "name", name, "type", kind]:
                if kind not in self.kinds:
                    raise CommandError(arguments, "RTNETLINK answers: Operation not supported")
                if name in self.links:
                    raise CommandError(arguments, "RTNETLINK answers: File exists")
                self.links[name] = {"ifname": name, "addr_info": [], "kind": kind}
            case ["ip", "link", "set", "dev", name, "alias", alias]:
                self.links[name]["ifalias"] = alias
            case ["ip", "address", "replace", address, "dev", name]:
                self.add_address(name, address)
            case ["ip", "link", "delete", "dev", name]:
                del self.links[name]
        return ""

    def add_address(self, name: str, address: str) -> None:
        local, _, length = address.partition("/")
        row = {"family": "inet", "local": local, "prefixlen": int(length)}
        self.links.setdefault(name, {"ifname": name, "addr_info": []})["addr_info"] = [row]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel("dummy", "bridge")
    monkeypatch.setattr(network, "run", kernel.run)
    monkeypatch.setattr(network, "attempt", kernel.run)
    return kernel


def test_no_two_stacks_share_an_address() -> None:
    networks = [
        ipaddress.ip_network(text, strict=False)
        for slot in map(Slot, range(64))
        for text in (f"{slot.address}/24", slot.subnet)
    ]

    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))


def test_names_of_interfaces_are_as_short_as_the_kernel_wants() -> None:
    assert max(len(name) for n in range(64) for name in (Slot(n).interface, Slot(n).bridge)) <= 15


def test_a_socket_of_an_allocation_fits_into_the_kernels_limit() -> None:
    allocation = Slot(63).directory / "alloc" / ("x" * 36) / "alloc" / "tmp" / "consul_grpc.sock"

    assert len(str(allocation)) <= 107


def test_the_first_free_place_is_taken_and_kept(kernel: Kernel) -> None:
    assert claim(None, "one") == Slot(0)
    assert claim(None, "two") == Slot(1)
    assert claim(0, "one") == Slot(0)
    assert kernel.links["hms0"]["kind"] == "dummy"


def test_a_place_that_was_taken_and_never_noted_is_found_again(kernel: Kernel) -> None:
    claim(None, "other")
    claim(None, "one")

    assert claim(None, "one") == Slot(1)
    assert set(kernel.links) == {"hms0", "hms1"}


def test_without_dummy_devices_a_bridge_does_as_well(kernel: Kernel) -> None:
    kernel.kinds = ("bridge",)

    assert claim(None, "one") == Slot(0)
    assert kernel.links["hms0"]["kind"] == "bridge"


@pytest.mark.parametrize("address", ["10.255.0.9/24", "10.254.1.1/24"])
def test_a_place_whose_addresses_the_machine_uses_is_passed_over(kernel: Kernel, address: str) -> None:
    kernel.add_address("vpn0", address)

    assert claim(None, "one") == Slot(1)


def test_a_machine_that_uses_all_the_addresses_is_told_so(kernel: Kernel) -> None:
    kernel.add_address("vpn0", "10.0.0.1/8")

    with pytest.raises(
        UnsuitableMachineError, match="all 64 places for stacks are taken or their addresses are in use"
    ):
        claim(None, "one")


def test_a_kernel_without_devices_is_told_with_its_own_words(kernel: Kernel) -> None:
    kernel.kinds = ()

    with pytest.raises(UnsuitableMachineError, match=r"dummy: .*not supported; bridge: .*not supported"):
        claim(None, "one")


def test_an_interface_that_went_comes_back_at_the_same_place(kernel: Kernel) -> None:
    kernel.add_address(Slot(2).bridge, "10.254.8.1/22")

    assert claim(2, "one") == Slot(2)


def test_a_place_that_another_stack_took_meanwhile_is_not_ours_to_remove(kernel: Kernel) -> None:
    claim(None, "other")

    assert claim(0, "one") == Slot(1)
    assert release(Slot(0), "one") == ()
    assert release(Slot(1), "one") == ("hms1",)
    assert set(kernel.links) == {"hms0"}


def test_a_stack_is_a_neighbour_from_taking_its_place_to_giving_it_back_whatever_runs(kernel: Kernel) -> None:
    mine, other = claim(None, "one"), claim(None, "two")
    kernel.add_address(mine.bridge, "10.254.0.1/22")
    kernel.add_address("docker0", "172.17.0.1/16")

    assert neighbours(mine) == ("hms1",)
    release(other, "two")
    assert neighbours(mine) == ()


def test_the_bridge_of_a_nomad_that_is_no_stacks_is_a_neighbour(kernel: Kernel) -> None:
    kernel.add_address("nomad", "172.26.64.1/20")

    assert neighbours(Slot(0)) == ("nomad",)


def test_a_place_is_lost_to_whoever_took_it_after_a_reboot(kernel: Kernel) -> None:
    assert not is_lost(Slot(0), "one")
    claim(None, "one")

    assert not is_lost(Slot(0), "one")
    assert is_lost(Slot(0), "two")


def test_one_at_a_time_holds_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_LOCK", tmp_path / "lock")
    order = []

    def second() -> None:
        with machine_locked():
            order.append("second")

    with machine_locked():
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append("first")
    waiting.join()

    assert order == ["first", "second"]
