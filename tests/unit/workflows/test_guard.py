"""What a command that is cut short says of itself: nothing was changed, or what was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hms_nomad.apply.progress import Event
from hms_nomad.apply.run_journal import HalfDoneError
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.faults import classify
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.operating.scale import hold_count, scale
from tests.unit.workflows.servers import FakeConsul, FakeNomad, job, session

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


@pytest.mark.parametrize(
    ("event", "ahead"),
    [
        (Event("deployment", "deployment is running", {}), True),
        (Event("rollout", "judged", {"state": "hold"}), True),
        (Event("rollout", "old instances finish", {"state": "drain"}), True),
        (Event("rollout", "new instances start", {"state": "start"}), False),
    ],
    ids=["instances start", "a step is held", "old instances finish", "the job is to be registered"],
)
def test_the_end_of_the_audit_trail_is_looked_for_while_time_passes(event: Event, ahead: bool):
    servers = session(FakeNomad(), FakeConsul())
    with guarded(servers, "web", Intent("deploy"), quiet) as run:
        run.report(event)
        assert servers.chain.known is ahead


@pytest.mark.parametrize("how", ["guarded", "scale", "hold"])
@pytest.mark.parametrize(("development", "production"), [(False, False), (False, True), (True, True)])
def test_the_embedded_agent_is_refused_outside_of_development(how: str, development: bool, production: bool):
    nomad = FakeNomad(jobs={"web": job("web")}, embedded=True)
    servers = session(nomad, FakeConsul())
    servers.platform = Platform(development=development, production=production)

    with pytest.raises(PlatformError, match="is the embedded agent, which is for development only"):
        _change(how, servers, quiet)

    assert nomad.done == []


def test_in_development_the_embedded_agent_is_told_of():
    servers = session(FakeNomad(embedded=True), FakeConsul())
    servers.platform = Platform(development=True)
    told: list[str] = []

    with guarded(servers, "web", Intent("deploy"), lambda event: told.append(event.message)):
        pass

    assert told[0] == "this is the embedded agent, for development only"


def _change(how: str, servers: Any, report: Callable[[Event], None]) -> None:
    if how == "scale":
        scale(servers, "web", 2, "", 1.0, report)
    elif how == "hold":
        hold_count(servers, "web", 2, 60.0, 1.0, report)
    else:
        with guarded(servers, "web", Intent("deploy"), report):
            raise AssertionError("it was let in")
