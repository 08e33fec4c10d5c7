"""The example with its database: a real PostgreSQL elsewhere, as ``db.mesh:5432``, by TLS from the caller to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.live.mesh.postgres_server import SERVER_NAME, PostgresServer, postgres_server

_EXAMPLES = Path(__file__).parents[3] / "examples"
_PAYMENT = _EXAMPLES / "payment" / "payment-process.hms.yml"
_DATABASE = _EXAMPLES / "payment" / "db.hms.yml"
_SCHEMA = _EXAMPLES / "payment" / "charges.sql"
_RECEIPT = _EXAMPLES / "receipt" / "receipt-process.hms.yml"
_SECRETS = "nomad/jobs/payment-svc"


@pytest.fixture(scope="module")
def database(session: Session) -> Iterator[PostgresServer]:
    """A server on the node's own address, outside the mesh."""
    with postgres_server(session.nomad.ready_nodes()[0].attributes["unique.network.ip-address"]) as server:
        yield server


@pytest.fixture(scope="module")
def payment(cli: Cli, session: Session, database: PostgresServer) -> Iterator[str]:
    """The payment service that records its charges, with what it needs: egress, database, password, receipts."""
    password = secrets.token_urlsafe(16)
    database.as_owner(_SCHEMA.read_text() + "alter role payment password :'password';\n", password=password)
    _keep(
        session,
        user="payment",
        password=password,
        database="postgres",
        ca=database.authority,
        server_name=SERVER_NAME,
    )
    try:
        for words in (
            ("platform", "install", "egress"),
            ("deploy", _DATABASE, "--var", f"host={database.host}"),
            ("deploy", _RECEIPT),
            ("deploy", _PAYMENT, "--env", "database"),
        ):
            ran = cli(*words)
            assert ran.exit_code == 0, ran.stderr
        yield "payment-svc"
    finally:
        for name in ("payment-svc", "receipt-svc", "db"):
            cli("stop", name, "--purge", "--yes")
        cli("platform", "remove", "egress", "--force")
        requests.delete(f"{session.platform.nomad.address}/v1/var/{_SECRETS}", timeout=10)


def _keep(session: Session, **items: str) -> None:
    """Write the service's own variables in Nomad, as its owner does with ``nomad var put``."""
    url = f"{session.platform.nomad.address}/v1/var/{_SECRETS}"
    requests.put(url, json={"Path": _SECRETS, "Items": items}, timeout=10).raise_for_status()


def _charge(cli: Cli, service: str, caller: str = "tax-portal") -> dict:
    body = json.dumps({"email": "citizen@example.gov", "amount": "42.50"})
    ran = cli("call", "POST", f"{service}/charge", "--as", caller, "--data", body)
    assert ran.exit_code == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def test_a_charge_is_in_the_database_once_it_is_answered(cli: Cli, payment: str, database: PostgresServer) -> None:
    charged = _charge(cli, payment)
    assert charged["charged"] is True
    assert charged["receipt"]["ok"] is True
    row = database.as_owner("select email, amount from charges where number = :number", number=charged["number"])
    assert row == "citizen@example.gov|42.50"


def test_nobody_else_comes_to_the_database(cli: Cli, payment: str) -> None:
    assert cli("mesh", "can-i", payment, "db").exit_code == 0
    refused = cli("mesh", "can-i", "receipt-svc", "db")
    assert refused.exit_code == 8, refused.stdout


def test_the_password_is_in_no_job(payment: str, session: Session, database: PostgresServer) -> None:
    job = session.nomad.read_job(payment)
    assert job is not None
    text = json.dumps(job.body)
    assert "nomad/jobs/payment-svc" in text
    assert database.authority.splitlines()[1] not in text
