"""The job that drives rollouts: as process or container, with the servers as nodes see them, and without a token."""

from __future__ import annotations

import json

from hms_nomad.compile.rollout_job import compile_rollouts
from hms_nomad.platform.jobspecs import read_job
from hms_nomad.platform.model import Platform, Rollouts, ServerAddress

CONSUL = ServerAddress(address="http://127.0.0.1:9500", token_file="/home/ann/consul.token")


def compiled(rollouts=None, **fields):
    return compile_rollouts(read_job("rollouts"), Platform(**fields), rollouts or Rollouts())


def task_of(result):
    return result.job["TaskGroups"][0]["Tasks"][0]


def context_of(result):
    template = task_of(result)["Templates"][0]
    return template["DestPath"], json.loads(template["EmbeddedTmpl"])


def test_each_dispatch_says_which_rollout_it_is_for():
    result = compiled()
    assert result.job["ParameterizedJob"]["MetaRequired"] == ["service", "rollout"]
    words = ["drive", "${NOMAD_META_service}", "--rollout", "${NOMAD_META_rollout}"]
    assert task_of(result)["Config"] == {"command": "hms-nomad", "args": words}


def test_it_runs_as_a_process_of_the_node_or_in_an_image():
    assert task_of(compiled())["Driver"] == "exec"
    assert task_of(compiled(command_driver="raw_exec"))["Driver"] == "raw_exec"
    contained = task_of(compiled(Rollouts(image="hms-nomad:1", command="/bin/hms-nomad")))
    assert contained["Driver"] == "docker"
    assert contained["Config"]["entrypoint"] == ["/bin/hms-nomad"]
    assert contained["Config"]["args"][0] == "drive"
    assert contained["Config"]["network_mode"] == "host"


def test_it_gets_the_platforms_context_without_files_of_the_operators_machine():
    path, context = context_of(compiled(name="agency", consul=CONSUL, vault=CONSUL, namespace="tax"))
    assert path == "local/contexts/agency.yml"
    assert context["namespace"] == "tax"
    assert context["consul"] == {"address": CONSUL.address}
    assert "vault" not in context
    assert "ann" not in json.dumps(compiled(consul=CONSUL).job)


def test_nodes_may_reach_the_servers_in_another_way():
    inside = ServerAddress(address="https://nomad.internal:4646", ca_file="/etc/ssl/agency.pem")
    _, context = context_of(compiled(Rollouts(nomad=inside)))
    assert context["nomad"] == {"address": inside.address, "ca_file": inside.ca_file}


def test_its_tokens_are_those_of_its_own_identity():
    assert task_of(compiled())["Identity"] == {"Env": True}
    assert len(task_of(compiled())["Templates"]) == 1
    task = task_of(compiled(Rollouts(consul_token=True)))
    assert task["Consul"] == {"Cluster": "default"}
    assert task["Templates"][1]["Envvars"] is True


def test_the_digest_follows_everything():
    assert compiled().digest == compiled().digest
    assert compiled(Rollouts(cpu=300)).digest != compiled().digest
    assert compiled().job["Meta"]["digest"] == compiled().digest
