"""What certificates say, and what is found wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from hms_nomad.apply.authority import _first, _next
from hms_nomad.clients.certificates import read_pem
from hms_nomad.clients.consul_types import CaConfiguration, CaRoot
from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.dev.authority import ensure_authority
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.certs import overview as certs
from hms_nomad.workflows.certs.issue import issue
from hms_nomad.workflows.mesh.overview import SidecarState

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path):
    return ensure_authority(tmp_path / "one", {"consul": ("server.dc1.consul",)})


@pytest.fixture
def root(authority):
    return authority.ca_file.read_text()


def sidecar(**changes):
    fields = {
        "service": "receipt",
        "allocation": "11111111-2222",
        "node": "n",
        "address": "10.0.0.1:20000",
        "release": "r",
        "status": "passing",
        "identity": "spiffe://x/svc/receipt",
        "issued": NOW - timedelta(hours=10),
        "expires": NOW + timedelta(hours=62),
        "sync": "in sync",
        "requests": 1,
        "success": 100.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "problems": (),
        "serial": "0A",
        "signer": "aa:bb",
    }
    return SidecarState(**(fields | changes))


def verified(monkeypatch, roots, *sidecars, now=NOW):
    consul = SimpleNamespace(ca_roots=lambda: roots, ca_configuration=lambda: CaConfiguration("consul", {}, 1))
    session = SimpleNamespace(consul=consul, vault=None, platform=Platform())
    monkeypatch.setattr(certs, "mesh_status", lambda session, name: sidecars)
    view, problems = certs.certs_verify(session, now)
    return view, [(one.what, one.detail) for one in problems]


def ca_root(pem, *, active=True, signer="aa:bb", **more):
    return CaRoot("id", "root", active, pem, "x", "", signing_key_id=signer, **more)


def test_a_certificate_is_read_with_names_times_and_signer(authority, root):
    (own,) = read_pem(root)
    (server,) = read_pem(authority.pair("consul").certificate.read_text())
    assert server.names == ("server.dc1.consul", "localhost", "127.0.0.1")
    assert server.signer_key_id == own.key_id != ""
    assert server.signed_by(own)
    assert not own.signed_by(server)
    assert server.issued < server.at(0.5) < server.expires
    assert server.serial == server.serial.upper()
    with pytest.raises(ValueError, match="PEM"):
        read_pem("nothing")


def test_good_certificates_have_no_problem_and_a_time_of_renewal(monkeypatch, root):
    view, problems = verified(monkeypatch, (ca_root(root),), sidecar())
    assert problems == []
    (leaf,) = view.leaves
    assert leaf.current is True
    assert leaf.renewal == leaf.sidecar.issued + timedelta(hours=72 * 0.6)
    assert leaf.renewal_until == leaf.sidecar.issued + timedelta(hours=72 * 0.9)


def test_each_fault_is_named(monkeypatch, root, tmp_path):
    stranger = ensure_authority(tmp_path / "two", {}).ca_file.read_text()
    late = sidecar(issued=NOW - timedelta(hours=70), expires=NOW + timedelta(hours=2))
    over = sidecar(allocation="2", issued=NOW - timedelta(hours=73), expires=NOW - timedelta(hours=1))
    earlier = sidecar(allocation="3", signer="cc:dd")
    silent = sidecar(allocation="4", issued=None, expires=None, signer="", problems=("certificate not read: no TLS",))
    foreign = ca_root(root, intermediates=(stranger,), signer=read_pem(stranger)[0].key_id)
    _, problems = verified(monkeypatch, (foreign,), late, over, earlier, silent)
    texts = "\n".join(f"{what}: {detail}" for what, detail in problems)
    assert "mesh intermediate: the root in use did not sign it" in texts
    assert "receipt 11111111: Consul should have renewed it before" in texts
    assert "receipt 2: it ended on" in texts
    assert "receipt 3: an earlier authority signed it" in texts
    assert "receipt 4: certificate not read: no TLS" in texts

    end = read_pem(root)[0].expires
    for now, words in ((end + timedelta(days=1), "it ended on"), (end - timedelta(days=3), "it ends on")):
        _, problems = verified(monkeypatch, (ca_root(root),), now=now)
        assert words in problems[0][1]
    assert ("mesh root", "there is no active root certificate") in verified(
        monkeypatch, (ca_root(root, active=False),)
    )[1]


def test_mounts_of_later_roots_are_numbered():
    assert _next("connect-root/") == "connect-root-2/"
    assert _next("connect-root-9/") == "connect-root-10/"
    assert _first("connect-root-10/") == _first("connect-root/") == "connect-root/"


def test_no_file_that_is_there_is_written_over(tmp_path):
    (tmp_path / "key.pem").write_text("mine")
    with pytest.raises(InvalidRequestError, match="exists already"):
        issue(SimpleNamespace(), "receipt", None, tmp_path)
    assert (tmp_path / "key.pem").read_text() == "mine"
