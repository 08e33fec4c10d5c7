"""Real servers that prove themselves by certificates and demand them of their callers."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.clients.certificates import shown_by
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError, UnavailableError, UnknownOutcomeError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_exec import TaskCommand
from hms_nomad.clients.vault import VaultClient
from tests.certificates import Authority, Pair
from tests.contract.consul_server import consul_with_tls
from tests.contract.nomad_server import nomad_with_tls
from tests.contract.vault_server import vault_with_tls

CANARY = "f00dfeed-0bad-4bad-8bad-c0ffee15bad0"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of server: how it is run, asked, and written to."""

    name: str
    run: Callable[[Path, str, Pair], AbstractContextManager[str]]
    read: Callable[[Connection], Any]
    write: Callable[[Connection], Any]


KINDS = [
    Kind(
        "nomad",
        nomad_with_tls,
        lambda connection: NomadClient(connection).version(),
        lambda connection: NomadClient(connection).stop_job("web"),
    ),
    Kind(
        "nomad-websocket",
        nomad_with_tls,
        lambda connection: NomadClient(connection).version(),
        lambda connection: NomadClient(connection).run_in_task(TaskCommand("web", "app", ("true",)), (), print),
    ),
    Kind(
        "consul",
        consul_with_tls,
        lambda connection: ConsulClient(connection).services(),
        lambda connection: ConsulClient(connection).kv_put("web", b"1"),
    ),
    Kind(
        "vault",
        vault_with_tls,
        lambda connection: VaultClient(connection).health(),
        lambda connection: VaultClient(connection).delete("secret/data/web"),
    ),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def address(kind: Kind, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[str]:
    directory = tmp_path_factory.mktemp(f"trusted-{kind.name}")
    with kind.run(directory, authority.file, authority.issue(f"server-{kind.name}")) as address:
        yield address


def test_a_trusted_server_gets_the_callers_certificate(kind: Kind, address: str, authority: Authority) -> None:
    pair = authority.issue("caller")

    assert kind.read(Connection(address, ca_file=authority.file, client_cert=pair.certificate, client_key=pair.key))


def test_a_server_that_wants_a_certificate_gets_no_request_without(
    kind: Kind, address: str, authority: Authority
) -> None:
    connection = Connection(address, ca_file=authority.file)

    with pytest.raises(UnavailableError):
        kind.read(connection)
    # The server may close the connection while the request is still being written, and then nobody can tell.
    with pytest.raises((UnavailableError, UnknownOutcomeError)):
        kind.write(connection)


def test_a_certificate_of_a_stranger_is_refused(kind: Kind, address: str, authority: Authority, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "other").issue("stranger")
    connection = Connection(address, ca_file=authority.file, client_cert=pair.certificate, client_key=pair.key)

    with pytest.raises(UnavailableError):
        kind.read(connection)


def test_a_server_of_another_authority_is_not_trusted(kind: Kind, address: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other")

    for connection in (
        Connection(address, token=CANARY, ca_file=stranger.file),
        Connection(address, token=CANARY),
    ):
        for call in (kind.read, kind.write):
            with pytest.raises(UnavailableError, match="not trusted") as refusal:
                call(connection)
            assert not refusal.value.transient
            assert CANARY not in "".join(traceback.format_exception(refusal.value))


def test_a_server_that_speaks_https_only_says_so(kind: Kind, address: str) -> None:
    with pytest.raises(UnavailableError, match="https only"):
        kind.read(Connection(address.replace("https:", "http:")))


def test_a_server_that_speaks_http_only_says_so(consul: Any) -> None:
    with pytest.raises(UnavailableError, match="is http meant"):
        ConsulClient(Connection(consul.address.replace("http:", "https:"))).leader()


def test_a_certificate_for_another_name_is_refused(kind: Kind, address: str, authority: Authority) -> None:
    pair = authority.issue("caller-by-name")
    good = Connection(address, ca_file=authority.file, client_cert=pair.certificate, client_key=pair.key)
    assert shown_by(kind.name, good).names == ("localhost", "127.0.0.1")
    wrong = replace(good, tls_server_name="elsewhere.gov", retry_seconds=0.0)
    for call in (kind.read, kind.write):
        with pytest.raises(UnavailableError, match="not trusted"):
            call(wrong)
    with pytest.raises(DeniedError):
        shown_by(kind.name, wrong)


def test_a_certificate_that_is_out_of_date_is_refused(kind: Kind, authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(f"late-caller-{kind.name}")
    with kind.run(tmp_path, authority.file, authority.issue(f"late-{kind.name}", days=-1)) as late:
        where = Connection(
            late, token=CANARY, ca_file=authority.file, client_cert=pair.certificate, client_key=pair.key
        )
        for call in (kind.read, kind.write):
            with pytest.raises(UnavailableError, match=r"not trusted.*expired") as refused:
                call(replace(where, retry_seconds=0.0))
            assert CANARY not in str(refused.value)
        with pytest.raises(DeniedError, match="expired"):
            shown_by(kind.name, where)
