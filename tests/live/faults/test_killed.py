"""F1, F10: a deploy that is killed at any of its writes is mended by the same command, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.live.faults.conftest import Start
from tests.live.faults.killing import count_writes, kill_at
from tests.live.faults.proxy import Faulty
from tests.live.faults.world import audited, held, left_behind, spec_of


def test_a_deploy_killed_at_its_writes_is_mended_by_the_same_command(
    start: Start, stack: LiveStack, session: Session, cli: Cli, service: str, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, service)
    steps = count_writes(stack, file)
    whole = held(session, service)
    assert whole is not None
    assert steps > 10
    # The lock with journal and record, the entries, the job and the end; the script takes them all.
    for step, where in [(steps // 2, "after"), (steps - 3, "before")]:
        assert cli("stop", service, "--purge").exit_code == 0
        killed = kill_at(stack, session, file, service, step, where, whole)
        assert killed.wrong == "", killed


def test_a_run_that_died_is_named_and_its_lock_is_taken_at_once_on_the_same_machine(
    start: Start, stack: LiveStack, session: Session, cli: Cli, faulty: Faulty, service: str, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, service)
    assert cli("deploy", file).exit_code == 0
    changed = spec_of(tmp_path, service, scaling={"min": 1, "max": 4})
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", held="after")
    command = start("deploy", changed, **faulty.environment)
    assert rule.reached.wait(60)
    command.send_signal(signal.SIGKILL)
    command.communicate()

    shown = json.loads(cli("status", service, "--output", "json").stdout)
    assert shown["lock"]["command"] == "deploy"
    assert not shown["lock"]["alive"]
    (run,) = shown["unfinished"]
    assert (run["command"], run["why"]) == ("deploy", "died")
    assert ["job", service, "update"] in [[one["kind"], one["name"], one["action"]] for one in run["planned"]]
    assert "Unfinished  deploy by" in cli("status", service).stdout

    assert cli("deploy", changed).exit_code == 0
    assert left_behind(session, service) == []
    assert cli("audit", "verify").exit_code == 0
    assert audited(session, service) == ["deploy deployed", "deploy died"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_gives_the_lock_back_and_says_what_is_done(
    start: Start,
    stack: LiveStack,
    session: Session,
    cli: Cli,
    faulty: Faulty,
    fresh_name: Callable[[str], str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    name = fresh_name("signal")
    file = spec_of(tmp_path, name)
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", held="before")
    command = start("deploy", file, **faulty.environment)
    assert rule.reached.wait(60)
    command.send_signal(number)
    _, told = command.communicate(timeout=60)
    assert command.returncode == 130
    assert f"service-defaults {name} created" in told.splitlines()[-1]
    assert "not done" in told.splitlines()[-1]
    assert session.consul.kv_list(f"hms-nomad/locks/default/{name}") == ()
    assert audited(session, name) == ["deploy interrupted"]
    refused = cli("status", name)
    assert refused.exit_code == 2
    assert "Unfinished  deploy by" in refused.stderr
    assert cli("deploy", file, "--detach").exit_code == 0
    assert left_behind(session, name) == []
