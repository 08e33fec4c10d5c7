"""The autoscaler as a job of the platform: as process or container, elected among several, ended when it is stuck."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hms_nomad.compile.platform_job import compile_autoscaler
from hms_nomad.platform.jobspecs import read_job, read_text
from hms_nomad.platform.model import Autoscaler, Platform

GUARD = read_text("autoscaler.sh")


def compiled(autoscaler=None, **fields):
    settings = read_text("autoscaler.hcl")
    return compile_autoscaler(read_job("autoscaler"), settings, GUARD, Platform(**fields), autoscaler or Autoscaler())


def task_of(result):
    return result.job["TaskGroups"][0]["Tasks"][0]


def settings_of(result):
    return task_of(result)["Templates"][0]["EmbeddedTmpl"]


def test_a_process_runs_by_its_name_on_the_path_of_the_node():
    task = task_of(compiled())
    words = ["${NOMAD_TASK_DIR}/guard.sh", "nomad-autoscaler", "agent", "-config", "${NOMAD_TASK_DIR}/autoscaler.hcl"]
    assert (task["Driver"], task["Config"]) == ("exec", {"command": "/bin/sh", "args": words})
    assert task_of(compiled(Autoscaler(driver="raw_exec")))["Driver"] == "raw_exec"


def test_a_container_runs_in_the_network_of_the_node():
    task = task_of(compiled(Autoscaler(image="autoscaler:1")))
    assert task["Driver"] == "docker"
    assert (task["Config"]["image"], task["Config"]["network_mode"]) == ("autoscaler:1", "host")
    assert task["Config"]["entrypoint"] == ["/bin/sh"]


def test_one_of_several_instances_is_elected_and_a_single_one_needs_no_lock():
    assert compiled().instances == 2
    assert "enabled        = true" in settings_of(compiled())
    assert "enabled        = false" in settings_of(compiled(Autoscaler(instances=1)))


def test_it_scales_the_platforms_namespace_or_those_that_are_named():
    assert 'namespace = ["agency"]' in settings_of(compiled(namespace="agency"))
    assert 'namespace = ["a", "b"]' in settings_of(compiled(Autoscaler(namespaces=("a", "b"))))


def test_its_token_is_that_of_its_own_identity():
    task = task_of(compiled())
    assert task["Identity"] == {"Env": True}
    assert "NOMAD_TOKEN" not in json.dumps(task)


def test_the_digest_follows_everything_but_the_count():
    assert compiled(Autoscaler(instances=3)).digest == compiled().digest
    assert compiled(Autoscaler(cpu=300)).digest != compiled().digest
    assert compiled(namespace="other").digest != compiled().digest


def guarded(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("sh") is None:
        pytest.skip("no sh on PATH")
    script = folder / "guard.sh"
    script.write_text(GUARD, encoding="utf-8")
    return subprocess.run(
        ["sh", str(script), "sh", "-c", program],
        env={**os.environ, "NOMAD_TASK_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_guard_passes_on_lines_and_the_exit_code(tmp_path):
    ran = guarded(tmp_path, "echo one; echo two >&2; exit 7")
    assert (sorted(ran.stdout.splitlines()), ran.returncode) == (["one", "two"], 7)


def test_the_guard_ends_an_autoscaler_that_lost_its_server(tmp_path):
    line = "[ERROR] policy_manager: encountered an error monitoring policy IDs: error=... connection refused"
    ran = guarded(tmp_path, f"echo '{line}'; exec sleep 25")
    assert ran.returncode == 128 + 15


def test_the_guard_hands_a_signal_on(tmp_path):
    ran = guarded(tmp_path, "trap 'exit 3' TERM; kill -TERM $PPID; while :; do sleep 0.1; done")
    assert ran.returncode == 3
