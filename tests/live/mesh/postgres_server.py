"""Debian's PostgreSQL as a server of its own, outside the mesh: TLS only, passwords by SCRAM, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.dev.authority import ensure_authority

PORT = 5432
SERVER_NAME = "db.agency.test"
_ACCOUNTS = ("postgres", "nobody")
_WAIT_SECONDS = 60


@dataclass(frozen=True)
class PostgresServer:
    """A running server at ``host``, and the authority of its certificate as PEM."""

    host: str
    authority: str
    _directory: Path
    _binaries: Path
    _account: dict[str, Any]

    def as_owner(self, statements: str, **variables: str) -> str:
        """Run statements as the database's owner, on the machine itself; what they answer, a row a line.

        ``variables`` are psql's own; like the statements they go in by its standard input.
        """
        told = "".join(f"\\set {name} {value}\n" for name, value in variables.items())
        how = ["-qAtX", "-v", "ON_ERROR_STOP=1", "-h", self._directory, "-U", "owner", "postgres"]
        return _run(self._account, [self._binaries / "psql", *how], told + statements).strip()


@contextmanager
def postgres_server(host: str) -> Iterator[PostgresServer]:
    """A server on port 5432 of ``host``, gone at the end; skips where the machine has none."""
    binaries = _binaries()
    account = _account()
    directory = Path(tempfile.mkdtemp(prefix="hms-postgres-"))
    try:
        authority = ensure_authority(directory / "tls", {"db": [SERVER_NAME]})
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, account.get("user"), account.get("group"))
        data, pair = directory / "data", authority.pair("db")
        _run(account, [binaries / "initdb", "-D", data, "-U", "owner", "--auth=trust", "--no-sync", "--no-locale"])
        (data / "pg_hba.conf").write_text("local all owner trust\nhostssl all all all scram-sha-256\n")
        settings = {
            "listen_addresses": host,
            "port": PORT,
            "unix_socket_directories": directory,
            "ssl": "on",
            "ssl_cert_file": pair.certificate,
            "ssl_key_file": pair.key,
            "fsync": "off",
        }
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        (data / "postgresql.conf").write_text(lines)
        control = [binaries / "pg_ctl", "-D", data, "-w", "-t", str(_WAIT_SECONDS)]
        _run(account, [*control, "-l", directory / "log", "start"])
        try:
            yield PostgresServer(host, authority.ca_file.read_text(), directory, binaries, account)
        finally:
            _run(account, [*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _binaries() -> Path:
    """Where the newest of Debian's PostgreSQLs lies, which is on no PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("no PostgreSQL below /usr/lib/postgresql: apt-get install postgresql")
    return found[-1].parent


def _account() -> dict[str, Any]:
    """As whom it runs: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry.pw_gid for entry in pwd.getpwall()}
    name = next((name for name in _ACCOUNTS if name in known), None)
    if name is None:
        pytest.skip(f"PostgreSQL does not run as root, and there is none of {', '.join(_ACCOUNTS)}")
    return {"user": name, "group": known[name], "extra_groups": []}


def _run(account: dict[str, Any], words: list[Any], stdin: str = "") -> str:
    with tempfile.TemporaryFile("w+") as told:
        # A server that is started here keeps the descriptors: a pipe would never end.
        done = subprocess.run(
            [str(word) for word in words],
            input=stdin,
            stdout=told,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
            timeout=2 * _WAIT_SECONDS,
            **account,
        )
        told.seek(0)
        said = told.read()
    assert done.returncode == 0, said
    return said
