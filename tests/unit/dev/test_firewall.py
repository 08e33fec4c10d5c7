from __future__ import annotations

import pytest

from hms_nomad.dev import firewall
from hms_nomad.dev.firewall import abandoned_chains, clean_firewall, own_chains, own_rules, parse, unused_shared
from hms_nomad.dev.network import Slot

_ALLOCATION = "24ea474b-f0fd-4482-2cbd-86610de1db1c"
_OTHER = "11111111-f0fd-4482-2cbd-86610de1db1c"
_OWN_CHAIN = "CNI-0b1e0a8a5bf0f7e4a5d6c7b8"
_OWN_PORTS = "CNI-DN-0b1e0a8a5bf0f7e4a5d6c"
_OTHER_CHAIN = "CNI-ffffffffffffffffffffffff"
_NAT = f"""-P PREROUTING ACCEPT
-P POSTROUTING ACCEPT
-P OUTPUT ACCEPT
-N {_OWN_CHAIN}
-N {_OTHER_CHAIN}
-N {_OWN_PORTS}
-N CNI-HOSTPORT-DNAT
-N CNI-HOSTPORT-MASQ
-N CNI-HOSTPORT-SETMARK
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A POSTROUTING -s 10.254.0.5/32 -m comment --comment "name: \\"nomad\\" id: \\"{_ALLOCATION}\\"" -j {_OWN_CHAIN}
-A POSTROUTING -s 172.26.64.5/32 -m comment --comment "name: \\"nomad\\" id: \\"{_OTHER}\\"" -j {_OTHER_CHAIN}
-A POSTROUTING -s 10.254.0.0/16 -j RETURN
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A {_OWN_CHAIN} -d 10.254.0.0/22 -j ACCEPT
-A {_OWN_CHAIN} ! -d 224.0.0.0/4 -j MASQUERADE
-A {_OTHER_CHAIN} -d 172.26.64.0/20 -j ACCEPT
-A {_OWN_PORTS} -d 10.255.0.1/32 -p tcp -m tcp --dport 20001 -j DNAT --to-destination 10.254.0.5:3000
-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 20001 -j {_OWN_PORTS}
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
"""


def test_only_rules_of_the_stacks_allocations_are_its_own() -> None:
    own = own_rules(parse("nat", _NAT), Slot(0), frozenset())

    assert own_chains(parse("nat", _NAT), Slot(0), frozenset()) == [_OWN_CHAIN, _OWN_PORTS]
    assert [chain for chain, _ in own] == ["POSTROUTING", "CNI-HOSTPORT-DNAT"]
    assert all("172.26" not in rule and rule != "-s 10.254.0.0/16 -j RETURN" for _, rule in own)


def test_a_rule_of_an_administrator_stays_even_where_it_names_the_bridge() -> None:
    text = "-P FORWARD DROP\n-A FORWARD -i hms0-allocs -j LOG\n-A INPUT -s 10.254.0.7/32 -j DROP\n"

    assert own_rules(parse("filter", text), Slot(0), frozenset()) == []


def test_a_rule_is_known_by_the_allocation_that_it_names() -> None:
    text = f'-N CNI-FORWARD\n-A CNI-FORWARD -m comment --comment "id: {_ALLOCATION}" -j ACCEPT\n'

    assert len(own_rules(parse("filter", text), Slot(0), frozenset({_ALLOCATION}))) == 1
    assert own_rules(parse("filter", text), Slot(0), frozenset({_OTHER})) == []


def test_the_rule_that_lets_traffic_to_the_bridge_through_is_the_stacks_own() -> None:
    text = (
        "-N NOMAD-ADMIN\n-A NOMAD-ADMIN -d 10.254.4.0/22 -o hms1-allocs -j ACCEPT\n"
        "-A NOMAD-ADMIN -d 172.26.64.0/20 -o nomad -j ACCEPT\n"
    )

    assert own_rules(parse("filter", text), Slot(1), frozenset()) == [
        ("NOMAD-ADMIN", "-d 10.254.4.0/22 -o hms1-allocs -j ACCEPT")
    ]


def test_an_empty_chain_is_the_stacks_own_where_a_rule_of_its_own_jumps_to_it() -> None:
    text = f"-N {_OWN_CHAIN}\n-N {_OTHER_CHAIN}\n-A POSTROUTING -s 10.254.0.5/32 -j {_OWN_CHAIN}\n"

    assert own_chains(parse("nat", text), Slot(0), frozenset()) == [_OWN_CHAIN]


@pytest.mark.parametrize(("alone", "stays"), [(False, True), (True, False)])
def test_a_chain_that_nothing_jumps_to_yet_stays_beside_another_nomad(
    monkeypatch: pytest.MonkeyPatch, alone: bool, stays: bool
) -> None:
    tables = {"nat": f"{_NAT}-N CNI-00000000000000000000aaaa\n", "filter": ""}
    removed = []

    def iptables(arguments: list[str]) -> str:
        if "-X" in arguments:
            removed.append(arguments[-1])
        return tables[arguments[3]]

    monkeypatch.setattr(firewall, "attempt", iptables)

    clean_firewall(Slot(0), (), alone=alone)

    assert removed[:2] == [_OWN_CHAIN, _OWN_PORTS]
    assert ("CNI-00000000000000000000aaaa" not in removed) == stays
    assert _OTHER_CHAIN not in removed


def test_an_allocations_chain_is_abandoned_when_nothing_jumps_to_it() -> None:
    text = f"-N {_OWN_CHAIN}\n-N {_OTHER_CHAIN}\n-N MINE\n-A POSTROUTING -j {_OTHER_CHAIN}\n"

    assert abandoned_chains(parse("nat", text)) == [_OWN_CHAIN]


def test_shared_chains_go_with_the_last_rule_in_them_the_jumps_first() -> None:
    text = (
        '-P FORWARD DROP\n-N CNI-FORWARD\n-N NOMAD-ADMIN\n-A FORWARD -m comment --comment "plugin" -j CNI-FORWARD\n'
        '-A FORWARD -j DOCKER-USER\n-A CNI-FORWARD -m comment --comment "admin overrides" -j NOMAD-ADMIN\n'
    )

    assert unused_shared(parse("filter", text)) == [
        ("CNI-FORWARD", [("FORWARD", '-m comment --comment "plugin" -j CNI-FORWARD')]),
        ("NOMAD-ADMIN", [("CNI-FORWARD", '-m comment --comment "admin overrides" -j NOMAD-ADMIN')]),
    ]


def test_shared_chains_stay_while_another_allocation_uses_them() -> None:
    assert unused_shared(parse("nat", _NAT)) == []


def test_without_published_ports_the_marks_of_the_port_mapping_go_too() -> None:
    text = "".join(f"{line}\n" for line in _NAT.splitlines() if not line.startswith("-A CNI-HOSTPORT-DNAT"))

    assert [chain for chain, _ in unused_shared(parse("nat", text))] == [
        "CNI-HOSTPORT-DNAT",
        "CNI-HOSTPORT-SETMARK",
        "CNI-HOSTPORT-MASQ",
    ]
