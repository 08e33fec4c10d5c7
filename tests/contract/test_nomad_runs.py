"""Allocations and deployments of a real Nomad: what runs, how it is, and how a rollout goes on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import signal
import tarfile
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.clients.errors import ConflictError, InvalidRequestError, NotFoundError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Allocation, TaskEvent
from tests.contract.embedded_agent import BOTH
from tests.contract.jobs import Jobs
from tests.contract.nomad_server import FOREVER, Nomad, job
from tests.waiting import eventually

pytestmark = BOTH

NOBODY = "00000000-0000-0000-0000-000000000000"
CANARY = {"Canary": 1, "MaxParallel": 1, "MinHealthyTime": 10_000_000, "HealthCheck": "task_states"}


def _canary_job(job_id: str, script: str = FOREVER) -> dict[str, Any]:
    return {**job(job_id, script), "Update": CANARY}


@pytest.mark.contract("NomadClient.job_allocations", "NomadClient.read_allocation")
def test_an_instance_has_a_place_a_version_and_task_states(client: NomadClient, jobs: Jobs) -> None:
    networks = [{"DynamicPorts": [{"Label": "http", "To": 0}]}]
    listed = jobs.run("placed", Networks=networks)

    whole = client.read_allocation(listed.id)

    (node,) = client.ready_nodes()
    assert (whole.job_id, whole.group, whole.job_version) == ("placed", "main", 0)
    assert (whole.node_id, whole.node_name, whole.name) == (node.id, "contract", "placed.main[0]")
    assert (whole.client_status, whole.desired_status, whole.done) == ("running", "run", False)
    assert (whole.tasks["work"].state, whole.tasks["work"].failed) == ("running", False)
    assert [event.type for event in whole.tasks["work"].events][-1] == "Started"
    assert all(event.time_ns > 0 for event in whole.tasks["work"].events)
    port = whole.ports["http"]
    assert port.value > 0
    assert port.host_ip
    assert listed.ports == {}
    assert client.job_allocations("no-such-job").value == ()
    with pytest.raises(NotFoundError):
        client.read_allocation(NOBODY)


@pytest.mark.contract("NomadClient.job_allocations", "NomadClient.newest_deployment")
def test_a_job_registered_after_a_purge_has_nothing_of_the_one_before(client: NomadClient, jobs: Jobs) -> None:
    first = jobs.run("again")
    before = jobs.settled("again")
    client.stop_job("again", purge=True)
    # The real one may have forgotten it by then.
    eventually(lambda: client.job_allocations("again").value, lambda found: all(one.done for one in found))
    second = jobs.run("again")

    assert [one.id for one in client.job_allocations("again").value] == [second.id]
    assert second.id != first.id
    settled = jobs.settled("again")
    assert settled.id != before.id
    assert client.newest_deployment("again") == settled


@pytest.mark.contract("NomadClient.newest_deployment")
def test_a_job_that_deploys_nothing_has_no_deployment_of_a_purged_one(client: NomadClient, jobs: Jobs) -> None:
    jobs.run("empty")
    jobs.settled("empty")
    client.stop_job("empty", purge=True)
    registration = client.register_job(jobs.struct("empty", Count=0), modify_index=0)
    eventually(lambda: client.read_evaluation(registration.eval_id).status, lambda status: status == "complete")

    assert client.newest_deployment("empty") is None


@pytest.mark.contract("NomadClient.list_allocations")
def test_the_allocations_of_all_jobs_are_listed_and_waited_for(client: NomadClient, jobs: Jobs) -> None:
    first = jobs.run("listed-one")
    before = client.list_allocations()
    second = jobs.run("listed-two")
    after = client.list_allocations(before.index, wait=30)

    assert first.id in {one.id for one in before.value}
    assert after.index > before.index
    found = {one.id: one for one in client.list_allocations().value}
    assert found.keys() >= {first.id, second.id}
    assert found[second.id].modify_time_ns > found[first.id].modify_time_ns > 0


@pytest.mark.contract("NomadClient.job_allocations")
def test_the_list_of_instances_waits_for_news(client: NomadClient, jobs: Jobs) -> None:
    jobs.run("awaited")
    jobs.settled("awaited")
    before = client.job_allocations("awaited")
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(client.job_allocations("awaited", index=before.index, wait=60))
    )
    waiting.start()
    client.stop_allocation(before.value[0].id)
    waiting.join(60)

    (after,) = answers
    assert after.index > before.index
    assert after.value != before.value
    quiet = client.job_allocations("no-such-job", index=after.index, wait=0.2)
    assert quiet.value == ()


@pytest.mark.contract("NomadClient.deployment_allocations", "NomadClient.job_allocations", "NomadClient.logs")
def test_a_task_that_fails_says_why(client: NomadClient, jobs: Jobs) -> None:
    jobs.run("failing", "echo cannot go on >&2; exit 3")

    failed = eventually(lambda: client.job_allocations("failing").value[0], lambda found: found.done)

    assert failed.client_status == "failed"
    assert failed.id in {one.id for one in client.deployment_allocations(jobs.deployment("failing").id).value}
    assert failed.tasks["work"].failed
    ended = next(event for event in failed.tasks["work"].events if event.type == "Terminated")
    assert ended.details["exit_code"] == "3"
    assert "Exit Code: 3" in ended.message
    assert list(client.logs(failed.id, "work", "stderr")) == ["cannot go on"]


@pytest.mark.contract("NomadClient.list_jobs", "NomadClient.logs")
def test_a_run_of_a_schedule_is_a_job_of_its_own(client: NomadClient, jobs: Jobs, nomad: Nomad) -> None:
    periodic = {"Enabled": True, "Specs": ["0 3 1 1 *"], "ProhibitOverlap": True, "TimeZone": "Europe/Berlin"}
    body = {**jobs.struct("yearly", "echo tick"), "Type": "batch", "Update": None, "Periodic": periodic}
    registered = client.register_job(body, modify_index=0)

    assert registered.eval_id == ""
    assert client.job_allocations("yearly").value == ()
    nomad.http("PUT", "/v1/job/yearly/periodic/force", {})
    (run,) = client.list_jobs(prefix="yearly/periodic-")

    allocation = eventually(lambda: client.job_allocations(run.id).value[:1], lambda found: found and found[0].done)[0]
    assert list(client.logs(allocation.id, "work")) == ["tick"]
    stored = client.read_job(run.id)
    assert stored is not None
    assert (stored.body["ParentID"], stored.body["Periodic"]) == ("yearly", None)
    client.stop_job(run.id, purge=True)


def test_one_alone_holds_the_lock_of_a_variable(client: NomadClient, nomad: Nomad) -> None:
    """The program asks for none of this, but its autoscaler's instances elect one by it."""
    wish = {"Items": {"a": "1"}, "Lock": {"TTL": "10s", "LockDelay": "5s"}}

    def refused(path: str, body: dict[str, Any]) -> int:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            nomad.http("PUT", path, body)
        with refusal.value as answer:
            return answer.code

    held = nomad.http("PUT", "/v1/var/elected/one?lock-acquire", wish)
    assert held["Lock"]["ID"]
    assert refused("/v1/var/elected/one?lock-acquire", wish) == 409
    assert refused("/v1/var/elected/one", {"Items": {"a": "2"}}) == 409
    assert refused("/v1/var/elected/one?lock-renew", {**wish, "Lock": {"ID": NOBODY}}) == 409
    assert nomad.http("PUT", "/v1/var/elected/one?lock-renew", held)["Path"] == "elected/one"
    nomad.http("PUT", "/v1/var/elected/one?lock-release", {"Lock": {"ID": held["Lock"]["ID"]}})
    again = nomad.http("PUT", "/v1/var/elected/one?lock-acquire", wish)
    assert again["Lock"]["ID"] != held["Lock"]["ID"]
    nomad.http("PUT", "/v1/var/elected/one?lock-release", {"Lock": {"ID": again["Lock"]["ID"]}})
    assert nomad.http("GET", "/v1/var/elected/one")["Items"] == {"a": "1"}
    nomad.http("DELETE", "/v1/var/elected/one")
    assert nomad.http("GET", "/v1/vars?prefix=elected") == []


@pytest.mark.contract("NomadClient.logs")
def test_a_template_follows_what_it_shows(client: NomadClient, jobs: Jobs, nomad: Nomad) -> None:
    script = "trap 'cat local/shown; echo' HUP; echo $WORD $QUOTED; cat local/shown; echo; while :; do sleep 0.1; done"
    body = jobs.struct("following", script)
    (work,) = body["TaskGroups"][0]["Tasks"]
    variable = 'nomadVar "nomad/jobs/following"'
    work["Templates"] = [
        {
            "EmbeddedTmpl": f"{{{{ with {variable} }}}}shown {{{{ .word }}}}{{{{ end }}}}",
            "DestPath": "local/shown",
            "ChangeMode": "signal",
            "ChangeSignal": "SIGHUP",
            "Splay": 0,
        },
        {
            "EmbeddedTmpl": f"{{{{ with {variable} }}}}WORD=first\nQUOTED={{{{ .quoted | toJSON }}}}{{{{ end }}}}",
            "DestPath": "secrets/env",
            "Envvars": True,
            "ChangeMode": "noop",
        },
    ]
    client.register_job(body, modify_index=0)
    (waiting,) = eventually(
        lambda: client.job_allocations("following").value,
        lambda found: any("Missing: nomad.var.block(" in event.message for one in found for event in _events(one)),
    )
    assert waiting.client_status == "pending"
    nomad.http("PUT", "/v1/var/nomad/jobs/following", {"Items": {"word": "one", "quoted": 'a "b"'}})
    allocation = jobs.started("following")

    def said(*lines: str) -> None:
        eventually(lambda: list(client.logs(allocation.id, "work")), lambda found: found == list(lines))

    said('first a "b"', "shown one")
    nomad.http("PUT", "/v1/var/nomad/jobs/following", {"Items": {"word": "two", "quoted": 'a "b"'}})
    said('first a "b"', "shown one", "shown two")
    nomad.http("DELETE", "/v1/var/nomad/jobs/following")


@pytest.mark.contract("NomadClient.job_allocations", "NomadClient.logs")
def test_artifacts_are_there_before_the_task_and_the_helpers_run_beside_it(
    client: NomadClient, jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "plain.txt").write_text("plain")
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "plain.txt", "inner/file.txt")
    (tmp_path / "blob").write_bytes((tmp_path / "packed.tar.gz").read_bytes())
    checksum = hashlib.sha256((tmp_path / "plain.txt").read_bytes()).hexdigest()
    files = "local/a/plain.txt local/inner/file.txt local/typed/inner/file.txt local/raw/packed.tar.gz"
    script = f"cat {files} | wc -c; cat $NOMAD_ALLOC_DIR/data/made"
    body = {**jobs.struct("fetched", script), "Type": "batch", "Update": None}
    (work,) = body["TaskGroups"][0]["Tasks"]
    with _files(tmp_path) as url:
        work["Artifacts"] = [
            {
                "GetterSource": f"{url}/plain.txt",
                "GetterOptions": {"checksum": f"sha256:{checksum}"},
                "RelativeDest": "local/a",
            },
            {"GetterSource": f"{url}/packed.tar.gz"},
            {"GetterSource": f"{url}/blob?archive=tar.gz", "RelativeDest": "local/typed"},
            {
                "GetterSource": f"{url}/packed.tar.gz",
                "GetterOptions": {"archive": "false"},
                "RelativeDest": "local/raw",
            },
        ]
        before = {**work, "Name": "before", "Lifecycle": {"Hook": "prestart"}, "Artifacts": None}
        before["Config"] = {"command": "/bin/sh", "args": ["-c", "echo made > $NOMAD_ALLOC_DIR/data/made"]}
        after = {**before, "Name": "after", "Lifecycle": {"Hook": "poststop"}}
        after["Config"] = {"command": "/bin/sh", "args": ["-c", "echo after"]}
        body["TaskGroups"][0]["Tasks"] = [work, before, after]
        client.register_job(body, modify_index=0)

        done = eventually(lambda: client.job_allocations("fetched").value[:1], lambda found: found and found[0].done)[0]

    size = 15 + (tmp_path / "packed.tar.gz").stat().st_size
    assert [line.strip() for line in client.logs(done.id, "work")] == [str(size), "made"]
    assert list(client.logs(done.id, "after")) == ["after"]


@pytest.mark.contract("NomadClient.job_allocations")
def test_an_artifact_with_another_checksum_fails_the_task(client: NomadClient, jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("plain")
    body = jobs.struct("forged")
    with _files(tmp_path) as url:
        options = {"checksum": f"sha256:{hashlib.sha256(b'other').hexdigest()}"}
        body["TaskGroups"][0]["Tasks"][0]["Artifacts"] = [
            {"GetterSource": f"{url}/plain.txt", "GetterOptions": options}
        ]
        client.register_job(body, modify_index=0)
        failed = eventually(lambda: client.job_allocations("forged").value[:1], lambda found: found and found[0].done)[
            0
        ]

    event = next(event for event in failed.tasks["work"].events if event.type == "Failed Artifact Download")
    assert "Checksums did not match" in event.message + str(event.details)


def _events(allocation: Allocation) -> Iterator[TaskEvent]:
    for task in allocation.tasks.values():
        yield from task.events


@contextlib.contextmanager
def _files(directory: Path) -> Iterator[str]:
    """A web server of this machine with the files of a directory."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.contract("NomadClient.stop_allocation")
def test_a_stopped_instance_is_replaced(client: NomadClient, jobs: Jobs) -> None:
    first = jobs.run("replaced")

    eval_id = client.stop_allocation(first.id)

    assert client.read_evaluation(eval_id).triggered_by == "alloc-stop"
    replacement = eventually(
        lambda: next((one for one in client.job_allocations("replaced").value if one.id != first.id), None)
    )
    assert replacement is not None
    assert client.read_allocation(replacement.id).previous_allocation == first.id
    with pytest.raises(NotFoundError):
        client.stop_allocation(NOBODY)


@pytest.mark.contract("NomadClient.stop_job", "NomadClient.read_allocation")
def test_a_stopped_instance_runs_on_for_its_groups_delay(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("lingering", ShutdownDelay=4_000_000_000)
    client.stop_job("lingering")
    stopping = eventually(lambda: client.read_allocation(allocation.id), lambda found: found.desired_status == "stop")

    assert stopping.tasks["work"].state == "running"
    ended = eventually(lambda: client.read_allocation(allocation.id), lambda found: found.done)
    assert [event.type for event in ended.tasks["work"].events][-3:] == ["Killing", "Terminated", "Killed"]


@pytest.mark.contract("NomadClient.restart_allocation", "NomadClient.read_allocation")
def test_a_task_is_restarted_in_its_place(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("restarted")

    for restarts, task in ((1, ""), (2, "work")):
        client.restart_allocation(allocation.id, task)
        eventually(
            lambda: client.read_allocation(allocation.id).tasks["work"],
            lambda found, restarts=restarts: (found.state, found.restarts) == ("running", restarts),
        )

    with pytest.raises(NotFoundError):
        client.restart_allocation(allocation.id, "no-such-task")
    with pytest.raises(NotFoundError):
        client.restart_allocation(NOBODY)


@pytest.mark.contract("NomadClient.signal_allocation", "NomadClient.logs")
def test_a_task_gets_a_signal(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run(
        "signalled", "trap 'echo usr1' USR1; trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"
    )
    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == ["up"])

    client.signal_allocation(allocation.id, signal.SIGUSR1.name, "work")
    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == ["up", "usr1"])
    client.signal_allocation(allocation.id, "SIGUSR1")
    eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == ["up", "usr1", "usr1"])

    with pytest.raises(InvalidRequestError, match="SIGNOPE is no signal"):
        client.signal_allocation(allocation.id, "SIGNOPE")
    with pytest.raises(NotFoundError):
        client.signal_allocation(allocation.id, "SIGUSR1", "no-such-task")


@pytest.mark.contract("NomadClient.allocation_stats")
def test_an_instance_uses_memory_and_time(client: NomadClient, jobs: Jobs) -> None:
    allocation = jobs.run("measured", "while :; do :; done")

    stats = eventually(lambda: client.allocation_stats(allocation.id), lambda found: found.cpu_percent > 0)

    assert stats.memory_bytes > 0
    assert stats.cpu_ticks > 0
    with pytest.raises(NotFoundError):
        client.allocation_stats(NOBODY)


@pytest.mark.contract("NomadClient.allocation_checks")
def test_nomads_own_checks_tell_success_from_failure(client: NomadClient, jobs: Jobs) -> None:
    port = client.address.rpartition(":")[2]
    checks = [
        {"Name": name, "Type": "http", "Path": path, "Interval": 1_000_000_000, "Timeout": 1_000_000_000}
        for name, path in (("leader", "/v1/status/leader"), ("nothing", "/no-such-page"))
    ]
    service = {"Name": "checked", "Provider": "nomad", "Address": "127.0.0.1", "PortLabel": port, "Checks": checks}
    allocation = jobs.run("checked", Services=[service])

    found = eventually(
        lambda: {check.name: check for check in client.allocation_checks(allocation.id)},
        lambda found: {check.status for check in found.values()} == {"success", "failure"},
    )

    assert found["leader"].status == "success"
    assert (found["leader"].group, found["leader"].service) == ("checked.main[0]", "checked")
    assert found["nothing"].status == "failure"
    with pytest.raises(NotFoundError):
        client.allocation_checks(NOBODY)


@pytest.mark.contract("NomadClient.allocation_checks")
def test_an_instance_without_checks_has_none(client: NomadClient, jobs: Jobs) -> None:
    assert client.allocation_checks(jobs.run("unchecked").id) == ()


@pytest.mark.contract("NomadClient.newest_deployment", "NomadClient.read_deployment")
def test_a_deployment_is_followed_to_its_end(client: NomadClient, jobs: Jobs) -> None:
    registration = client.register_job(jobs.struct("followed"), modify_index=0)
    deployment = jobs.deployment("followed")
    snapshot = client.read_deployment(deployment.id)
    statuses = [snapshot.value.status]
    while not snapshot.value.done:
        snapshot = client.read_deployment(deployment.id, snapshot.index, wait=30)
        statuses.append(snapshot.value.status)

    ended = snapshot.value
    assert (statuses[-1], ended.job_id, ended.job_version) == ("successful", "followed", 0)
    assert ended.job_modify_index == registration.modify_index
    assert ended.status_description
    assert (ended.groups["main"].desired_total, ended.groups["main"].placed, ended.groups["main"].healthy) == (1, 1, 1)
    assert client.newest_deployment("no-such-job") is None
    with pytest.raises(NotFoundError):
        client.read_deployment(NOBODY)


@pytest.mark.contract(
    "NomadClient.deployment_allocations", "NomadClient.job_allocations", "NomadClient.newest_deployment"
)
def test_a_deployment_lists_its_own_instances_and_waits_for_news_of_them(client: NomadClient, jobs: Jobs) -> None:
    assert client.newest_deployment("redeployed") is None
    first = jobs.run("redeployed", Update={"MinHealthyTime": 10_000_000, "HealthCheck": "task_states"})
    one = jobs.settled("redeployed")
    changed = jobs.struct("redeployed", "echo another; exec sleep 600", Update=CANARY | {"Canary": 0})
    client.register_job(changed, client.read_job("redeployed").modify_index)
    other = jobs.settled("redeployed", version=1)

    assert client.newest_deployment("redeployed") == other
    (old,) = client.deployment_allocations(one.id).value
    before = client.deployment_allocations(other.id)
    (new,) = before.value
    assert (old.id, old.job_version, new.job_version) == (first.id, 0, 1)
    assert {each.id for each in client.job_allocations("redeployed").value} == {old.id, new.id}
    assert new.tasks["work"].events
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(client.deployment_allocations(other.id, index=before.index, wait=60))
    )
    waiting.start()
    client.stop_allocation(new.id)
    waiting.join(60)
    assert answers[0].index > before.index
    assert client.deployment_allocations(NOBODY).value == ()


@pytest.mark.contract("NomadClient.promote_deployment", "NomadClient.read_deployment")
def test_canaries_wait_for_their_promotion(client: NomadClient, jobs: Jobs) -> None:
    jobs.struct("promoted")
    first = client.register_job(_canary_job("promoted"), modify_index=0)
    jobs.settled("promoted")
    client.register_job(_canary_job("promoted", f": two; {FOREVER}"), modify_index=first.modify_index)
    deployment = jobs.deployment("promoted", version=1)

    waiting = eventually(
        lambda: client.read_deployment(deployment.id).value, lambda found: found.groups["main"].healthy == 1
    )
    group = waiting.groups["main"]
    assert (group.desired_canaries, group.promoted, waiting.done) == (1, False, False)
    (canary,) = group.placed_canaries
    allocation = client.read_allocation(canary)
    assert (allocation.canary, allocation.healthy, allocation.job_version) == (True, True, 1)

    assert client.promote_deployment(deployment.id)

    ended = jobs.settled("promoted", version=1)
    assert (ended.status, ended.groups["main"].promoted) == ("successful", True)
    with pytest.raises(ConflictError):
        client.promote_deployment(deployment.id)
    with pytest.raises(NotFoundError):
        client.promote_deployment(NOBODY)


@pytest.mark.contract("NomadClient.promote_deployment")
def test_what_is_not_ready_is_not_promoted(client: NomadClient, jobs: Jobs) -> None:
    jobs.struct("unready")
    slow = {**CANARY, "MinHealthyTime": 200_000_000_000}
    first = client.register_job({**job("unready"), "Update": CANARY}, modify_index=0)
    jobs.settled("unready")
    client.register_job({**job("unready", f": two; {FOREVER}"), "Update": slow}, modify_index=first.modify_index)
    jobs.started("unready", version=1)

    with pytest.raises(InvalidRequestError, match="healthy"):
        client.promote_deployment(jobs.deployment("unready", version=1).id)


@pytest.mark.contract("NomadClient.fail_deployment", "NomadClient.pause_deployment", "NomadClient.read_deployment")
def test_a_deployment_is_paused_resumed_and_failed(client: NomadClient, jobs: Jobs) -> None:
    jobs.struct("stopped-rollout")
    reverting = {**CANARY, "AutoRevert": True}
    first = client.register_job({**job("stopped-rollout"), "Update": reverting}, modify_index=0)
    jobs.settled("stopped-rollout")
    second = {**job("stopped-rollout", f": two; {FOREVER}"), "Update": reverting}
    client.register_job(second, modify_index=first.modify_index)
    deployment = jobs.deployment("stopped-rollout", version=1)
    assert deployment.groups["main"].auto_revert

    client.pause_deployment(deployment.id, paused=True)
    assert client.read_deployment(deployment.id).value.status == "paused"
    client.pause_deployment(deployment.id, paused=False)
    assert client.read_deployment(deployment.id).value.status == "running"
    assert client.fail_deployment(deployment.id)

    assert client.read_deployment(deployment.id).value.status == "failed"
    for write in (client.fail_deployment, lambda found: client.pause_deployment(found, paused=True)):
        with pytest.raises(ConflictError):
            write(deployment.id)
        with pytest.raises(NotFoundError):
            write(NOBODY)
