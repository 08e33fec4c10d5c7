"""What an engine is asked for, before it is."""

from __future__ import annotations

from hms_nomad.build.engine import Order
from hms_nomad.clients.credentials import Credentials


def test_credentials_go_by_the_names_under_which_engines_look_for_them():
    ann, bob = Credentials("ann", "a"), Credentials("bob", "b")
    bases = {"python:3.13-slim": ann, "team/base": ann, "registry.gov/base:1": bob, "open.gov/base": None}
    order = Order("app:1", "Dockerfile", {}, {}, bases=bases)
    assert order.credentials == {"https://index.docker.io/v1/": ann, "registry.gov": bob}
    assert "ann" not in repr(order)
