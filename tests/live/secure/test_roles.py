"""Each command with the tokens of each role, on servers that deny by default: allowed or denied as docs/access.md says.

The commands run in this process, because there are some two hundred of them.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from hms_nomad.apply.lock import Holder, Process, lock_key, read_lock
from hms_nomad.cli.app import app
from hms_nomad.clients.nomad_acl import NomadPolicy
from hms_nomad.platform.context import CONTEXT_VARIABLE, save_context
from hms_nomad.platform.jobspecs import list_policies, read_policy
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, own_contexts
from tests.live.secure.conftest import SecureStack
from tests.live.stack.server import SERVER

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]

PAGE = Path(__file__).parents[3] / "docs" / "access.md"
SETTINGS = {"namespace": "default", "services": "tax-", "gateway": "hms-gateway", "egress": "hms-egress"}
ROLES: Mapping[str, Sequence[str]] = {
    "viewer": ("viewer",),
    "planner": ("viewer", "planner"),
    "deployer": ("deployer",),
    "publisher": ("deployer", "publisher"),
    "operator": ("operator",),
    "admin": ("operator", "admin"),
    "gateway": ("gateway",),
    "autoscaler": ("autoscaler",),
}
"""Columns of the table, and the policies whose rights each has."""

ROWS = (
    "status",
    "history",
    "logs",
    "registry lookup",
    "mesh graph",
    "mesh can-i",
    "mesh explain",
    "mesh status",
    "drift",
    "plan",
    "plan, of a new release",
    "plan, with secrets",
    "audit list",
    "lock show",
    "gateway routes",
    "platform status",
    "certs status",
    "doctor",
    "call",
    "exec",
    "exec, where nothing isolates",
    "certs issue",
    "lock release",
    "deploy",
    "deploy, of another team",
    "deploy, with public routes",
    "scale",
    "platform access-log",
    "stop --purge",
    "bootstrap --plan",
)
"""Rows of the table, in the order in which they are tried."""

_ROUTE = {
    "Kind": "http-route",
    "Name": "table",
    "Parents": [{"Kind": "api-gateway", "Name": "hms-gateway"}],
    "Rules": [
        {"Matches": [{"Path": {"Match": "prefix", "Value": "/table"}}], "Services": [{"Name": "tax-shown"}]},
    ],
}
"""A way through the gateway, which only a token sees that may read the mesh's rules."""
_TLS = {"ref": "pki", "file": "tls.pem", "names": ["tax.mesh"]}

DENIED = 8
_IN_CHROOT = "/usr/local/bin/consul"
OWN, OTHER, ISOLATED = "tax-shown", "other-shown", "tax-isolated"


@dataclass(frozen=True, slots=True)
class Try:
    """A command line; it worked with one of ``codes``, ``shown`` in its output and ``never`` not: Consul leaves out of
    lists, without a word, what a token may not read. ``after`` puts back what it changed.
    """

    words: Callable[[], Sequence[str]]
    shown: str = ""
    codes: Sequence[int] = (0,)
    never: str = "\0"
    after: Callable[[], object] = field(default=lambda: None)


class Desk:
    """A service of one's own and one of another team, and the commands that the table tries on them."""

    def __init__(self, secure: SecureStack, cli: Cli, folder: Path) -> None:
        self._cli = cli
        self._folder = folder
        self._number = 0
        self._count = 1
        self._made: list[str] = []
        (folder / "app.py").write_text(SERVER, encoding="utf-8")
        self.config = folder / "config"
        self.tokens: dict[str, dict[str, str]] = {}
        self.said: list[str] = []
        platform = secure.stack.platform
        bare = {
            name: where.changed(token_file=None)
            for name in ("nomad", "consul", "vault")
            if (where := getattr(platform, name)) is not None
        }
        with own_contexts(self.config):
            save_context(platform.changed(name="bare", **bare))
        self._secure = secure
        with secure.as_admin() as session:
            policies = {(one.server, one.role) for one in list_policies()}
            for one in policies:
                write_policy(session, *one, read_policy(*one, SETTINGS).text)
            for role, parts in ROLES.items():
                self.tokens[role] = _tokens(session, policies, parts)
            session.consul.write_entry(_ROUTE, 0)
        # Nomad has no right to write policies: whoever does has a management token.
        self.tokens["admin"]["NOMAD_TOKEN"] = secure.security.stored("nomad-management")

    def deployed(self, *names: str) -> None:
        """These services run."""
        for name in names:
            done = self._cli("deploy", self.spec(name), "--yes")
            assert done.exit_code == 0, done.stderr

    def spec(self, name: str, **more: object) -> str:
        """A spec that differs from every earlier one in who may call, which makes no new instance."""
        self._number += 1
        body = {
            "name": name,
            "version": "1.0.0",
            "command": ["python3", "local/app.py"],
            "files": {"app.py": {"source": "app.py"}},
            "port": 3000,
            "routes": [{"path": "/", "match": "prefix"}],
            "health": {"path": "/health"},
            "allow": ["tax-caller", f"tax-caller-{self._number}"],
            "scaling": {"min": 1, "max": 3},
            "rollout": {"strategy": "rolling", "min_healthy": "1s", "drain": "1s"},
            **more,
        }
        file = self._folder / f"{name}.hms.json"
        file.write_text(json.dumps(body), encoding="utf-8")
        return str(file)

    def isolated(self) -> str:
        """A service whose driver isolates it; it runs from the first time on."""
        if ISOLATED not in self._made:
            # The only program beside Envoy in the chroot of the test's stack; it talks to nobody.
            words = [_IN_CHROOT, "agent", "-dev", "-bind", "127.0.0.1"]
            done = self._cli("deploy", self.spec(ISOLATED, driver="exec", command=words, health=None), "--yes")
            assert done.exit_code == 0, done.stderr
            self._made.append(ISOLATED)
        return ISOLATED

    def ended(self) -> None:
        """Nothing of it is left."""
        for name in (OWN, OTHER, *self._made):
            assert self._cli("stop", name, "--purge", "--yes").exit_code == 0
        with self._secure.as_admin() as session:
            session.consul.destroy_session(self.locked())
            route = session.consul.read_entry("http-route", _ROUTE["Name"])
            assert route is not None
            session.consul.delete_entry("http-route", _ROUTE["Name"], route.modify_index)

    def locked(self) -> str:
        """The id of a lock that a command holds which works on another machine."""
        with self._secure.as_admin() as session:
            consul, key = session.consul, lock_key("default", "tax-locked")
            if holder := read_lock(consul, key):
                return holder.lock_id
            lock_id = consul.create_session("tax-locked", 3600, 0, behavior="delete")
            elsewhere = Process("", "", 0, "")
            holder = Holder("tax-locked", "somebody", "deploy", "", time.time(), elsewhere, lock_id)
            assert consul.kv_put(key, json.dumps(msgspec.to_builtins(holder)).encode(), acquire=lock_id)
            return lock_id

    def issued(self) -> str:
        """A directory for a certificate."""
        self._number += 1
        return str(self._folder / f"issued-{self._number}")

    def public(self) -> str:
        """The spec with a route that the outside reaches."""
        route = {"path": f"/{self._number}", "match": "prefix", "public": True}
        return self.spec(OWN, routes=[{"path": "/", "match": "prefix"}, route])

    def count(self) -> str:
        """Another number of instances than now."""
        return "2" if self._count == 1 else "1"

    def counted(self) -> None:
        """The number was taken over."""
        self._count = 3 - self._count

    def run(self, role: str, words: Sequence[str]) -> tuple[int, str]:
        """Exit code and output of a command with the tokens of a role, or with those of ``Desk.tokens``."""
        with own_contexts(self.config), pytest.MonkeyPatch.context() as patch:
            patch.setenv(CONTEXT_VARIABLE, "bare")
            for name, token in self.tokens[role].items():
                patch.setenv(name, token)
            result = CliRunner().invoke(app, [*words, "--trace"])
        self.said.append(result.stdout + result.stderr)
        return result.exit_code, self.said[-1]

    def tries(self) -> Mapping[str, Try]:
        """The rows of the table."""

        def plain(*words: str, shown: str = "", codes: Sequence[int] = (0,)) -> Try:
            return Try(lambda: words, shown, codes)

        return {
            "status": plain("status", shown=OWN),
            "history": plain("history", OWN, shown="1.0.0"),
            "logs": plain("logs", OWN),
            "registry lookup": plain("registry", "lookup", OWN, shown="passing"),
            "mesh graph": plain("mesh", "graph", shown="tax-caller"),
            "mesh can-i": plain("mesh", "can-i", "tax-caller", OWN),
            "mesh explain": plain("mesh", "explain", OWN, shown="connect timeout"),
            "mesh status": plain("mesh", "status", OWN, shown="in sync"),
            "drift": plain("drift", OWN, shown="clean"),
            "plan": Try(lambda: ("plan", self.spec(OWN)), codes=(0, 1)),
            "plan, of a new release": Try(lambda: ("plan", self.spec(OWN, env={"NEW": "yes"})), codes=(1,)),
            "plan, with secrets": Try(
                lambda: ("plan", self.spec(OWN, secrets={"A": "vault:secret/a#b", "tls": _TLS})), codes=(1,)
            ),
            "audit list": plain("audit", "list", shown="deploy"),
            "lock show": Try(lambda: ("lock", "show", self.locked() and "tax-locked"), shown="works"),
            "gateway routes": plain("gateway", "routes", shown="/table"),
            "platform status": plain("platform", "status"),
            "certs status": plain("certs", "status", OWN, shown=OWN),
            # What it finds wrong with this stack is no matter here, but for rights.
            "doctor": Try(lambda: ("doctor",), codes=(0, 1), never="D401"),
            "call": plain("call", "GET", f"http://{OWN}.mesh/", "--as", "tax-caller"),
            "exec": Try(lambda: ("exec", self.isolated(), _IN_CHROOT, "version"), shown="Consul v"),
            "exec, where nothing isolates": plain("exec", OWN, "echo", "inside", shown="inside"),
            "certs issue": Try(lambda: ("certs", "issue", OWN, "--out", self.issued())),
            "lock release": Try(lambda: ("lock", "release", "tax-locked", "--id", self.locked())),
            "deploy": Try(lambda: ("deploy", self.spec(OWN), "--yes")),
            "deploy, of another team": Try(lambda: ("deploy", self.spec(OTHER), "--yes")),
            "deploy, with public routes": Try(
                lambda: ("deploy", self.public(), "--yes"), after=lambda: self.deployed(OWN)
            ),
            "scale": Try(lambda: ("scale", OWN, self.count()), after=self.counted),
            "platform access-log": Try(
                lambda: ("platform", "access-log", "on"), after=lambda: self._cli("platform", "access-log", "off")
            ),
            "stop --purge": Try(lambda: ("stop", OWN, "--purge", "--yes"), after=lambda: self.deployed(OWN)),
            "bootstrap --plan": plain("bootstrap", "--plan", codes=(0, 1)),
        }

    def works(self, role: str, one: Try) -> tuple[bool, str]:
        """Whether a command did its work, and what it said."""
        code, said = self.run(role, one.words())
        worked = code in one.codes and one.shown in said and one.never not in said
        if worked:
            one.after()
        return worked, f"{code}: {said.strip()[-2000:]}"


@pytest.fixture(scope="module")
def desk(secure: SecureStack, secure_cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(secure, secure_cli, tmp_path_factory.mktemp("roles"))
    found.deployed(OWN, OTHER)
    yield found
    found.ended()


def write_policy(session: Session, server: str, role: str, rules: str) -> None:
    """The policy of a role on one server, under a name of this test."""
    name = f"table-{role}"
    if server == "nomad":
        session.nomad.write_acl_policy(NomadPolicy(name, "", rules))
    elif server == "consul":
        stored = session.consul.read_acl("policy", name)
        session.consul.write_acl("policy", {"Name": name, "Rules": rules}, stored.id if stored else "")
    elif session.vault is not None:
        session.vault.write_policy(name, rules)


def _tokens(session: Session, policies: set[tuple[str, str]], parts: Sequence[str]) -> dict[str, str]:
    """The tokens of a role as variables; none where it has no policy."""
    names = {
        server: [f"table-{part}" for part in parts if (server, part) in policies]
        for server in ("nomad", "consul", "vault")
    }
    found = {}
    if names["nomad"]:
        found["NOMAD_TOKEN"] = session.nomad.create_acl_token("table", names["nomad"])
    if names["consul"]:
        found["CONSUL_HTTP_TOKEN"] = str(uuid.uuid4())
        session.consul.create_acl_token(found["CONSUL_HTTP_TOKEN"], "table", names["consul"])
    if names["vault"] and session.vault is not None:
        found["VAULT_TOKEN"] = session.vault.create_token(names["vault"], 3600)
    return found


def documented() -> dict[str, dict[str, bool]]:
    """The table of docs/access.md: command to role to whether it works."""
    section = PAGE.read_text(encoding="utf-8").partition("## Command by role\n")[2].partition("\n## ")[0]
    lines = section.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    roles = rows[0][1:]
    return {
        re.sub("`", "", row[0]): {role: bool(cell) for role, cell in zip(roles, row[1:], strict=True)}
        for row in rows[2:]
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_command_works_for_whom_the_documentation_says_and_for_nobody_else(name: str, desk: Desk) -> None:
    one = desk.tries()[name]
    found: dict[str, bool] = {}
    said: dict[str, str] = {}
    for role in ROLES:
        found[role], said[role] = desk.works(role, one)
    expected = documented().get(name, {})
    assert found == expected, {role: text for role, text in said.items() if found[role] != expected.get(role)}
    # A missing right is named; what Consul leaves out of lists is not there for whoever may not read it.
    assert not {role: text for role, text in said.items() if not found[role] and not _refused(text)}


def test_a_certificate_that_the_agent_holds_is_not_taken_by_who_may_not_be_that_service(desk: Desk) -> None:
    caller = ("call", "GET", f"http://{OWN}.mesh/", "--as", "tax-caller")
    assert desk.run("deployer", caller)[0] == 0
    for words in (caller, ("certs", "issue", "tax-caller", "--out", desk.issued())):
        code, said = desk.run("planner", words)
        assert (code, "the token lacks service:write on tax-caller" in said) == (DENIED, True), said


def test_the_documentation_has_a_row_for_each_command_that_is_tried() -> None:
    assert tuple(documented()) == ROWS


def test_no_token_is_in_what_commands_say_what_servers_keep_or_on_the_disk(
    secure: SecureStack, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = tmp_path / "kept.plan"
    assert desk.run("deployer", ("plan", desk.spec(OWN), "--out", str(plan)))[0] in (0, 1)
    monkeypatch.setattr("hms_nomad.workflows.operating.status.list_status", _crash)
    code, said = desk.run("operator", ("status",))
    assert (code, "a bug of this test" in said) == (70, True)

    tokens = [token for given in desk.tokens.values() for token in given.values()]
    tokens += [file.read_text(encoding="utf-8").strip() for file in secure.security.directory.iterdir()]
    told = [*desk.said, plan.read_text(encoding="utf-8")]
    with secure.as_admin() as session:
        told += [pair.value.decode("utf-8", "replace") for pair in session.consul.kv_list("hms-nomad")]
        for one in session.nomad.list_jobs():
            told.append(json.dumps([version.body for version in session.nomad.job_versions(one.id)], default=str))
            # No text of a job is handed to Nomad, so that it has none to show.
            assert secure.get(f"{session.nomad.address}/v1/job/{one.id}/submission?version=0") == 404
    state = secure.stack.settings.state_dir
    files = [*state.glob("*/*.log"), *desk.config.rglob("*"), *secure.stack.config_dir.rglob("*")]
    told += [file.read_text("utf-8", "replace") for file in files if file.is_file()]
    assert len(tokens) > 20
    assert not [text[:200] for text in told if any(token in text for token in tokens)]


def _crash(session: Session, *_: object, **__: object) -> None:
    raise RuntimeError(f"a bug of this test, with {session!r}")


def _refused(text: str) -> bool:
    code, _, words = text.partition(": ")
    return int(code) in (0, DENIED) or (int(code) == 2 and "no " in words) or (int(code) == 1 and "D401" in words)
