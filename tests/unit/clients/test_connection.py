"""What is refused before the first call: addresses, tokens and certificates that could never work, or would leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import InvalidRequestError
from tests.certificates import Authority

TOKEN = "f00dfeed-0bad-4bad-8bad-c0ffee15bad0"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("http://127.0.0.1:4646", "http://127.0.0.1:4646"),
        ("127.0.0.1:4646", "http://127.0.0.1:4646"),
        ("https://nomad.example:4646/", "https://nomad.example:4646"),
        (" http://[::1]:8500 ", "http://[::1]:8500"),
        ("https://proxy.example/consul/", "https://proxy.example/consul"),
    ],
)
def test_an_address_is_brought_into_one_form(given: str, normal: str) -> None:
    assert Connection(given).address == normal


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://",
        "unix:///run/consul.sock",
        "ftp://a",
        "http://a b",
        "http://a:x",
        "http://a:0",
        "http://a/?x=y",
        "http://a..b",
    ],
)
def test_an_address_that_cannot_be_called_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequestError):
        Connection(address)


@pytest.mark.parametrize(
    "address", ["http://me:secret@host:4646", "http://me:secret@host:port", "me:secret@host:99999"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        Connection(address)

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:4646", "http://localhost:4646", "http://[::1]:4646", "https://nomad.example"]
)
def test_a_token_goes_over_https_or_stays_on_this_machine(address: str) -> None:
    connection = Connection(address, token=TOKEN)

    assert connection.token == TOKEN
    assert TOKEN not in repr(connection)


@pytest.mark.parametrize("address", ["http://10.0.0.1:4646", "http://nomad.example:4646", "http://localhost.example"])
def test_a_token_is_refused_on_plain_http_to_another_machine(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="unencrypted") as refusal:
        Connection(address, token=TOKEN)

    assert TOKEN not in str(refusal.value)
    assert Connection(address, token=TOKEN, insecure_http=True).token == TOKEN
    assert Connection(address).token == ""


@pytest.mark.parametrize("token", ["line\n", "two words", " leading", "umläut", "tab\t", "nul\0"])
def test_a_token_that_no_header_carries_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="token") as refusal:
        Connection("http://127.0.0.1", token=token)

    assert token not in str(refusal.value)


def test_certificates_are_always_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")

    assert Connection("https://a").verify is True
    assert Connection("https://a", ca_file=authority.file).verify == authority.file


def test_a_pair_of_certificate_and_key_is_taken(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("caller")
    both = tmp_path / "both.pem"
    both.write_text(Path(pair.certificate).read_text() + Path(pair.key).read_text())

    assert Connection("https://a", client_cert=pair.certificate, client_key=pair.key).certificate == (
        pair.certificate,
        pair.key,
    )
    assert Connection("https://a", client_cert=str(both)).certificate == str(both)
    assert Connection("https://a").certificate is None


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    first, second = authority.issue("first"), authority.issue("second")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")

    for files, told in (
        ({"ca_file": str(tmp_path / "missing.pem")}, "missing.pem is no file"),
        ({"ca_file": str(nonsense)}, "holds no certificate"),
        ({"client_cert": first.certificate, "client_key": second.key}, "no pair"),
        ({"client_cert": first.certificate}, "no pair"),
        ({"client_key": first.key}, "needs its client_cert"),
    ):
        with pytest.raises(InvalidRequestError, match=told):
            Connection("https://a", **files)


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("caller", password="opensesame")

    with pytest.raises(InvalidRequestError, match="without a password"):
        Connection("https://a", client_cert=pair.certificate, client_key=pair.key)
