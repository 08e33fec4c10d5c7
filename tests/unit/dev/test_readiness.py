from __future__ import annotations

import pytest

from hms_nomad.clients.nomad_types import Node
from hms_nomad.dev.readiness import lacks

_DRIVERS = frozenset({"raw_exec", "docker"})
_ATTRIBUTES = ("consul.grpc", "consul.connect")


def _node(*drivers: str, **attributes: str) -> Node:
    return Node(
        id="1",
        name="hms-dev",
        datacenter="dc1",
        status="ready",
        eligible=True,
        drivers=frozenset(drivers),
        attributes={name.replace("_", "."): value for name, value in attributes.items()},
        node_pool="default",
        address="10.255.0.1",
    )


@pytest.mark.parametrize(
    ("node", "missing"),
    [
        (None, "no node is ready"),
        (_node("raw_exec", "docker", consul_grpc="8502", consul_connect="true"), ""),
        (_node("raw_exec", consul_grpc="8502", consul_connect="true"), "node hms-dev lacks the driver docker"),
        (
            _node("docker", consul_grpc="8502"),
            "node hms-dev lacks the driver raw_exec, the attribute consul.connect",
        ),
        (
            _node("raw_exec", "docker", consul_grpc="-1", consul_connect="true"),
            "node hms-dev lacks Consul's gRPC port",
        ),
    ],
)
def test_what_a_node_lacks_is_said_in_words(node: Node | None, missing: str) -> None:
    assert lacks(node, _DRIVERS, _ATTRIBUTES) == missing
