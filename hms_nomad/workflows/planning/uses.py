"""Specs whose ``uses`` give no right on this platform -> which of their calls nobody has allowed yet."""

from __future__ import annotations

from collections.abc import Sequence

from hms_nomad.plan.intentions import KIND
from hms_nomad.plan.rights import decide
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.session import Session


def use_warnings(session: Session, specs: Sequence[Spec]) -> tuple[str, ...]:
    """The calls that will be refused, and what the owner of the other side has to write.

    Empty where a declared use is enough. What one of ``specs`` allows counts as allowed. Raises the errors of
    ``hms_nomad.clients.errors``.
    """
    allowed = {(caller, spec.name) for spec in specs for caller in spec.allow}
    open_ = [(spec.name, name) for spec in specs for name in spec.uses if (spec.name, name) not in allowed]
    if session.platform.uses_grant or not open_:
        return ()
    entries = {entry.name: entry.body for entry in session.consul.list_entries(KIND)}
    by_default = session.consul.agent().allows_by_default
    return tuple(
        f"{caller} may not call {name} yet: on this platform its owner decides, and writes allow: [{caller}]"
        for caller, name in open_
        if decide(caller, name, entries, by_default).allowed is False
    )
