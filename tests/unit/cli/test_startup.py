"""The help of the whole tool comes at once: it loads no library of servers, models or files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hms_nomad.platform.model import Platform
from hms_nomad.sections.section import Section
from hms_nomad.sections.shape import members
from hms_nomad.spec.model import Spec

HEAVY = ("requests", "urllib3", "pydantic", "yaml", "nomad", "consul", "hvac", "tenacity", "rich", "psutil", "docker")


@pytest.fixture
def one_service(tmp_path: Path) -> Path:
    spec = tmp_path / "receipt.hms.yml"
    spec.write_text("name: receipt\nversion: 1.0.0\nimage: receipt:1.0.0\nport: 8080\n", encoding="utf-8")
    return spec


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def modules_of(*words: str, code: int = 0) -> set[str]:
    """Modules that a run of the program loads."""
    result = run("-X", "importtime", "-m", "hms_nomad", *words)
    assert result.returncode == code
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time")]
    return {line.rsplit("|", 1)[-1].strip() for line in lines}


def imported_by(*words: str) -> set[str]:
    """Top-level packages that a run of the program loads."""
    return {name.split(".")[0] for name in modules_of(*words)}


def test_the_help_imports_nothing_heavy():
    imported = imported_by("--help")
    assert "typer" in imported
    assert not imported & {*HEAVY}


def test_the_version_loads_no_command_line():
    assert not imported_by("--version") & {*HEAVY, "typer", "typing", "dataclasses", "pathlib"}


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_off_a_terminal_the_help_is_plain_text(words):
    result = run("-m", "hms_nomad", *words)
    assert result.returncode == 0
    assert re.search(r"^  deploy +Bring services up", result.stdout, flags=re.MULTILINE)
    assert "\x1b" not in result.stdout
    assert "│" not in result.stdout


def test_the_version_is_one_line():
    result = run("-m", "hms_nomad", "--version")
    assert re.fullmatch(r"hms-nomad \d+\.\d+\.\d+\S*\n", result.stdout)


@pytest.mark.parametrize(("room", "verb"), [("planning", "plan"), ("deploying", "deploy")])
def test_without_anything_to_build_nothing_is_loaded_that_builds_or_asks_others(one_service, room, verb):
    # No server is there: what is loaded until then is what every plan and deploy loads.
    loaded = modules_of(verb, str(one_service), code=6)
    assert f"hms_nomad.workflows.{room}.{verb}" in loaded
    assert not loaded & {
        "hvac",
        "hms_nomad.build.engine",
        "hms_nomad.workflows.building.build",
        "hms_nomad.clients.oci",
    }
    assert "pydantic" not in loaded


def test_one_service_loads_nothing_that_several_services_or_clusters_need(one_service):
    loaded = modules_of("deploy", str(one_service), code=6)
    rooms = (
        "workflows.deploying.waves",
        "workflows.deploying.clusters",
        "workflows.deploying.external",
        "workflows.deploying.stop",
        "doctor",
    )
    assert not loaded & {f"hms_nomad.{room}" for room in rooms}


def test_what_only_rollouts_and_secrets_need_is_not_loaded_before_the_first_call(one_service):
    loaded = modules_of("deploy", str(one_service), code=6)
    rooms = (
        "rollout.drive",
        "rollout.perform",
        "rollout.sidecars",
        "rollout.traffic",
        "workflows.rollouts.rollout_job",
    )
    assert not loaded & {f"hms_nomad.{room}" for room in (*rooms, "apply.vault_roles", "clients.envoy")}


def test_no_module_of_sections_lets_annotations_be_compiled_at_each_start():
    modules = {kind.__module__ for whole in (Spec, Platform) for kind in sections_of(whole)}
    assert len(modules) > 5
    assert not [name for name in modules if "annotations" in vars(sys.modules[name])]


def sections_of(model: type[Section]) -> set[type[Section]]:
    """A section and all that are in it."""
    shapes = [member.shape for member in members(model).values()]
    inner = {found.model for shape in shapes for found in (shape, shape.item) if found and found.model}
    return {model}.union(*(sections_of(one) for one in inner))
