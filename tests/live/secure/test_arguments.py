"""No token, password or key is an argument or in the environment of a program that it is not for, nor in what is said,
kept and written, while commands run that were given each of them in each way.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import uuid
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hms_nomad.build.engine import find_engine
from tests.contract.test_registry_faults import PASSWORD, USERS, application
from tests.live.conftest import Ran, run_cli
from tests.live.secure.conftest import SecureStack
from tests.live.secure.secret_services import Canaries, Services
from tests.live.secure.watching import Watch
from tests.registry_server import image_registry

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]


class Operator:
    """Whoever runs commands as a process of its own, with tokens of its own; ``told`` is all that they said."""

    def __init__(self, secure: SecureStack, watch: Watch, folder: Path) -> None:
        self._secure = secure
        self._watch = watch
        self._variables: dict[str, str] = {}
        self.told: list[str] = []
        self.secrets: dict[str, str] = {}
        with secure.as_admin() as session:
            self.secrets["NOMAD_TOKEN"] = session.nomad.create_acl_token("arguments", ["hms-deployer"])
            self.secrets["CONSUL_HTTP_TOKEN"] = str(uuid.uuid4())
            session.consul.create_acl_token(self.secrets["CONSUL_HTTP_TOKEN"], "arguments", ["hms-deployer"])
            assert session.vault is not None
            self.secrets["VAULT_TOKEN"] = session.vault.create_token(["hms-deployer"], 3600)
        self._files = folder / "tokens"
        self._files.mkdir(mode=0o700)
        for name, token in self.secrets.items():
            (self._files / name).write_text(token, encoding="utf-8")
            (self._files / name).chmod(0o600)
        contexts = secure.stack.config_dir / "contexts"
        self._context = contexts / "arguments.yml"
        self._body = yaml.safe_load((contexts / f"{secure.stack.settings.name}.yml").read_text(encoding="utf-8"))

    def by(self, way: str) -> None:
        """From now on the tokens come by variables, by files or by a helper."""
        names = {"nomad": "NOMAD_TOKEN", "consul": "CONSUL_HTTP_TOKEN", "vault": "VAULT_TOKEN"}
        self._variables = dict(self.secrets) if way == "variables" else {}
        body = {**self._body, "name": "arguments"}
        for server, variable in names.items():
            where = {key: value for key, value in body[server].items() if not key.startswith("token_")}
            file = str(self._files / variable)
            source = {"files": {"token_file": file}, "helper": {"token_helper": ["/bin/cat", file]}}
            body[server] = where | source.get(way, {})
        self._context.write_text(yaml.safe_dump(body), encoding="utf-8")

    def images(self, host: str) -> None:
        """Images go to this registry."""
        body = yaml.safe_load(self._context.read_text(encoding="utf-8")) | {"images": {"registry": host}}
        self._context.write_text(yaml.safe_dump(body), encoding="utf-8")

    def run(self, *words: str | Path, code: int = 0, stdin: str = "", **variables: str) -> Ran:
        """Run a command, with all that it tells when something goes wrong."""
        given = {**self._watch.variables, **self._variables, "HMS_NOMAD_CONTEXT": "arguments", **variables}
        ran = run_cli(self._secure.stack, *words, "--trace", stdin=stdin, **given)  # type: ignore[arg-type]
        self.told += [ran.stdout, ran.stderr]
        assert ran.exit_code == code, (words, ran.stdout, ran.stderr)
        return ran

    def ended(self) -> None:
        """The context is gone."""
        self._context.unlink()


def test_no_secret_is_an_argument_or_anywhere_else_while_commands_run(
    secure: SecureStack, services: Services, canaries: Canaries, tmp_path: Path
) -> None:
    watch = Watch(tmp_path)
    operator = Operator(secure, watch, tmp_path)
    word, signing = canaries.new("word"), f"canary-of-a-key-{uuid.uuid4().hex}"
    with secure.as_admin() as session:
        assert session.vault is not None
        session.vault.kv_write("secret", "arguments", {"word": word}, version=0)
    secrets = {"w": {"ref": "vault:secret/arguments#word", "file": "w", "change": "none"}}
    file = services.file("arguments", secrets)
    hidden = {**operator.secrets, "registry": PASSWORD, "key": signing, "word": word[:39]}
    hidden["basic"] = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    certificate = tmp_path / "issued"
    with watch.over(hidden):
        operator.by("variables")
        operator.run("plan", file, "--out", tmp_path / "kept.plan", code=1)
        operator.run("deploy", file, "--yes")
        operator.by("helper")
        operator.run("deploy", services.file("arguments", secrets, allow=["tester", "tester-2"]), "--yes")
        operator.run("call", "GET", "http://arguments.mesh/", "--as", "tester")
        operator.run("certs", "issue", "arguments", "--out", certificate)
        operator.run("doctor", "--role", "deployer")
        operator.by("files")
        for words in (("status",), ("history", "arguments"), ("drift", "arguments"), ("logs", "arguments")):
            operator.run(*words)
        for words in (("mesh", "status", "arguments"), ("audit", "list"), ("certs", "verify", "arguments")):
            operator.run(*words)
        operator.run("context", "show", "--origin")
        crashed = operator.run("status", code=70, HMS_TEST_CRASH="yes")
        if find_engine() is not None:
            _build(operator, tmp_path, signing)
        operator.run("stop", "arguments", "--yes")
    operator.ended()

    assert "a bug of this test, with Session(" in crashed.stderr
    assert watch.looks > 10
    assert watch.seen == []
    children = watch.children()
    assert {Path(str(one["program"])).name for one in children} >= {"cat", "git"}
    assert not [one["program"] for one in children for secret in hidden.values() if secret in json.dumps(one)]

    told = [*operator.told, (tmp_path / "kept.plan").read_text("utf-8")]
    with secure.as_admin() as session:
        told += [pair.value.decode("utf-8", "replace") for pair in session.consul.kv_list("hms-nomad")]
        told += [str(version.body) for version in session.nomad.job_versions("arguments")]
    state = secure.stack.settings.state_dir
    kept = [*state.glob("*/*.log"), *(secure.stack.config_dir / "contexts").iterdir()]
    told += [file.read_text("utf-8", "replace") for file in kept]
    key = (certificate / "key.pem").read_text(encoding="ascii").splitlines()[1]
    assert not [text[:300] for text in told if any(secret in text for secret in (*hidden.values(), key))]


def _build(operator: Operator, folder: Path, password: str) -> None:
    """Build, push to a registry whose password a helper knows, and sign with a key that has one."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "known").write_text(json.dumps({"Username": "ann", "Secret": PASSWORD}), encoding="utf-8")
    helper = tools / "docker-credential-known"
    helper.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(tools / 'known'))}\n", encoding="utf-8")
    helper.chmod(0o755)
    key = ec.generate_private_key(ec.SECP256R1())
    hidden = serialization.BestAvailableEncryption(password.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    (folder / "release.key").write_bytes(pem)
    sources = application(folder / "sources")
    spec = {"name": "signed", "version": "1.0.0", "image": "signed", "build": {}, "port": 3000}
    file = sources / "signed.hms.yml"
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    with image_registry(folder / "registry", USERS) as host:
        (tools / "config.json").write_text(json.dumps({"credHelpers": {host: "known"}}), encoding="utf-8")
        operator.images(host)
        operator.run(
            *("build", file, "--sign", folder / "release.key"),
            COSIGN_PASSWORD=password,
            NOMAD_TOKEN=operator.secrets["NOMAD_TOKEN"],
            CONSUL_HTTP_TOKEN=operator.secrets["CONSUL_HTTP_TOKEN"],
            DOCKER_CONFIG=str(tools),
            PATH=f"{tools}:{os.environ['PATH']}",
        )
