"""What checks of a spec know of a cluster is what the real servers say; a server that is away leaves its part out."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.spec.facts import Facts
from hms_nomad.workflows.cluster_facts import gather_facts
from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad
from tests.processes import free_port

pytestmark = pytest.mark.contract


def test_nodes_and_services_are_those_of_the_servers(nomad: Nomad, consul: Consul):
    with closing(nomad.client()) as asked, closing(consul.client()) as catalog:
        facts = gather_facts(asked, catalog)
    assert facts.nodes is not None
    (node,) = facts.nodes
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024)
    assert node.memory == pages
    assert node.cpu > 0
    assert "raw_exec" in node.drivers
    assert facts.services is not None
    assert "consul" in facts.services


def test_a_server_that_is_away_leaves_its_part_out():
    with closing(NomadClient(Connection(f"http://127.0.0.1:{free_port()}", retry_seconds=0))) as away:
        assert gather_facts(away, None) == Facts()
