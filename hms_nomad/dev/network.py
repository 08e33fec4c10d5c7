"""A stack -> its own interface and subnets on this machine, which allocations and the host both reach.

Servers listen on loopback, which an allocation in a bridge network cannot reach; what Nomad publishes of allocations
therefore gets an address of an interface that exists for this purpose alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.dev.errors import StackError, UnsuitableMachineError
from hms_nomad.dev.system import CommandError, attempt, run
from hms_nomad.patterns import lazy_pattern

_SLOTS = 64
_KINDS = ("dummy", "bridge")
_PORTS_FIRST = 20000
_PORTS_EACH = 750
_PORT_BANDS = 16
_HERE = Path("/var/lib/hms-nomad")
# Stacks' interfaces, their bridges, and the bridge that a Nomad makes unless it is told another name.
_PLACES = lazy_pattern(r"hms\d+(?:-allocs)?|nomad")
_LOCK = Path("/run/hms-nomad.lock")
_MIGRATION = Path("/proc/sys/net/ipv4/tcp_migrate_req")


class Slot(Struct, frozen=True):
    """The place of one stack on this machine: everything here is its own, whatever other stacks run.

    ``interface`` carries ``address``; allocations live behind ``bridge`` in ``subnet``. ``directory`` is a short one:
    the name of a socket below it must fit into 107 bytes.
    """

    number: int

    @property
    def interface(self) -> str:
        """Name of the interface whose address allocations are published at."""
        return f"hms{self.number}"

    @property
    def address(self) -> str:
        """The interface's address."""
        return f"10.255.{self.number}.1"

    @property
    def bridge(self) -> str:
        """Name of the bridge that allocations are plugged into; Nomad makes it."""
        return f"hms{self.number}-allocs"

    @property
    def subnet(self) -> str:
        """The allocations' addresses, about a thousand."""
        return f"10.254.{self.number * 4}.0/22"

    @property
    def directory(self) -> Path:
        """A short directory for allocations."""
        return _HERE / str(self.number)

    @property
    def dynamic_ports(self) -> tuple[int, int]:
        """First and last of the ports that Nomad hands out."""
        first = _PORTS_FIRST + self.number % _PORT_BANDS * _PORTS_EACH
        return first, first + _PORTS_EACH - 1


@contextlib.contextmanager
def machine_locked() -> Iterator[None]:
    """Hold what all stacks of this machine share, while a place is taken or given back; waits for another holder.

    A holder does nothing but a few commands of the system, each with a limit of its own, and its end frees the lock.
    """
    stream = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
    finally:
        os.close(stream)


def claim(number: int | None, owner: str) -> Slot:
    """The slot whose interface carries the mark ``owner``; else that of ``number`` or the first free one, made anew.

    The caller holds the machine's lock. From here on to ``release`` the interface tells every other stack that this one
    lives here, whichever of its servers run. The mark counts more than the number: a command that was killed may have
    made an interface without noting it.
    Making one is atomic: two stacks that come up at once get two slots. Raises UnsuitableMachineError when the kernel
    refuses or nothing is free.
    """
    links = _links()
    mine = next((slot for slot in map(Slot, range(_SLOTS)) if _owner(links, slot) == owner), None)
    if mine is not None:
        _set_up(mine, owner)
        return mine
    if number is not None:
        # What is left of our own bridge after somebody removed the interface is no obstacle.
        links.pop(Slot(number).bridge, None)
    candidates = range(_SLOTS) if number is None else [number, *(n for n in range(_SLOTS) if n != number)]
    for slot in (Slot(candidate) for candidate in candidates):
        if slot.interface not in links and not _overlaps(slot, links) and _create(slot):
            _set_up(slot, owner)
            return slot
    raise UnsuitableMachineError(
        f"all {_SLOTS} places for stacks are taken or their addresses are in use",
        "take down a stack that is no longer needed",
    )


def is_lost(slot: Slot, owner: str) -> bool:
    """True when another stack has the place now; after a reboot anybody may take it, and nothing there is ours then."""
    return _owner(_links(), slot) not in (None, owner)


def neighbours(slot: Slot) -> tuple[str, ...]:
    """The interfaces and bridges of other Nomads: those of stacks beside ``slot``, and the bridge that Nomad makes."""
    own = (slot.interface, slot.bridge)
    return tuple(name for name in _links() if _PLACES.fullmatch(name) and name not in own)


def release(slot: Slot, owner: str) -> tuple[str, ...]:
    """Remove the interface and the allocations' bridge of a slot; answers the names of what was removed.

    The caller holds the machine's lock.
    """
    links = _links()
    ours = _owner(links, slot) == owner
    names = [name for name in (slot.interface, slot.bridge) if name in links and ours]
    return tuple(name for name in names if attempt(["ip", "link", "delete", "dev", name]) is not None)


def keep_accepted() -> None:
    """Let a connection that came to a port just before one of several instances closed it go to another of them.

    Without it the kernel (Linux 5.14 and later know it) resets what an instance of the gateway had not taken up yet.
    """
    with contextlib.suppress(OSError):
        _MIGRATION.write_text("1\n", encoding="ascii")


def _create(slot: Slot) -> bool:
    """Make the interface; False when somebody else was faster."""
    refusals = []
    for kind in _KINDS:
        try:
            run(["ip", "link", "add", "name", slot.interface, "type", kind])
        except CommandError as error:
            if "exists" in error.answer:
                return False
            refusals.append(f"{kind}: {error.answer}")
        else:
            return True
    raise UnsuitableMachineError(
        f"the kernel makes no interface {slot.interface} ({'; '.join(refusals)})",
        "run as root, with the kernel's dummy or bridge devices",
    )


def _set_up(slot: Slot, owner: str) -> None:
    run(["ip", "link", "set", "dev", slot.interface, "alias", owner])
    run(["ip", "address", "replace", f"{slot.address}/24", "dev", slot.interface])
    run(["ip", "link", "set", "dev", slot.interface, "up"])


def _links() -> dict[str, dict[str, Any]]:
    text = run(["ip", "-json", "-details", "address", "show"])
    try:
        return {link["ifname"]: link for link in json.loads(text) if link}
    except (ValueError, KeyError, TypeError):
        raise StackError("the answer of ip -json address show cannot be read", "install a newer iproute2") from None


def _owner(links: dict[str, dict[str, Any]], slot: Slot) -> str | None:
    link = links.get(slot.interface)
    return link.get("ifalias") if link else None


def _overlaps(slot: Slot, links: dict[str, dict[str, Any]]) -> bool:
    wanted = [ipaddress.ip_network(f"{slot.address}/24", strict=False), ipaddress.ip_network(slot.subnet)]
    for link in links.values():
        for row in link.get("addr_info", ()):
            if row.get("family") != "inet":
                continue
            taken = ipaddress.ip_network(f"{row['local']}/{row['prefixlen']}", strict=False)
            if any(network.overlaps(taken) for network in wanted):
                return True
    return False
