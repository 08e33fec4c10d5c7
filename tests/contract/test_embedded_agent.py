"""Where the embedded agent is simpler than Nomad, each proved on the agent; docs/embedded-agent.md lists these."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.nomad import NomadClient
from tests.contract.embedded_agent import embedded_agent
from tests.contract.jobs import Jobs, contained
from tests.contract.nomad_server import Nomad
from tests.waiting import eventually

_PAGE = Path(__file__).parents[2] / "docs" / "embedded-agent.md"


@dataclass(frozen=True, slots=True)
class Difference:
    """What is simpler: in what, how Nomad does it, how the agent does it, and the test that shows it."""

    what: str
    nomad: str
    agent: str
    test: Callable[..., None]

    def row(self) -> str:
        """Its line of the page."""
        return f"| {self.what} | {self.nomad} | {self.agent} |"


@pytest.fixture(scope="module")
def nomad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    """The agent of these tests, in the place of a Nomad."""
    with embedded_agent(tmp_path_factory.mktemp("simpler")) as server:
        yield server


def test_every_answer_says_that_this_is_no_nomad(client: NomadClient) -> None:
    client.leader()

    assert client.embedded
    assert client.ready_nodes()[0].attributes["nomad.embedded"] == "true"


def test_there_is_one_node_that_takes_what_is_to_be_spread_too(client: NomadClient, jobs: Jobs) -> None:
    constraints = [{"Operand": "distinct_hosts"}]
    client.register_job(jobs.struct("spread", Count=2, Constraints=constraints), modify_index=0)

    eventually(
        lambda: [one.client_status for one in client.job_allocations("spread").value],
        lambda found: found == ["running"] * 2,
    )
    assert len(client.list_nodes()) == 1


def test_ports_are_the_same_inside_and_outside(client: NomadClient, jobs: Jobs) -> None:
    networks = [{"Mode": "bridge", "DynamicPorts": [{"Label": "http", "To": 8080}]}]
    allocation = jobs.run("bridged", 'echo "$NOMAD_PORT_http"; exec sleep 600', Networks=networks)
    port = client.read_allocation(allocation.id).ports["http"]

    assert (port.host_ip, port.to) == ("127.0.0.1", port.value)
    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == [str(port.value)])


def test_a_container_in_bridge_mode_shares_the_network_of_the_machine(
    client: NomadClient, jobs: Jobs, image: str
) -> None:
    script = """
import os, socket
socket.create_server(("127.0.0.1", int(os.environ["NOMAD_PORT_http"]))).accept()[0].sendall(b"here")
"""
    body = contained(jobs, "contained", image, script)
    body["TaskGroups"][0]["Networks"] = [{"Mode": "bridge", "DynamicPorts": [{"Label": "http", "To": 8080}]}]
    client.register_job(body, modify_index=0)
    port = client.read_allocation(jobs.started("contained").id).ports["http"]

    def heard() -> bytes:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port.value), 5) as stream:
            return stream.recv(4)
        return b""

    eventually(heard, lambda found: found == b"here")


def test_a_setting_of_a_driver_that_the_agent_does_not_know_fails_the_task_with_its_name(
    client: NomadClient, jobs: Jobs
) -> None:
    body = jobs.struct("odd")
    body["TaskGroups"][0]["Tasks"][0]["Config"]["oom_score_adj"] = 500
    client.register_job(body, modify_index=0)

    failed = eventually(lambda: client.job_allocations("odd").value[:1], lambda found: found and found[0].done)

    assert any("knows no oom_score_adj" in event.message for event in failed[0].tasks["work"].events)


def test_exec_has_no_root_of_its_own(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("unchrooted", "pwd; exec sleep 600")
    body["TaskGroups"][0]["Tasks"][0]["Driver"] = "exec"
    client.register_job(body, modify_index=0)
    allocation = jobs.started("unchrooted")

    (line,) = eventually(lambda: list(client.logs(allocation.id, "work")))
    assert line.endswith(f"/{allocation.id}/work")


def test_a_task_is_not_held_to_its_resources(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("hungry", "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo ${#x}; exec sleep 600")

    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == ["60000000"])


def test_access_lists_are_off(client: NomadClient) -> None:
    assert client.own_token() is None


def test_a_template_of_vault_is_refused_with_its_name(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("secretive", "exec sleep 600")
    template = {"EmbeddedTmpl": '{{ with secret "kv/a" }}{{ .Data }}{{ end }}', "DestPath": "local/x"}
    body["TaskGroups"][0]["Tasks"][0]["Templates"] = [template]

    with pytest.raises(InvalidRequestError, match='with secret "kv/a" }} is not known to the embedded agent'):
        client.register_job(body, modify_index=0)


@pytest.mark.parametrize("schedule", ["@daily", "0 0 3 * * * *", "0 0 L * *"])
def test_a_schedule_has_five_fields(client: NomadClient, jobs: Jobs, schedule: str) -> None:
    body = {**jobs.struct("scheduled"), "Type": "batch", "Update": None, "Periodic": {"Specs": [schedule]}}

    with pytest.raises(InvalidRequestError, match="Invalid cron spec"):
        client.register_job(body, modify_index=0)


def test_a_job_in_hcl_is_not_parsed(nomad: Nomad) -> None:
    assert _refused(nomad, "POST", "/v1/jobs/parse", {"JobHCL": 'job "x" {}'}) == (
        501,
        "the embedded agent parses no HCL: send the job as JSON",
    )


@pytest.mark.parametrize("path", ["/v1/volumes", "/v1/plugins", "/v1/metrics", "/v1/client/fs/ls/x"])
def test_what_else_there_is_of_the_api_is_refused_by_its_path(nomad: Nomad, path: str) -> None:
    assert _refused(nomad, "GET", path) == (404, f"the embedded agent has no {path}: only a real Nomad has")


def test_a_job_with_a_vault_is_refused(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("locked")
    body["TaskGroups"][0]["Tasks"][0]["Vault"] = {"Role": "locked"}

    with pytest.raises(InvalidRequestError, match="the embedded agent has no Vault"):
        client.register_job(body, modify_index=0)


def test_variables_stand_in_the_file(nomad: Nomad) -> None:
    nomad.http("PUT", "/v1/var/some/secret", {"Items": {"word": "easily-found"}})

    folder = next(Path(argument).parent for argument in nomad.server.process.args if argument.endswith("agent.json"))
    files = [*(folder / "data").glob("state.sqlite*")]
    assert any(b"easily-found" in file.read_bytes() for file in files)
    assert (folder / "data").stat().st_mode & 0o077 == 0


def test_a_task_is_told_the_agents_address(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("asking", 'echo "$NOMAD_UNIX_ADDR"; exec sleep 600')

    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == [client.address])


def test_a_volume_finds_no_node(client: NomadClient, jobs: Jobs) -> None:
    volumes = {"data": {"Name": "data", "Type": "host", "Source": "data"}}
    registered = client.register_job(jobs.struct("storing", Volumes=volumes), modify_index=0)

    evaluation = eventually(
        lambda: client.read_evaluation(registered.eval_id), lambda found: found.status == "complete"
    )

    assert "missing compatible host volumes" in str(evaluation.failed)


def test_a_process_is_of_the_user_who_runs_the_agent(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("disguised")
    body["TaskGroups"][0]["Tasks"][0]["User"] = "daemon"
    client.register_job(body, modify_index=0)

    failed = eventually(lambda: client.job_allocations("disguised").value[:1], lambda found: found and found[0].done)

    assert any("and not as daemon" in event.message for event in failed[0].tasks["work"].events)


def test_an_artifact_of_another_kind_than_http_fails_the_task(client: NomadClient, jobs: Jobs) -> None:
    body = jobs.struct("fetching")
    body["TaskGroups"][0]["Tasks"][0]["Artifacts"] = [{"GetterSource": "git::https://127.0.0.1/x.git"}]
    client.register_job(body, modify_index=0)

    failed = eventually(lambda: client.job_allocations("fetching").value[:1], lambda found: found and found[0].done)

    assert any("by http and https only" in event.message for event in failed[0].tasks["work"].events)


def _refused(nomad: Nomad, method: str, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        nomad.http(method, path, body)
    with refusal.value as answer:
        return answer.code, answer.read().decode()


DIFFERENCES = (
    Difference(
        "its answers",
        "an agent of Nomad",
        "a header and an attribute of the node say that it is none",
        test_every_answer_says_that_this_is_no_nomad,
    ),
    Difference(
        "the cluster",
        "servers and nodes",
        "one node, which takes what is to be spread over nodes too",
        test_there_is_one_node_that_takes_what_is_to_be_spread_too,
    ),
    Difference(
        "networks",
        "one for each instance in bridge mode, with ports of its own",
        "none: ports are the machine's, on loopback, and the same inside and outside",
        test_ports_are_the_same_inside_and_outside,
    ),
    Difference(
        "containers in bridge mode",
        "in the network of their instance",
        "in the network of the machine, where their sidecars are",
        test_a_container_in_bridge_mode_shares_the_network_of_the_machine,
    ),
    Difference(
        "settings of a driver",
        "all of them",
        "those that jobs of this program have; any other fails the task with its name",
        test_a_setting_of_a_driver_that_the_agent_does_not_know_fails_the_task_with_its_name,
    ),
    Difference(
        "the driver `exec`",
        "a chroot and the user nobody",
        "a process like those of `raw_exec`, of the user who runs the agent",
        test_exec_has_no_root_of_its_own,
    ),
    Difference(
        "resources",
        "held to by control groups",
        "counted when a place is sought; containers are held to them, processes are not",
        test_a_task_is_not_held_to_its_resources,
    ),
    Difference("access lists, TLS", "where they are configured", "none", test_access_lists_are_off),
    Difference(
        "templates",
        "the language of consul-template",
        "what jobs of this program use; one with anything else is refused by its name",
        test_a_template_of_vault_is_refused_with_its_name,
    ),
    Difference("Vault", "where it is configured", "none; a job with it is refused", test_a_job_with_a_vault_is_refused),
    Difference(
        "artifacts",
        "by HTTP, S3, git and more",
        "by HTTP, also archives (tar, zip); any other fails the task",
        test_an_artifact_of_another_kind_than_http_fails_the_task,
    ),
    Difference("volumes", "host volumes and CSI", "none; a job with them finds no node", test_a_volume_finds_no_node),
    Difference(
        "the user of a process",
        "whom the job names",
        "who runs the agent; another one than root fails the task",
        test_a_process_is_of_the_user_who_runs_the_agent,
    ),
    Difference("schedules", "cron with its extensions", "cron of five fields", test_a_schedule_has_five_fields),
    Difference(
        "variables", "encrypted", "in clear in the agent's file, which is its user's", test_variables_stand_in_the_file
    ),
    Difference(
        "the API for tasks",
        "a socket among a task's secrets",
        "the agent's address, in the variable `NOMAD_UNIX_ADDR`",
        test_a_task_is_told_the_agents_address,
    ),
    Difference("HCL", "parsed", "not parsed", test_a_job_in_hcl_is_not_parsed),
    Difference(
        "the rest of the API",
        "volumes, metrics, files, `exec` and more",
        "refused by its path",
        test_what_else_there_is_of_the_api_is_refused_by_its_path,
    ),
)


def test_the_page_lists_exactly_these() -> None:
    rows = [line for line in _PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]

    assert rows[1:] == [difference.row() for difference in DIFFERENCES]


@pytest.mark.contract("NomadClient.list_nodes")
def test_a_killed_agent_loses_neither_a_task_nor_a_write(tmp_path: Path) -> None:
    with embedded_agent(tmp_path) as first, contextlib.closing(first.client()) as before:
        allocation = Jobs(before).run("survivor", "echo $$; exec sleep 600")
        (pid,) = eventually(lambda: list(before.logs(allocation.id, "work")))
        first.server.process.send_signal(signal.SIGKILL)
        first.server.process.wait()
        os.kill(int(pid), 0)
        with embedded_agent(tmp_path) as second, contextlib.closing(second.client()) as after:
            found = after.read_allocation(allocation.id)
            stored: Any = after.read_job("survivor")
            assert stored is not None
            assert (found.client_status, found.tasks["work"].restarts) == ("running", 0)
            assert list(after.logs(allocation.id, "work")) == [pid]
            assert len(after.list_nodes()) == 1
            after.stop_job("survivor", purge=True)
            eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_an_agent_that_is_told_to_leave_takes_its_tasks_along_and_replaces_none(tmp_path: Path) -> None:
    with embedded_agent(tmp_path) as agent, contextlib.closing(agent.client()) as client:
        allocation = Jobs(client).run("leaving", "echo $$; exec sleep 600")
        (pid,) = eventually(lambda: list(client.logs(allocation.id, "work")))

        agent.server.process.send_signal(signal.SIGUSR1)

        assert agent.server.process.wait(60) == 0
        assert not Path(f"/proc/{pid}").exists()
