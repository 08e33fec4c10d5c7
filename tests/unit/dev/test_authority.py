from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from hms_nomad.dev.authority import ensure_authority
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.security import ensure_security, security_of

NAMES = {"consul": ("server.dc1.consul",), "nomad": ("server.global.nomad", "client.global.nomad")}


def _certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_each_server_has_a_certificate_of_the_authority_for_its_names(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path / "tls", NAMES)

    root = _certificate(authority.ca_file)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for server, names in NAMES.items():
        pair = authority.pair(server)
        issued = _certificate(pair.certificate)
        issued.verify_directly_issued_by(root)
        hosts = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {*names, "localhost"} == set(hosts.get_values_for_type(x509.DNSName))
        assert hosts.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.key)


def test_what_holds_for_long_enough_stays_and_another_name_is_a_new_certificate(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path, NAMES)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    ensure_authority(tmp_path, NAMES)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

    ensure_authority(tmp_path, {**NAMES, "consul": ("server.dc2.consul",)})
    changed = {file.name for file in tmp_path.iterdir() if file.read_bytes() != before[file.name]}
    assert changed == {authority.pair("consul").certificate.name, authority.pair("consul").key.name}


def test_a_broken_authority_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path, {})
    authority.ca_file.write_text("nothing\n")
    with pytest.raises(StackError, match="take the stack down"):
        ensure_authority(tmp_path, NAMES)


def test_keys_and_tokens_are_private_and_stay_the_same(tmp_path: Path) -> None:
    security = ensure_security(tmp_path)
    token, gossip = security.token("consul-management"), security.gossip_key("nomad")
    security.keep("nomad", "chosen-by-the-server")

    again = security_of(tmp_path)
    assert (again.token("consul-management"), again.gossip_key("nomad")) == (token, gossip)
    assert again.stored("nomad") == "chosen-by-the-server"
    assert again.stored("no-such") == ""
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert {folder.stat().st_mode & 0o777 for folder in tmp_path.iterdir()} == {0o700}
