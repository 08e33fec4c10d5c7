"""Tasks in containers, on a real Nomad and on the embedded agent: what they are given, and how they are driven."""

from __future__ import annotations

import contextlib
import signal
import urllib.request
from pathlib import Path

import pytest

from hms_nomad.clients.nomad import NomadClient
from hms_nomad.dev.engine import Engine, allocation_containers
from tests.contract.embedded_agent import BOTH, embedded_agent
from tests.contract.jobs import Jobs, contained
from tests.waiting import eventually

_COUNTER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("bye"), sys.exit(0)))
signal.signal(signal.SIGUSR1, lambda *_: print("usr1"))
print("up")
for number in range(10**9):
    time.sleep(0.02)
    if len(sys.argv) > 2:
        print(number, file=(sys.stdout, sys.stderr)[number % 2])
"""


@BOTH
@pytest.mark.contract("NomadClient.logs", "NomadClient.job_allocations")
def test_a_container_gets_variables_and_files_and_says_how_it_ended(
    client: NomadClient, jobs: Jobs, image: str
) -> None:
    script = """
import os, sys
print(os.environ["WORD"], os.environ["NOMAD_SECRETS_DIR"], open("/secrets/word").read(), os.path.isdir("/alloc/data"))
print(open("/local/plain").read(), os.environ["FROM_FILE"])
print("cannot go on", file=sys.stderr)
sys.exit(3)
"""
    body = contained(jobs, "given", image, script)
    task = body["TaskGroups"][0]["Tasks"][0]
    task["Env"] = {"WORD": "of ${NOMAD_JOB_NAME}"}
    task["Templates"] = [
        {"EmbeddedTmpl": "secret", "DestPath": "${NOMAD_SECRETS_DIR}/word"},
        {"EmbeddedTmpl": "plain", "DestPath": "local/plain"},
        {"EmbeddedTmpl": "FROM_FILE=yes\n", "DestPath": "secrets/env", "Envvars": True},
    ]
    client.register_job(body, modify_index=0)

    failed = eventually(lambda: client.job_allocations("given").value[:1], lambda found: found and found[0].done)[0]

    # A real Nomad may still be reading when the container has ended.
    eventually(
        lambda: [[*client.logs(failed.id, "work")], [*client.logs(failed.id, "work", "stderr")]],
        lambda found: found == [["of given /secrets secret True", "plain yes"], ["cannot go on"]],
    )
    ended = next(event for event in failed.tasks["work"].events if event.type == "Terminated")
    assert (ended.details["exit_code"], ended.details["oom_killed"]) == ("3", "false")
    assert failed.client_status == "failed"


@BOTH
@pytest.mark.contract("NomadClient.read_allocation")
def test_a_containers_port_is_published_where_the_instance_says(client: NomadClient, jobs: Jobs, image: str) -> None:
    script = """
import http.server
http.server.ThreadingHTTPServer(("", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
    body = contained(jobs, "published", image, script, ports=["http"])
    body["TaskGroups"][0]["Networks"] = [{"DynamicPorts": [{"Label": "http", "To": 8080}]}]
    client.register_job(body, modify_index=0)
    port = client.read_allocation(jobs.started("published").id).ports["http"]

    assert (port.to, port.host_ip) == (8080, "127.0.0.1")
    assert port.value != 8080
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status() -> int:
        with contextlib.suppress(OSError), direct.open(f"http://127.0.0.1:{port.value}/", timeout=5) as answer:
            return int(answer.status)
        return 0

    eventually(status, lambda found: found == 200)


@BOTH
@pytest.mark.contract("NomadClient.restart_allocation", "NomadClient.signal_allocation", "NomadClient.allocation_stats")
def test_a_container_is_signalled_restarted_measured_and_stopped(
    client: NomadClient, jobs: Jobs, image: str, engine: Engine
) -> None:
    client.register_job(contained(jobs, "driven", image, _COUNTER), modify_index=0)
    allocation = jobs.started("driven")

    def said(*expected: str) -> None:
        eventually(lambda: list(client.logs(allocation.id, "work")), lambda lines: lines == list(expected))

    said("up")
    client.signal_allocation(allocation.id, signal.SIGUSR1.name, "work")
    said("up", "usr1")
    client.restart_allocation(allocation.id, "work")
    said("up", "usr1", "bye", "up")
    eventually(
        lambda: client.read_allocation(allocation.id).tasks["work"],
        lambda found: (found.state, found.restarts) == ("running", 1),
    )
    assert eventually(lambda: client.allocation_stats(allocation.id), lambda found: found.memory_bytes > 0)
    client.stop_job("driven")

    eventually(lambda: client.read_allocation(allocation.id).done)
    said("up", "usr1", "bye", "up", "bye")
    eventually(lambda: allocation.id not in {one.allocation for one in allocation_containers(engine)})


def test_a_killed_agent_finds_its_container_again_and_loses_nothing_of_its_output(
    tmp_path: Path, image: str, engine: Engine
) -> None:
    with embedded_agent(tmp_path) as first, contextlib.closing(first.client()) as before:
        jobs = Jobs(before)
        before.register_job(contained(jobs, "outliving", image, _COUNTER, args=["count"]), modify_index=0)
        allocation = jobs.started("outliving")
        eventually(lambda: list(before.logs(allocation.id, "work")), lambda lines: len(lines) > 10)
        first.server.process.send_signal(signal.SIGKILL)
        first.server.process.wait()
        with embedded_agent(tmp_path) as second, contextlib.closing(second.client()) as after:
            own = [one.id for one in allocation_containers(engine) if one.allocation == allocation.id]
            known = len(list(after.logs(allocation.id, "work")))
            lines = eventually(
                lambda: list(after.logs(allocation.id, "work")), lambda lines: len(lines) > max(known, 20)
            )
            errors = list(after.logs(allocation.id, "work", "stderr"))
            found = after.read_allocation(allocation.id)
            assert (found.client_status, found.tasks["work"].restarts, len(own)) == ("running", 0, 1)
            assert lines == ["up", *(str(2 * number) for number in range(len(lines) - 1))]
            assert errors == [str(2 * number + 1) for number in range(len(errors))]

            second.server.process.send_signal(signal.SIGUSR1)

            assert second.server.process.wait(60) == 0
            assert allocation.id not in {one.allocation for one in allocation_containers(engine)}
