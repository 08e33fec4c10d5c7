"""On real servers: a plan is empty right after a deploy, a saved plan is refused once something moved, and what
somebody changed by hand is found and repaired.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack

_SECRET = "hunter2-and-more"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service that runs, and its file."""

    name: str
    file: Path


def write_spec(folder: Path, name: str, greeting: str = "hello", **fields: Any) -> Path:
    """A service of one instance that answers at /; its environment holds a secret."""
    file = folder / f"{name}.hms.yml"
    spec = {
        "name": name,
        "version": "1.0.0",
        "command": ["sh", "-c", 'exec python3 -m http.server "$PORT"'],
        "port": 8000,
        "env": {"GREETING": greeting, "DB_PASSWORD": _SECRET},
        "scaling": {"min": 1, "max": 3},
        "health": {"path": "/"},
        "routes": [{"path": "/"}],
        "rollout": {"strategy": "blue-green"},
        **fields,
    }
    file.write_text(json.dumps(spec), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the specs lie."""
    return tmp_path_factory.mktemp("specs")


@pytest.fixture(scope="module")
def service(cli: Cli, folder: Path) -> Iterator[Deployed]:
    """One service that was just deployed."""
    name = "plan-svc"
    file = write_spec(folder, name)
    ran = cli("deploy", file)
    assert ran.exit_code == 0, ran.stderr
    yield Deployed(name, file)
    cli("stop", name, "--purge", "--yes")


def consul_binary(stack: LiveStack, *words: str, text: str | None = None) -> str:
    """Run Consul's own program, as an operator would."""
    program = shutil.which("consul")
    if program is None:
        pytest.skip("there is no consul on PATH")
    done = subprocess.run(
        [program, *words],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env={"CONSUL_HTTP_ADDR": stack.platform.consul.address},
    )
    return done.stdout


def edit_entry(stack: LiveStack, kind: str, name: str, **fields: Any) -> None:
    """Change fields of a config entry with ``consul config write``."""
    body = json.loads(consul_binary(stack, "config", "read", "-kind", kind, "-name", name)) | fields
    consul_binary(stack, "config", "write", "-", text=json.dumps(body))


def edit_job(session: Session, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Register a job again after changing its stored struct, past everything of ours."""
    stored = session.nomad.read_job(name)
    assert stored is not None
    body = json.loads(json.dumps(stored.body))
    # Nobody will be there to promote the hand-made version.
    body["TaskGroups"][0]["Update"] |= {"Canary": 0, "AutoPromote": False}
    edit(body["TaskGroups"][0])
    session.nomad.register_job(body, stored.modify_index)


def assert_nothing_to_do(cli: Cli, file: Path) -> None:
    """The plan is empty."""
    ran = cli("plan", file)
    assert (ran.exit_code, "nothing to change" in ran.stdout) == (0, True), ran.stdout


def drift_of(cli: Cli, name: str) -> tuple[int, Mapping[str, Any]]:
    """The exit code and the service's part of the document."""
    ran = cli("drift", name, "-o", "json")
    (found,) = json.loads(ran.stdout)["services"]
    return ran.exit_code, found


def test_a_first_plan_foresees_what_the_scheduler_will_do(cli: Cli, folder: Path) -> None:
    file = write_spec(folder, "plan-new")
    ran = cli("plan", file, "-o", "json")
    assert ran.exit_code == 1
    assert _SECRET not in ran.stdout
    (plan,) = json.loads(ran.stdout)["plans"]
    assert (plan["foresight"]["groups"], plan["foresight"]["placed"]) == ({"app": {"place": 1}}, True)
    assert {change["action"] for change in plan["changes"]} == {"create"}


def test_a_job_that_no_node_can_take_is_foreseen(cli: Cli, folder: Path) -> None:
    file = write_spec(folder, "plan-huge", resources={"memory": 9_000_000})
    ran = cli("plan", file)
    assert ran.exit_code == 1
    assert "finds no node: memory is exhausted" in ran.stdout


def test_a_plan_right_after_a_deploy_is_empty(cli: Cli, service: Deployed) -> None:
    assert_nothing_to_do(cli, service.file)
    assert drift_of(cli, service.name)[1]["state"] == "clean"


def test_a_plan_after_somebody_scaled_is_empty_and_so_is_the_drift(
    cli: Cli, session: Session, service: Deployed
) -> None:
    job = session.nomad.read_job(service.name)
    assert job is not None
    session.nomad.scale_job(service.name, "app", 2, "a test scales")
    assert_nothing_to_do(cli, service.file)
    assert drift_of(cli, service.name)[1]["state"] == "clean"


def test_a_saved_plan_is_private_holds_no_secret_and_is_deployed(cli: Cli, folder: Path, service: Deployed) -> None:
    file = write_spec(folder, service.name, "good morning")
    kept = folder / "next.plan"
    ran = cli("plan", file, "--out", kept)
    assert ran.exit_code == 1
    assert "1 canaries" in ran.stdout or "2 canaries" in ran.stdout
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert _SECRET not in kept.read_text(encoding="utf-8")
    deployed = cli("deploy", kept)
    assert deployed.exit_code == 0, deployed.stderr
    assert_nothing_to_do(cli, file)
    again = cli("deploy", kept)
    assert again.exit_code == 3
    assert "ran release" in again.stderr


@pytest.mark.parametrize("what", ["spec", "entry", "job"])
def test_a_saved_plan_is_refused_when_anything_moved(
    cli: Cli, stack: LiveStack, session: Session, folder: Path, service: Deployed, what: str
) -> None:
    assert cli("deploy", write_spec(folder, service.name)).exit_code == 0
    file = write_spec(folder, service.name, description="a service")
    kept = folder / f"{what}.plan"
    assert cli("plan", file, "--out", kept).exit_code == 1
    before = session.nomad.read_job(service.name)
    if what == "spec":
        write_spec(folder, service.name, description="another service")
        said = f"the spec of {service.name} is another one"
    elif what == "entry":
        edit_entry(stack, "service-defaults", service.name, LocalRequestTimeoutMs=99)
        said = f"service-defaults {service.name}: LocalRequestTimeoutMs was 15000, is now 99"
    else:
        edit_job(session, service.name, lambda group: group["Tasks"][0]["Resources"].update(CPU=77))
        said = "Resources.CPU was 100, is now 77"
        before = session.nomad.read_job(service.name)
    ran = cli("deploy", kept)
    assert (ran.exit_code, said in ran.stderr) == (3, True), ran.stderr
    after = session.nomad.read_job(service.name)
    assert before is not None
    assert after is not None
    assert after.modify_index == before.modify_index


def test_entries_that_somebody_changed_are_found_and_repaired(
    cli: Cli, stack: LiveStack, folder: Path, service: Deployed
) -> None:
    file = write_spec(folder, service.name)
    assert cli("deploy", file).exit_code == 0
    edit_entry(stack, "service-defaults", service.name, LocalRequestTimeoutMs=99)
    opened = [{"Name": "*", "Action": "allow", "Description": "hms-nomad: default"}]
    edit_entry(stack, "service-intentions", service.name, Sources=opened)
    consul_binary(stack, "config", "delete", "-kind", "service-router", "-name", service.name)
    code, found = drift_of(cli, service.name)
    assert code == 1
    assert {(one["kind"], one["state"]) for one in found["objects"]} == {
        ("service-defaults", "changed"),
        ("service-router", "missing"),
    } | {("service-intentions", "changed")}
    assert cli("deploy", file).exit_code == 0
    assert drift_of(cli, service.name)[0] == 0
    assert_nothing_to_do(cli, file)


def test_an_operators_rule_that_overrules_a_spec_is_found_and_left_alone(
    cli: Cli, stack: LiveStack, folder: Path, service: Deployed
) -> None:
    file = write_spec(folder, service.name)
    assert cli("deploy", file).exit_code == 0
    opened = [{"Name": "*", "Action": "allow", "Description": "opened by hand"}]
    edit_entry(stack, "service-intentions", service.name, Sources=opened)
    code, found = drift_of(cli, service.name)
    assert (code, [(one["kind"], one["state"]) for one in found["objects"]]) == (
        1,
        [("service-intentions", "overruled")],
    )
    consul_binary(stack, "config", "delete", "-kind", "service-intentions", "-name", service.name)
    assert cli("deploy", file).exit_code == 0
    assert drift_of(cli, service.name)[0] == 0


def test_a_job_that_somebody_changed_is_found_and_repaired(
    cli: Cli, session: Session, folder: Path, service: Deployed
) -> None:
    file = write_spec(folder, service.name)
    assert cli("deploy", file).exit_code == 0
    edit_job(session, service.name, lambda group: group["Tasks"][0]["Env"].update(GREETING="tampered", EXTRA="1"))
    ran = cli("drift", service.name)
    assert ran.exit_code == 1
    assert 'Env.GREETING: "hello" was deployed, "tampered" is there' in ran.stdout
    assert 'Env.EXTRA: nothing was deployed, "1" is there' in ran.stdout
    repaired = cli("deploy", file)
    assert repaired.exit_code == 0, repaired.stderr
    assert drift_of(cli, service.name)[0] == 0
    assert_nothing_to_do(cli, file)
