"""Transparent proxies: what goes past a sidecar's name goes through the sidecar all the same, in and out."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hms_nomad.sections.section import as_data
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, Ran
from tests.live.mesh.name_server import name_server
from tests.live.mesh.open_app import inside, write_spec
from tests.waiting import eventually

pytestmark = pytest.mark.real_nomad("networks of instances, through which a proxy can be transparent")

CONTEXT = "transparent"


# A program for a chroot that has nothing but bash: it asks each of its arguments for /work, and says what it hears.
ASKER = """
until exec 4<>/dev/tcp/127.0.0.1/9102; do :; done 2>&-
while :; do
  for name; do
    exec 3<>"/dev/tcp/$name/80" || continue
    printf 'GET /work HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' "$name" >&3
    while IFS= read -r -t 5 line <&3 || [ "$line" ]; do printf '%s: %s\\n' "$name" "$line"; line=; done
  done
  read -r -t 1 line <&4
done
"""


@dataclass(frozen=True)
class Pair:
    """A service, the one that calls it, and one that declared nothing, all behind transparent proxies."""

    cli: Cli
    folder: Path
    callee: str
    caller: str
    stranger: str


@pytest.fixture(scope="module")
def pair(stack: LiveStack, cli: Cli, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both, deployed under a context whose sidecars are transparent."""
    node = session.nomad.ready_nodes()[0]
    if "plugins.cni.version.consul-cni" not in node.attributes:
        pytest.skip("the node has no consul-cni: Consul's CNI plugin belongs into /opt/cni/bin")
    context = as_data(stack.platform, defaults=False)
    context["sidecar"]["transparent_proxy"] = True
    context["dns"] = {"servers": [node.attributes["unique.network.ip-address"]]}
    file = stack.config_dir / "contexts" / f"{CONTEXT}.yml"
    file.write_text(yaml.safe_dump(context))

    def transparent(*words: str | Path) -> Ran:
        return cli(*words, HMS_NOMAD_CONTEXT=CONTEXT)

    folder = tmp_path_factory.mktemp("specs")
    callee, caller, stranger = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("callee", "caller", "stranger"))
    asked = {"allow": ["tax-portal"]}
    for name, fields in ((callee, {}), (caller, {"uses": [callee], **asked}), (stranger, asked)):
        write_spec(folder, name, **fields)
    ran = transparent("deploy", folder)
    assert ran.exit_code == 0, ran.stderr
    yield Pair(transparent, folder, callee, caller, stranger)
    for name in (stranger, caller, callee):
        transparent("stop", name, "--purge", "--yes")
    file.unlink()


def test_a_declared_dependency_is_called_by_its_name_and_sidecars_are_measured(pair: Pair) -> None:
    ran = pair.cli("call", "GET", f"{pair.caller}/ask/", "--as", "tax-portal")
    assert ran.stdout == "here\n", ran.stderr
    shown = json.loads(pair.cli("mesh", "status", pair.callee, "-o", "json").stdout)["sidecars"]
    assert [one["status"] for one in shown] == ["passing"]
    assert eventually(lambda: _counted(pair))


def test_the_programs_own_port_takes_no_plain_text(pair: Pair, session: Session) -> None:
    where = inside(session, pair.callee)
    with pytest.raises((OSError, http.client.HTTPException)):
        _plain(where, 3000)


def test_a_caller_that_goes_past_the_name_gets_nothing(pair: Pair, session: Session) -> None:
    where = f"{inside(session, pair.callee)}:3000"
    ran = pair.cli("call", "GET", f"{pair.caller}/ask/{where}", "--as", "tax-portal")
    assert "here" not in ran.stdout


def test_a_call_that_nobody_declared_is_refused_with_what_to_declare_and_the_log_names_it(
    pair: Pair, stack: LiveStack, session: Session
) -> None:
    # What Consul's DNS answers to callee.virtual.consul.
    (address,) = session.consul.discovery_chain(pair.callee)["AutoVirtualIPs"]
    told = f"declare uses: [{pair.callee}] in the spec of {pair.stranger}"
    words = [sys.executable, "-m", "hms_nomad", "mesh", "tap", pair.callee, "--denied", "--limit", "1"]
    assert pair.cli("platform", "access-log", "on").exit_code == 0
    try:
        with subprocess.Popen(
            [*words, "--for", "60s", "-o", "json"], stdout=subprocess.PIPE, text=True, env=stack.environment
        ) as tap:

            def refused() -> bool:
                ran = pair.cli("call", "GET", f"{pair.stranger}/ask/{address}/work", "--as", "tax-portal")
                return told in ran.stdout and tap.poll() is not None

            eventually(refused)
            request = json.loads(tap.communicate()[0])["request"]
    finally:
        pair.cli("platform", "access-log", "off")
    assert request["caller_id"].endswith(f"/svc/{pair.stranger}")
    assert (request["path"], request["status"], request["denied"]) == ("/work", 403, True)
    assert pair.cli("call", "GET", f"{pair.caller}/ask/", "--as", "tax-portal").stdout == "here\n"


@pytest.fixture
def names(stack: LiveStack, session: Session, tmp_path: Path) -> Iterator[None]:
    """A name server for instances, which leads NAME.mesh to what Consul knows of NAME."""
    address = session.nomad.ready_nodes()[0].attributes["unique.network.ip-address"]
    with name_server(tmp_path, address, "127.0.0.1", stack.settings.ports.consul_dns):
        yield


@pytest.mark.usefixtures("names")
def test_a_name_that_nobody_declared_resolves_and_is_refused_with_what_to_declare(pair: Pair) -> None:
    # Processes of raw_exec see the files of their node, and so its name servers.
    stranger, missing = f"{pair.stranger}-exec", "no-such-service.mesh"
    names = (f"{pair.callee}.mesh", f"{pair.callee}.virtual.consul")
    words = ["/bin/bash", "-c", ASKER, "asker", *names, missing]
    write_spec(pair.folder, stranger, command=words, driver="exec", health=None)
    ran = pair.cli("deploy", pair.folder / f"{stranger}.hms.json")
    assert ran.exit_code == 0, ran.stderr
    try:
        told = f"declare uses: [{pair.callee}] in the spec of {stranger}"
        said = eventually(
            lambda: pair.cli("logs", stranger, "--stderr").stdout + pair.cli("logs", stranger).stdout,
            lambda said: all(name in said for name in names) and missing in said,
        )
        for name in names:
            assert any(f" {name}: RBAC" in line and told in line for line in said.splitlines()), said
        assert f"{missing}: Name or service not known" in said
    finally:
        pair.cli("stop", stranger, "--purge", "--yes")


@pytest.mark.parametrize("strategy", ["canary", "rolling"])
def test_a_release_is_replaced_without_a_lost_request(pair: Pair, strategy: str) -> None:
    answers: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            ran = pair.cli("call", "GET", f"{pair.caller}/ask/", "--as", "tax-portal")
            answers.append(ran.stdout + ran.stderr)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        rollout = {"strategy": strategy, "drain": "1s", "min_healthy": "1s", "every": "1s"}
        write_spec(pair.folder, pair.callee, version=f"2.0.0-{strategy}", rollout=rollout)
        ran = pair.cli("deploy", pair.folder / f"{pair.callee}.hms.json")
    finally:
        over.set()
        asking.join()
    assert ran.exit_code == 0, ran.stderr
    assert set(answers) == {"here\n"}


def test_a_refused_command_says_so_as_everywhere(pair: Pair) -> None:
    ran = pair.cli("call", "GET", f"{pair.callee}/work", "--as", "somebody")
    assert ran.exit_code == 8
    assert "somebody may not make this request" in ran.stdout


def _plain(host: str, port: int) -> int:
    """The status of a plain request, from the node itself."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def _counted(pair: Pair) -> int:
    shown = json.loads(pair.cli("mesh", "status", pair.callee, "-o", "json").stdout)
    return int(shown["sidecars"][0]["requests"] or 0)
