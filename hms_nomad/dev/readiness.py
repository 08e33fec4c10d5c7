"""A starting Nomad -> the node that takes the stack's work, followed on the event stream until nothing is lacking."""

from __future__ import annotations

import contextlib
import time

from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_parse import parse_node
from hms_nomad.clients.nomad_types import Node
from hms_nomad.dev.server import failed
from hms_nomad.dev.state import ServerRecord

_CONNECT = ("consul.grpc", "consul.connect", "consul.version")
_BRIDGE = tuple(f"plugins.cni.version.{name}" for name in ("bridge", "firewall", "host-local", "loopback", "portmap"))
_VAULT = ("vault.version",)
_OPTIONAL_SECONDS = 15.0


def await_node(
    server: ServerRecord, *, docker: bool, vault: bool, deadline: float, report: Report, token: str = ""
) -> Node:
    """Wait until the stack's node is ready and has all that services need.

    ``docker`` and ``vault`` demand the driver and the server too. ``deadline`` is a value of ``time.monotonic()``.
    The ``exec`` driver gets a quarter of a minute more to appear, for there is a way without it. Raises
    ServerFailedError that names what is lacking.
    """
    drivers = frozenset({"raw_exec", "docker"} if docker else {"raw_exec"})
    attributes = (*_CONNECT, *_BRIDGE, *(_VAULT if vault else ()))
    where = Connection(address=server.address, token=token, ca_file=server.ca_file or None)
    with contextlib.closing(NomadClient(where)) as client:
        node = _follow(client, drivers, attributes, server, deadline)
        if "exec" not in node.drivers:
            patience = min(deadline, time.monotonic() + _OPTIONAL_SECONDS)
            with contextlib.suppress(DeadlineExceededError):
                node = _until(client, drivers | {"exec"}, attributes, patience)
    facts = {"node": node.id, "name": node.name, "drivers": sorted(node.drivers), "address": node.address}
    report(Event("node", f"node {node.name} is ready with {', '.join(sorted(node.drivers))}", facts))
    return node


def lacks(node: Node | None, drivers: frozenset[str], attributes: tuple[str, ...]) -> str:
    """What a node lacks, in words, or nothing."""
    if node is None:
        return "no node is ready"
    missing = [f"the driver {name}" for name in sorted(drivers - node.drivers)]
    missing += [f"the attribute {name}" for name in attributes if not node.attributes.get(name)]
    if node.attributes.get("consul.grpc") == "-1":
        missing.append("Consul's gRPC port")
    return f"node {node.name} lacks {', '.join(missing)}" if missing else ""


def _follow(
    client: NomadClient, drivers: frozenset[str], attributes: tuple[str, ...], server: ServerRecord, deadline: float
) -> Node:
    try:
        return _until(client, drivers, attributes, deadline)
    except DeadlineExceededError as error:
        raise failed(server, f"has no node that services can run on: {error}") from None


def _until(client: NomadClient, drivers: frozenset[str], attributes: tuple[str, ...], deadline: float) -> Node:
    # From index 0 the stream begins with what it remembers: no event falls between looking and following.
    events = client.events({"Node": ["*"]}, deadline=deadline)
    node = next(iter(client.ready_nodes()), None)
    while True:
        missing = lacks(node, drivers, attributes)
        if node is not None and not missing:
            return node
        try:
            # What it tells cannot always be read yet, so it is taken from the event itself.
            told = parse_node(next(events).payload["Node"])
        except DeadlineExceededError:
            raise DeadlineExceededError(missing) from None
        node = told if told.status == "ready" else None
