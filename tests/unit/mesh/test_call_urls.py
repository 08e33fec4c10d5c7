"""What names a service of the mesh, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.mesh.call import service_of
from hms_nomad.workflows.mesh.caller import operator_name


@pytest.mark.parametrize(
    ("url", "service", "path"),
    [
        ("http://receipt-svc.mesh/receipt", "receipt-svc", "/receipt"),
        ("http://receipt-svc.mesh:80/receipt?x=1", "receipt-svc", "/receipt?x=1"),
        ("receipt-svc.mesh/receipt", "receipt-svc", "/receipt"),
        ("receipt-svc", "receipt-svc", "/"),
    ],
)
def test_a_url_of_the_mesh_names_a_service_and_a_path(url, service, path):
    assert service_of(url, Platform()) == (service, path)


@pytest.mark.parametrize(
    "url",
    [
        "https://receipt-svc.mesh/",
        "http://example.gov/",
        "http://receipt-svc.mesh:3000/",
        "http://receipt-svc.mesh:nine/",
        "http://user@receipt-svc.mesh/",
        "http:///receipt",
        "",
    ],
)
def test_any_other_url_is_refused_with_an_example(url):
    with pytest.raises(InvalidRequestError, match=r"http://receipt-svc\.mesh/receipt"):
        service_of(url, Platform())


def test_the_platforms_own_domain_counts():
    assert service_of("http://db.city/x", Platform(mesh_domain="city")) == ("db", "/x")


def test_people_have_a_name_that_consul_takes(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "Jane.Doe@Agency")
    assert operator_name() == "hms-operator-jane-doe-agency"
    monkeypatch.setattr("getpass.getuser", lambda: "x" * 100)
    assert len(operator_name()) == 63
