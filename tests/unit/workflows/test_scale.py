"""A count while a deployment runs: refused before Nomad is asked, with the ways on."""

from __future__ import annotations

import pytest

from hms_nomad.clients.errors import ConflictError
from hms_nomad.clients.nomad_types import Deployment
from hms_nomad.workflows.operating.scale import scale
from tests.unit.workflows.servers import FakeConsul, FakeNomad, job, session


def test_a_count_waits_for_the_end_of_a_deployment_and_says_how_to_end_it():
    running = Deployment("d1d2d3d4-5", "a", 1, 7, "running", "", 5, 6, {})
    nomad = FakeNomad(jobs={"a": job("a", count=2)}, deployments=[running])
    with pytest.raises(ConflictError) as refused:
        scale(session(nomad, FakeConsul()), "a", 3, "", 10.0, lambda event: None)
    assert refused.value.detail == (
        "deployment d1d2d3d4 of it is under way, and the count stays until it ends; follow it with "
        "hms-nomad watch a, end it with hms-nomad promote or abort a"
    )
    assert nomad.done == []
