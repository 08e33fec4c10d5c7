"""Credentials that Vault makes for each instance: a service logs in to a real PostgreSQL with its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Cli
from tests.live.mesh.postgres_server import PORT, PostgresServer, postgres_server
from tests.live.secure.conftest import SecureStack

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]

PROGRAM = """
import json, os, subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        given = {**os.environ, "PGPASSWORD": os.environ["DB_PASSWORD"], "PGSSLMODE": "require"}
        asked = ["psql", "-h", os.environ["DB_HOST"], "-p", os.environ["DB_PORT"], "-U", os.environ["DB_USERNAME"]]
        asked += ["-qAtX", "-c", "select current_user", "postgres"]
        done = subprocess.run(asked, env=given, capture_output=True, text=True)
        body = json.dumps({"user": done.stdout.strip(), "code": done.returncode}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
HTTPServer(("", 3000), Answer).serve_forever()
"""
CREATE = "create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"


@pytest.fixture(scope="module")
def database(secure: SecureStack) -> Iterator[PostgresServer]:
    """A server that Vault may make roles in."""
    with secure.as_admin() as session:
        host = session.nomad.ready_nodes()[0].attributes["unique.network.ip-address"]
        vault = session.vault
        assert vault is not None
        with postgres_server(host) as server:
            password = secrets.token_urlsafe(16)
            statement = "create role vault login createrole password :'password';\n"
            server.as_owner(statement, password=password)
            vault.enable_secrets("database", "database")
            vault.write(
                "database/config/taxes",
                {
                    "plugin_name": "postgresql-database-plugin",
                    "allowed_roles": "borrower",
                    "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{host}:{PORT}/postgres?sslmode=require",
                    "username": "vault",
                    "password": password,
                },
            )
            role = {"db_name": "taxes", "creation_statements": [CREATE], "default_ttl": "1h", "max_ttl": "2h"}
            vault.write("database/roles/borrower", role)
            yield server
            vault.delete("sys/mounts/database")


def test_each_instance_has_credentials_of_its_own(secure_cli: Cli, database: PostgresServer, tmp_path: Path) -> None:
    body = {
        "name": "borrower",
        "version": "1.0.0",
        "command": ["python3", "local/app.py"],
        "files": {"app.py": {"content": PROGRAM}},
        "env": {"DB_HOST": database.host, "DB_PORT": str(PORT)},
        "port": 3000,
        "routes": [{"path": "/"}],
        "allow": ["tester"],
        "health": {"path": "/"},
        "rollout": {"strategy": "rolling", "min_healthy": "1s", "drain": "1s"},
        "secrets": {"DB": "vault:database/creds/borrower"},
    }
    file = tmp_path / "borrower.hms.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    done = secure_cli("deploy", file, "--yes")
    assert done.exit_code == 0, done.stderr
    try:
        answered = json.loads(secure_cli("call", "GET", "http://borrower.mesh/", "--as", "tester").stdout)
        assert answered["code"] == 0
        assert answered["user"].startswith("v-")
        assert answered["user"] in _made(database)
        assert answered["user"] not in done.stdout + done.stderr
    finally:
        assert secure_cli("stop", "borrower", "--purge", "--yes").exit_code == 0


def _made(database: PostgresServer) -> str:
    return database.as_owner("select rolname from pg_roles where rolname like 'v-%'")
