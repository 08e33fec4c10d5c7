"""F3, F4, F6, F13, F14, F17, F18, F20, F23: servers that fail, in every way that a network knows."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hms_nomad.dev import stack as dev
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, own_contexts
from tests.live.faults.conftest import Start
from tests.live.faults.proxy import WRITES, Faulty, refused_port
from tests.live.faults.world import held, left_behind, spec_of

PAGE = b"<html><body>502 Bad Gateway</body></html>"


@pytest.fixture(scope="module")
def running(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A service that runs already, so that changes are quick."""
    name = "beset"
    done = cli("deploy", spec_of(tmp_path_factory.mktemp("running"), name))
    assert done.exit_code == 0, done.stderr
    return name


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"drop": "after"}, id="the answer is lost"),
        pytest.param({"cut": 5}, id="the answer is cut"),
        pytest.param({"drop": "before"}, id="the request is lost"),
        pytest.param({"status": 500, "body": b"rpc error: No cluster leader"}, id="no leader"),
        pytest.param({"status": 502, "body": PAGE}, id="a proxy's page"),
        pytest.param({"status": 429, "body": b"slow down", "headers": {"Retry-After": "1"}}, id="429"),
    ],
)
def test_a_registration_that_fails_once_is_made_once(
    cli: Cli, session: Session, running: str, faulty: Faulty, tmp_path: Path, fault: dict[str, object]
) -> None:
    before = session.nomad.read_job(running)
    assert before is not None
    most = 3 + (before.body["TaskGroups"][0]["Scaling"]["Max"] % 90)
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", **fault)
    done = cli("deploy", spec_of(tmp_path, running, scaling={"min": 1, "max": most}), **faulty.environment)
    assert rule.hit == 1
    assert done.exit_code == 0, done.stderr
    after = session.nomad.read_job(running)
    assert after is not None
    assert after.version == before.version + 1
    assert left_behind(session, running) == []


def test_every_write_whose_answer_is_lost_is_looked_up(
    cli: Cli, session: Session, service: str, faulty: Faulty, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, service)
    for number in range(1, 40, 4):
        # After each of these comes a repetition, so every fourth request is another write.
        faulty.rule(method=WRITES, first=number, drop="after")
    done = cli("deploy", file, **faulty.environment)
    assert done.exit_code == 0, done.stderr
    job = session.nomad.read_job(service)
    assert job is not None
    assert job.version == 0
    assert left_behind(session, service) == []
    assert cli("plan", file).exit_code == 0
    assert cli("audit", "verify").exit_code == 0


def test_a_registration_that_is_refused_leaves_the_old_version_alone(
    cli: Cli, session: Session, running: str, faulty: Faulty, tmp_path: Path
) -> None:
    before = held(session, running)
    job = session.nomad.read_job(running)
    file = spec_of(tmp_path, running, version="1.1.0", env={"CHANGED": "yes"})
    faulty.rule(method="PUT|POST", path="^/v1/jobs", times=100, status=500, body=b"job is not valid: refused here")
    refused = cli("deploy", file, **faulty.environment)
    assert refused.exit_code == 2
    assert "refused here" in refused.stderr
    after, now = session.nomad.read_job(running), held(session, running)
    assert job is not None
    assert after is not None
    assert before is not None
    assert now is not None
    assert (after.version, now.release) == (job.version, before.release)
    shown = cli("status", running)
    assert "Unfinished  deploy by" in shown.stdout
    # The old version answers, and the same command with servers that work is the repair.
    assert len(session.consul.instances(running, passing=True, connect=True).value) >= 1
    assert cli("deploy", file).exit_code == 0
    assert left_behind(session, running) == []


def test_a_consul_that_fails_at_an_entry_leaves_no_half_of_it(
    cli: Cli, session: Session, service: str, faulty: Faulty, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, service)
    faulty.rule(method="PUT", path="^/v1/config", first=2, times=1000, status=500, body=b"it must not be")
    failed = cli("deploy", file, **faulty.environment)
    assert failed.exit_code == 2
    assert "consul at " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert session.nomad.read_job(service) is None, "no instance before its rules stand"
    assert cli("deploy", file).exit_code == 0
    assert left_behind(session, service) == []


def test_a_server_that_fails_now_and_then_costs_few_calls(
    cli: Cli, session: Session, service: str, faulty: Faulty, tmp_path: Path
) -> None:
    for number in range(3, 200, 20):
        faulty.rule(first=number, status=429 if number % 40 == 3 else 500, body=b"rpc error: No cluster leader")
    done = cli("deploy", spec_of(tmp_path, service), **faulty.environment)
    assert done.exit_code == 0, done.stderr
    failed = sum(rule.hit for rule in faulty.rules)
    assert failed >= 2
    calls = len(faulty.nomad.asked) + len(faulty.consul.asked)
    assert calls <= 1.2 * (calls - failed) + 2


@pytest.mark.parametrize(
    "fault",
    [
        # The clients' own tests take all the others.
        pytest.param({"status": 502, "body": PAGE}, id="a page"),
        pytest.param({"status": 200, "body": b'[{"ID": "x'}, id="JSON cut short"),
    ],
)
def test_a_server_that_always_fails_is_unavailable(
    cli: Cli, running: str, faulty: Faulty, fault: dict[str, object]
) -> None:
    faulty.rule(path="^/v1/job/", times=1000, **fault)
    failed = cli("status", running, **faulty.environment)
    assert failed.exit_code == 6
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("error: nomad at ")


@pytest.mark.parametrize("server", ["nomad", "consul"])
def test_a_deploy_whose_server_says_503_for_ever_ends_with_6_and_changes_nothing(
    cli: Cli, session: Session, service: str, faulty: Faulty, tmp_path: Path, server: str
) -> None:
    # Reads that both kinds of servers answer; the lock is never asked for, or given back.
    path = "^/v1/(job|jobs|status|deployments)" if server == "nomad" else "^/v1/(config|session|kv)"
    faulty.rule(path=path, times=10_000, status=503, body=b"down for maintenance")
    failed = cli("deploy", spec_of(tmp_path, service), **faulty.environment)
    assert failed.exit_code == 6, failed.stderr
    assert f"error: {server} at " in failed.stderr.splitlines()[-1]
    assert "down for maintenance" in failed.stderr.splitlines()[-1]
    assert session.nomad.read_job(service) is None
    assert {entry.name for entry in session.consul.list_entries("service-defaults")}.isdisjoint({service})
    assert left_behind(session, service) == []


@pytest.mark.parametrize("server", ["nomad", "consul"])
def test_a_frozen_server_is_given_up_and_nothing_is_written(
    cli: Cli, stack: LiveStack, session: Session, service: str, tmp_path: Path, server: str
) -> None:
    file = spec_of(tmp_path, service)
    with frozen(stack, server):
        failed = cli("deploy", file, seconds=100)
    assert failed.exit_code in (6, 7)
    assert f"{server} at " in failed.stderr
    assert "no answer in time" in failed.stderr
    assert session.nomad.read_job(service) is None
    assert session.consul.list_entries("service-defaults") is not None
    assert left_behind(session, service) == []


def test_a_frozen_vault_holds_up_no_deploy(
    cli: Cli, stack: LiveStack, session: Session, running: str, tmp_path: Path
) -> None:
    if not any(server.name == "vault" for server in stack.status.servers):
        pytest.skip("the stack has no Vault")
    file = spec_of(tmp_path, running, version="3.0.0", env={"WITHOUT": "vault"})
    with frozen(stack, "vault"):
        done = cli("deploy", file)
    assert done.exit_code == 0, done.stderr
    assert left_behind(session, running) == []


def test_a_time_limit_ends_a_command_that_a_frozen_server_keeps(cli: Cli, stack: LiveStack) -> None:
    with frozen(stack, "nomad"):
        failed = cli("status", "--timeout", "2s")
    assert failed.exit_code == 124
    assert "--timeout" in failed.stderr


def test_servers_that_are_started_again_are_waited_for(
    start: Start, stack: LiveStack, cli: Cli, session: Session, running: str, faulty: Faulty, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, running, scaling={"min": 2, "max": 3})
    rule = faulty.rule(method="PUT|POST", path="^/v1/jobs", held="after")
    command = start("deploy", file, **faulty.environment)
    assert rule.reached.wait(60)
    victim = next(server for server in stack.status.servers if server.name.startswith("nomad"))
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    rule.let_go.set()
    with own_contexts(stack.config_dir):
        dev.up(stack.settings, lambda event: None)
    _, told = command.communicate(timeout=120)
    assert command.returncode == 0, told
    assert left_behind(session, running) == []


@pytest.mark.parametrize(
    ("variable", "address", "words"),
    [
        ("NOMAD_ADDR", "http://127.0.0.1:{port}", "refused"),
        ("CONSUL_HTTP_ADDR", "http://no-such-host.invalid:8500", "cannot be resolved"),
        ("NOMAD_ADDR", "https://127.0.0.1:{nomad}", "does not speak https"),
    ],
)
def test_an_address_that_cannot_be_right_is_named(
    cli: Cli, stack: LiveStack, running: str, tmp_path: Path, variable: str, address: str, words: str
) -> None:
    port = stack.platform.nomad.address.rpartition(":")[2]
    wrong = address.format(port=refused_port(), nomad=port)
    failed = cli("deploy", spec_of(tmp_path, running), **{variable: wrong})
    assert failed.exit_code == 6
    assert wrong in failed.stderr
    assert words in failed.stderr
    assert "hms-nomad context show" in failed.stderr


def test_a_deploy_needs_no_place_to_write_on_this_machine(
    cli: Cli, session: Session, running: str, tmp_path: Path
) -> None:
    file = spec_of(tmp_path, running, scaling={"min": 1, "max": 7})
    done = cli("deploy", file, HOME="/nonexistent", XDG_CACHE_HOME="/proc/nowhere", TMPDIR="/nonexistent")
    assert done.exit_code == 0, done.stderr


@contextmanager
def frozen(stack: LiveStack, name: str) -> Iterator[None]:
    """Inside, a server accepts connections and never answers."""
    server = next(server for server in stack.status.servers if server.name.startswith(name))
    with own_contexts(stack.config_dir):
        pid = next(one.pid for one in dev.status(stack.settings).servers if one.name == server.name)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
