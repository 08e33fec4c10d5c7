"""Where a service runs, as whom, and what operators may start in it, in the words of Nomad's job."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hms_nomad.compile.hcl import job_to_hcl
from hms_nomad.compile.job import compile_job
from hms_nomad.plan.normal import job_differences
from hms_nomad.platform.model import Platform
from hms_nomad.spec.loader import load_spec
from tests.binaries import binary
from tests.unit.specs import spec

GOLDEN = Path(__file__).parent / "golden"
PLATFORM = Platform()


def golden():
    path = GOLDEN / "placement.hms.yml"
    return compile_job(load_spec(path.read_bytes(), path.name), PLATFORM).body


def compiled(**changes):
    return compile_job(spec(**changes), PLATFORM)


def test_the_job_says_where_its_instances_run_and_as_whom():
    job = golden()
    task = job["TaskGroups"][0]["Tasks"][0]
    seen = {key: job[key] for key in ("Datacenters", "NodePool", "Constraints", "Spreads")}
    seen |= {key: task[key] for key in ("Driver", "User", "Actions")}
    assert seen == json.loads((GOLDEN / "placement.json").read_text())


@pytest.mark.parametrize("form", ["json", "hcl"])
def test_nomad_accepts_it(form, tmp_path):
    nomad = binary("nomad")
    job = golden()
    text = json.dumps({"Job": job}) if form == "json" else job_to_hcl(job)
    file = tmp_path / f"job.{form}"
    file.write_text(text)
    options = ["-json"] if form == "json" else []
    result = subprocess.run(
        [nomad, "job", "validate", *options, str(file)], capture_output=True, text=True, check=False
    )
    assert "Job validation successful" in result.stdout, result.stdout + result.stderr


def test_what_a_spec_leaves_open_is_the_platforms():
    body = compile_job(spec(), Platform(datacenters=("dc7",), node_pool="city")).body
    assert (body["Datacenters"], body["NodePool"]) == (["dc7"], "city")
    assert "Constraints" not in body
    assert "User" not in body["TaskGroups"][0]["Tasks"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"placement": {"distinct_hosts": True}},
        {"placement": {"datacenters": ["dc1"]}},
        {"placement": {"constraints": [{"attribute": "meta.rack", "operator": "is_set"}]}},
        {"placement": {"spread": [{"attribute": "node.datacenter"}]}},
        {"actions": {"migrate": {"command": ["bin/migrate"]}}},
    ],
)
def test_what_nomad_changes_in_place_is_no_new_release(change):
    assert compiled(**change).release == compiled().release
    assert compiled(**change).digest != compiled().digest


def test_another_user_is_a_new_release():
    assert compiled(user="10001").release != compiled().release


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"placement": {"distinct_hosts": True}}, "Constraints"),
        ({"placement": {"spread": [{"attribute": "node.datacenter"}]}}, "Spreads"),
        ({"actions": {"migrate": {"command": ["bin/migrate"]}}}, "TaskGroups.app.Tasks.app.Actions"),
        ({"user": "10001"}, "TaskGroups.app.Tasks.app.User"),
        ({"description": "Sends receipts."}, "UI"),
        ({"resources": {"memory_max": 512}}, "TaskGroups.app.Tasks.app.Resources.MemoryMaxMB"),
    ],
)
def test_the_plan_shows_what_is_taken_away_again(change, path):
    before, after = compiled(**change).body, compiled().body
    assert path in [found.path for found in job_differences(before, after)]
    assert job_differences(before, before) == ()
