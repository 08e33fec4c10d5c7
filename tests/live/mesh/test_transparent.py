"""Transparent proxies: what goes past a sidecar's name goes through the sidecar all the same, in and out."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, Ran
from tests.live.mesh.open_app import inside, write_spec
from tests.waiting import eventually

pytestmark = pytest.mark.real_nomad("networks of instances, through which a proxy can be transparent")

CONTEXT = "transparent"


@dataclass(frozen=True)
class Pair:
    """A service, the one that calls it, and one that declared nothing, all behind transparent proxies."""

    cli: Cli
    callee: str
    caller: str
    stranger: str


@pytest.fixture(scope="module")
def pair(stack: LiveStack, cli: Cli, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both, deployed under a context whose sidecars are transparent."""
    node = session.nomad.ready_nodes()[0]
    if "plugins.cni.version.consul-cni" not in node.attributes:
        pytest.skip("the node has no consul-cni: Consul's CNI plugin belongs into /opt/cni/bin")
    context = stack.platform.model_dump(mode="json", exclude_defaults=True)
    context["sidecar"]["transparent_proxy"] = True
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
    yield Pair(transparent, callee, caller, stranger)
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
