"""One directory goes to several real clusters, and what is wrong in one of them stays there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_nomad.platform.context import DIRECTORY_VARIABLE
from tests.contract.consul_server import consul_process
from tests.contract.nomad_server import Nomad, nomad_agent
from tests.live.conftest import without_servers

SPEC = """\
name: {name}
version: 1.0.0
image: registry.gov/{name}:1.0.0
port: 8080
scaling: {{min: 2, max: 4}}
"""
AWAY = "http://127.0.0.1:1"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Nomad], Path]]:
    """Two clusters by the names of their contexts, and the directory of contexts; a third context leads nowhere."""
    directory = tmp_path_factory.mktemp("clusters")
    contexts = directory / "config" / "contexts"
    for folder in (contexts, *(directory / name for name in ("eu-1", "us-1", "eu-1-consul", "us-1-consul"))):
        folder.mkdir(parents=True)
    with (
        nomad_agent(directory / "eu-1") as eu,
        nomad_agent(directory / "us-1") as us,
        consul_process(directory / "eu-1-consul") as eu_consul,
        consul_process(directory / "us-1-consul") as us_consul,
    ):
        for name, nomad, consul in (
            ("eu-1", eu.address, eu_consul.address),
            ("us-1", us.address, us_consul.address),
            ("away", AWAY, AWAY),
        ):
            # Nothing is started here, so no registry is asked for a digest.
            body = {"nomad": {"address": nomad}, "consul": {"address": consul}, "images": {"pin": False}}
            text = json.dumps(body)
            (contexts / f"{name}.yml").write_text(text, encoding="utf-8")
        yield {"eu-1": eu, "us-1": us}, directory / "config"


@pytest.fixture
def run(clusters: tuple[dict[str, Nomad], Path], tmp_path: Path) -> Run:
    """Deploys a directory of two services whose names begin as given."""

    def deploy(prefix: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        for name in (f"{prefix}-a", f"{prefix}-b"):
            (tmp_path / f"{name}.hms.yml").write_text(SPEC.format(name=name), encoding="utf-8")
        command = [sys.executable, "-m", "hms_nomad", "deploy", str(tmp_path), "--detach", "--quiet", *words]
        variables = without_servers() | {DIRECTORY_VARIABLE: str(clusters[1])} | environment
        return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120, check=False)

    return deploy


def jobs(nomad: Nomad) -> set[str]:
    return {row["ID"] for row in nomad.http("GET", "/v1/jobs")}


def test_a_directory_goes_to_all_clusters_and_the_second_time_nothing_does(clusters, run):
    done = run("city", "--contexts", "eu-1,us-1", "--output", "json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert [(one["context"], one["tried"], one["changed"]) for one in body["contexts"]] == [
        ("eu-1", True, True),
        ("us-1", True, True),
    ]
    assert all({"city-a", "city-b"} <= jobs(nomad) for nomad in clusters[0].values())

    again = run("city", "--contexts", "eu-1,us-1", "--wave", "region")
    assert again.returncode == 0, again.stderr
    assert [line.split()[:2] for line in again.stdout.splitlines()[1:5]] == [
        ["eu-1", "city-a"],
        ["eu-1", "city-b"],
        ["us-1", "city-a"],
        ["us-1", "city-b"],
    ]
    assert json.loads(run("city", "--contexts", "us-1,eu-1", "-o", "json").stdout)["changed"] is False


def test_no_cluster_is_touched_after_one_that_failed(clusters, run):
    done = run("halt", "--contexts", "eu-1,away,us-1", "--output", "json")
    assert done.returncode == 7, done.stderr
    first, away, last = json.loads(done.stdout)["contexts"]
    assert len(first["services"]) == 2
    assert AWAY in away["errors"][0]["message"]
    assert (last["tried"], last["not_tried"]) == (False, ["halt-a", "halt-b"])
    assert "halt-a" in jobs(clusters[0]["eu-1"])
    assert "halt-a" not in jobs(clusters[0]["us-1"])


def test_an_address_in_the_environment_would_make_one_cluster_of_all(clusters, run):
    done = run("same", "--contexts", "eu-1,us-1", NOMAD_ADDR=clusters[0]["eu-1"].address)
    assert done.returncode == 2
    assert "NOMAD_ADDR" in done.stderr
    assert "same-a" not in jobs(clusters[0]["eu-1"])
