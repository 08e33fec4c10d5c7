"""What a command that is cut short says of itself: nothing was changed, or what was."""

from __future__ import annotations

import pytest

from hms_nomad.apply.progress import Event
from hms_nomad.apply.run_journal import HalfDoneError
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.faults import classify
from hms_nomad.workflows.guard import Intent, guarded
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session

LOST = UnavailableError("nomad", "register job web", "http://nomad", "No cluster leader", 500, transient=True)


def quiet(event: Event) -> None:
    """Nobody listens."""


def test_a_server_lost_before_the_first_change_leaves_nothing_changed():
    servers = session(FakeNomad(), FakeConsul())
    with pytest.raises(UnavailableError) as lost, guarded(servers, "web", Intent("deploy"), quiet):
        raise LOST
    assert classify(lost.value).exit_code is ExitCode.UNAVAILABLE


def test_a_server_lost_in_the_midst_of_changes_leaves_a_run_half_done():
    def change_and_lose() -> None:
        with guarded(session(FakeNomad(), FakeConsul()), "web", Intent("deploy"), quiet) as run:
            run.report(Event("apply", "service-defaults web created", {}))
            raise LOST

    with pytest.raises(HalfDoneError) as lost:
        change_and_lose()
    fault = classify(lost.value)
    assert fault.exit_code is ExitCode.UNKNOWN
    assert fault.line == (
        "error: nomad at http://nomad: cannot register job web: No cluster leader; done until then: service-defaults "
        "web created; run the same command again: it looks at what is there first"
    )


def test_calls_are_tried_for_long_only_once_something_is_written():
    servers = session(FakeNomad(), FakeConsul())
    with guarded(servers, "web", Intent("deploy"), quiet) as run:
        assert servers.retries.patience_seconds == 0
        run.permit("write service-defaults web")
        assert servers.retries.patience_seconds > 0
    assert servers.retries.patience_seconds == 0
