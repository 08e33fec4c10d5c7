"""A plan's entries -> Consul, where many specs share one service-intentions: who lost the race for it plans again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from hms_nomad.apply.progress import Report
from hms_nomad.apply.write import write_entries
from hms_nomad.clients.errors import ConflictError
from hms_nomad.plan.change import Plan
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.workflows.session import Session

_TRIES = 5


def write_shared(
    session: Session,
    plan: Plan,
    again: Callable[[], Plan],
    report: Report,
    before_intentions: Callable[[], None] | None = None,
) -> Plan:
    """Write the plan's entries, and after a lost race for intentions those of the plan that ``again`` makes of what is
    there then; answers the plan that was written. ``before_intentions`` is that of ``write_entries``.

    The services of one command that lost the race for the same intentions go on one after the other: they cannot lose
    to each other once more, so the tries are for other commands. Raises ConflictError when these were faster each
    time, or for another entry.
    """
    with ExitStack() as turn:
        for remaining in reversed(range(_TRIES)):
            try:
                write_entries(plan.changes, session.consul, report, before_intentions)
            except ConflictError as conflict:
                if remaining == 0 or INTENTIONS not in conflict.operation:
                    raise
                turn.close()
                turn.enter_context(session.turns.of(conflict.operation))
                plan = again()
            else:
                break
    return plan
