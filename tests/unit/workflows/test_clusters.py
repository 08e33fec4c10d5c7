"""Which clusters a deploy goes to, and in which waves."""

from __future__ import annotations

import pytest

from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.deploying.clusters import targets, waves_of
from tests.unit.cli.running import run

REGIONS = {"eu-1": "eu", "us-1": "us", "eu-2": "eu"}


def load(name: str) -> Platform:
    return Platform(name=name, region=REGIONS[name])


def names(waves):
    return [[target.context for target in wave] for wave in waves]


def test_a_wave_is_one_cluster_or_one_region_in_the_order_of_the_command_line():
    clusters = targets(["eu-1", "us-1", "eu-2"], load)
    assert names(waves_of(clusters, by_region=False)) == [["eu-1"], ["us-1"], ["eu-2"]]
    assert names(waves_of(clusters, by_region=True)) == [["eu-1", "eu-2"], ["us-1"]]


def test_a_cluster_is_deployed_to_once():
    with pytest.raises(ContextError, match="named twice"):
        targets(["eu-1", "us-1", "eu-1"], load)


@pytest.mark.parametrize("variable", ["NOMAD_ADDR", "CONSUL_HTTP_ADDR", "VAULT_ADDR", "NOMAD_REGION"])
def test_no_variable_may_make_all_contexts_one_cluster(monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:4646")
    with pytest.raises(ContextError, match=variable):
        targets(["eu-1", "us-1"], load)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--wave", "region"], "--contexts"),
        (["--contexts", "a,b", "--context", "a"], "several"),
        (["--contexts", "a,,b"], "lists no names"),
        (["--contexts", "a,b", "--prune", "--yes"], "--context"),
    ],
)
def test_what_makes_no_sense_of_several_clusters_is_refused(tmp_path, words, said):
    ran = run("deploy", str(tmp_path), *words)
    assert ran.exit_code == 2
    assert said in ran.stderr
