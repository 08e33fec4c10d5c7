"""A saved plan holds for the cluster that it was made on, and is refused before anything is read elsewhere."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from hms_nomad.plan.saved import StalePlanError
from hms_nomad.workflows.planning.plan import plan
from hms_nomad.workflows.planning.saved_plan import check_plan, find_saved_plan, read_planned, save_plan
from hms_nomad.workflows.specs import read_specs
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session


def cluster(region="global", namespace="default", datacenter="dc1", trust="1234.consul"):
    """A session on servers that hold nothing."""
    consul = FakeConsul()
    consul.ca_roots = lambda: (SimpleNamespace(trust_domain=trust),)
    consul.agent = lambda: SimpleNamespace(datacenter=datacenter)
    found = session(FakeNomad(), consul)
    found.pins = {}
    found.platform = found.platform.changed(region=region, namespace=namespace)
    return found


@pytest.fixture
def saved(tmp_path):
    """The file of a plan, made on a cluster."""
    spec = tmp_path / "web.hms.json"
    spec.write_text(json.dumps({"name": "web", "version": "1", "image": "a/b:1", "port": 80}), encoding="utf-8")
    files, out, here = read_specs([str(spec)]), tmp_path / "next.plan", cluster()
    save_plan(here, out, ([str(spec)], None, {}), files, plan(here, [file.spec for file in files]))
    return out


def checked(there, file):
    """The check of the file's plan on a cluster."""
    found = find_saved_plan([str(file)])
    return check_plan(there, found, str(file), read_planned(found, str(file), {}))


def test_on_its_own_cluster_it_holds(saved):
    assert [file.spec.name for file in checked(cluster(), saved).files] == ["web"]


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ({"region": "eu"}, "it was made for nomad region 'global', and this is 'eu'"),
        ({"namespace": "tax"}, "it was made for nomad namespace 'default', and this is 'tax'"),
        ({"datacenter": "dc2"}, "it was made for consul datacenter 'dc1', and this is 'dc2'"),
        ({"trust": "9999.consul"}, "it was made for consul cluster '1234.consul', and this is '9999.consul'"),
    ],
)
def test_on_another_cluster_it_is_refused_with_what_differs_and_nothing_is_read(saved, there, told):
    elsewhere = cluster(**there)
    with pytest.raises(StalePlanError, match=told):
        checked(elsewhere, saved)
    assert (elsewhere.nomad.calls, elsewhere.consul.calls, elsewhere.consul.done) == (0, 0, [])
