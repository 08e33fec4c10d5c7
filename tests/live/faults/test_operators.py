"""F7-F9, F11, F12, F33: several operators at once, and somebody who edits by hand in between."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from hms_nomad.apply.lock import lock_key
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.live.faults.conftest import Start
from tests.live.faults.contending import contend, files_of_operators
from tests.live.faults.proxy import Faulty
from tests.live.faults.world import held, left_behind, spec_of
from tests.waiting import eventually

OPERATORS = 4


@pytest.fixture(scope="module")
def running(stack: LiveStack, cli: Cli, session: Session, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A service that runs already, so that changes are quick."""
    name = "contended"
    done = cli("deploy", spec_of(tmp_path_factory.mktemp("running"), name))
    assert done.exit_code == 0, done.stderr
    return name


@pytest.mark.parametrize("round_", range(2))
def test_of_many_operators_one_wins_and_the_others_learn_who(
    stack: LiveStack, session: Session, running: str, tmp_path: Path, round_: int
) -> None:
    # The script lets eight of them meet a hundred times.
    came = contend(stack, session, running, files_of_operators(tmp_path, running, OPERATORS, round_))
    assert came.wrong == "", came
    assert came.codes == (4,) * (OPERATORS - 1)


def test_two_who_want_the_same_both_succeed_and_one_change_is_made(
    start: Start, stack: LiveStack, session: Session, running: str, faulty: Faulty, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, running, scaling={"min": 1, "max": 50})
    before = session.nomad.read_job(running)
    together = faulty.rule(method="GET", path=f"^/v1/job/{running}", times=2, held="before")
    commands = [start("deploy", file, **faulty.environment) for _ in range(2)]
    eventually(lambda: together.hit, lambda hit: hit == 2)
    together.let_go.set()
    told = [command.communicate(timeout=120)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0]
    assert sum("nothing to change" in text for text in told) == 1
    after = session.nomad.read_job(running)
    assert before is not None
    assert after is not None
    assert after.version == before.version + 1


def test_a_lock_is_waited_for_on_request(
    start: Start, stack: LiveStack, cli: Cli, running: str, faulty: Faulty, tmp_path: Path
) -> None:
    first, second = (spec_of(tmp_path, running, scaling={"min": 1, "max": most}) for most in (60, 61))
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", held="before")
    holder = start("deploy", first, **faulty.environment)
    assert rule.reached.wait(60)
    waiter = start("deploy", second, "--lock-wait", "60s")
    assert waiter.stderr is not None
    assert any("waiting for deploy by" in line for line in waiter.stderr)
    locks = json.loads(cli("lock", "show", running, "--output", "json").stdout)["locks"]
    assert [(lock["service"], lock["alive"], lock["pid"]) for lock in locks] == [(running, True, holder.pid)]
    rule.let_go.set()
    assert holder.wait(120) == 0
    assert waiter.wait(120) == 0
    holder.communicate()
    waiter.communicate()


def test_releasing_a_lock_takes_its_id(cli: Cli, session: Session, service: str) -> None:
    nobody = session.consul.create_session("somewhere else", 600, 0, behavior="delete")
    value = json.dumps(
        {
            "service": service,
            "who": "ann@far",
            "command": "deploy",
            "aim": "",
            "since": time.time(),
            "process": {"boot": "another", "space": "", "pid": 7, "started": "1"},
            "lock_id": nobody,
        }
    )
    assert session.consul.kv_put(lock_key("default", service), value.encode(), acquire=nobody)
    stop = cli("stop", service, "--yes")
    assert stop.exit_code == 4
    assert "deploy by ann@far" in stop.stderr
    assert nobody in stop.stderr
    assert cli("lock", "release", service).exit_code == 2
    assert cli("lock", "release", service, "--id", "00000000").exit_code == 2
    assert cli("lock", "release", service, "--id", nobody).exit_code == 0
    assert cli("stop", service, "--yes").exit_code == 0


def test_a_holder_that_slept_loses_and_stops(
    start: Start, stack: LiveStack, session: Session, cli: Cli, running: str, faulty: Faulty, tmp_path: Path
) -> None:
    first, second = (spec_of(tmp_path, running, scaling={"min": 1, "max": most}) for most in (70, 71))
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", held="before")
    sleeper = start("deploy", first, **faulty.environment)
    assert rule.reached.wait(60)
    sleeper.send_signal(signal.SIGSTOP)
    # Its session ends by its time to live at the latest; here somebody releases the lock, which is sooner.
    locks = json.loads(cli("lock", "show", running, "--output", "json").stdout)["locks"]
    assert cli("lock", "release", running, "--id", locks[0]["id"]).exit_code == 0
    assert cli("deploy", second).exit_code == 0
    whole = held(session, running)
    rule.let_go.set()
    sleeper.send_signal(signal.SIGCONT)
    _, told = sleeper.communicate(timeout=60)
    assert sleeper.returncode == 3, told
    assert held(session, running) == whole


def _writes_since_the_second_session(faulty: Faulty) -> list[str]:
    """The paths of what a command wrote once it had lost its first session; empty before."""
    paths = [path for _, path in faulty.writes]
    made = [place for place, path in enumerate(paths) if path == "/v1/session/create"]
    return paths[made[1] :] if len(made) > 1 else []


@pytest.mark.parametrize("taken", [False, True], ids=["it is free", "somebody else took it"])
def test_a_lost_session_is_taken_again_or_ends_the_command(
    start: Start,
    stack: LiveStack,
    session: Session,
    cli: Cli,
    running: str,
    faulty: Faulty,
    tmp_path: Path,
    taken: bool,
) -> None:
    file = spec_of(tmp_path, running, scaling={"min": 1, "max": 80 + taken})
    rule = faulty.rule(method="PUT", path="^/v1/kv/hms-nomad/releases/", held="after")
    renewed = faulty.rule(method="PUT", path="^/v1/session/renew", times=100, held="")
    command = start("deploy", file, **faulty.environment)
    assert rule.reached.wait(60)
    (lock,) = json.loads(cli("lock", "show", running, "--output", "json").stdout)["locks"]
    session.consul.destroy_session(lock["id"])
    other = session.consul.create_session("somebody else", 60, 0, behavior="delete")
    if taken:
        assert session.consul.kv_put(lock_key("default", running), b"{}", acquire=other)
    before = renewed.hit
    eventually(lambda: renewed.hit, lambda hit: hit > before)
    if not taken:
        eventually(lambda: session.consul.kv_get(lock_key("default", running)), lambda pair: pair is not None)
    else:
        eventually(lambda: _writes_since_the_second_session(faulty), lambda paths: "/v1/txn" in paths)
    rule.let_go.set()
    _, told = command.communicate(timeout=120)
    session.consul.destroy_session(other)
    if taken:
        assert command.returncode == 3, told
        assert f"the lock of {running} was lost" in told
        assert cli("deploy", file).exit_code == 0
    else:
        assert command.returncode == 0, told
    assert left_behind(session, running) == []


def test_an_edit_by_hand_between_plan_and_apply_is_a_conflict_and_stays(
    start: Start, stack: LiveStack, session: Session, cli: Cli, running: str, faulty: Faulty, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, running, scaling={"min": 1, "max": 90})
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", held="before")
    command = start("deploy", file, **faulty.environment)
    assert rule.reached.wait(60)
    session.nomad.scale_job(running, "app", 2, "by hand")
    rule.let_go.set()
    _, told = command.communicate(timeout=60)
    assert command.returncode == 3, told
    assert "run the same command again" in told
    again = cli("deploy", file)
    assert again.exit_code == 0, again.stderr
    job = session.nomad.read_job(running)
    assert job is not None
    assert job.body["TaskGroups"][0]["Count"] == 2, "the next deploy keeps the count"
