"""Rules about services outside the mesh (HMS28x)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import Hit, check

_THIS_MACHINE = ("localhost", "127.", "0.0.0.0")  # noqa: S104 - compared with, not listened on
_EXAMPLE = "kind: external\nname: db\nversion: '15'\nprotocol: tcp\nport: 5432\nhost: "


@check(
    "HMS281",
    Level.ERROR,
    "A public route of a service that runs elsewhere",
    reads=("kind", "routes"),
    fix="remove public, or put a service of your own in front",
    example=_EXAMPLE.replace("tcp", "http") + "legacy.agency.gov\nroutes: [{path: /, public: true}]",
)
def public_outside(spec: Spec) -> Iterator[Hit]:
    """The gateway leads into the mesh. Out of it again, to a machine that no sidecar guards, it leads nobody."""
    if spec.kind == "external":
        for index, route in enumerate(spec.routes):
            if route.public:
                yield Hit(("routes", index, "public"), "an external service has no public routes")


@check(
    "HMS282",
    Level.WARNING,
    "An external service on whatever machine the egress runs on",
    reads=("kind", "host"),
    fix="name the machine by an address that other machines reach",
    example=_EXAMPLE + "localhost",
)
def host_is_here(spec: Spec) -> Iterator[Hit]:
    """The host is reached from the egress, wherever Nomad runs that: its own loopback is another one each time."""
    if spec.host is not None and spec.host.lower().startswith(_THIS_MACHINE):
        yield Hit(("host",), f"host {spec.host} is the egress's own machine")


@check(
    "HMS283",
    Level.ERROR,
    "A setting for instances, of a service that runs elsewhere",
    reads=("kind", "mesh.balance", "mesh.max_connections"),
    fix="remove it",
    example=_EXAMPLE + "db.agency.gov\nmesh: {max_connections: 100}",
)
def instances_outside(spec: Spec) -> Iterator[Hit]:
    """An external service is one address, and no sidecar stands beside it that could count connections."""
    if spec.kind == "external":
        for name in ("balance", "max_connections"):
            if name in spec.mesh.given:
                yield Hit(("mesh", name), f"an external service has no mesh.{name}", at_key=True)
