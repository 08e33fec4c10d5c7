from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import psutil
import pytest

from hms_nomad.dev import pause
from hms_nomad.dev.pause import ensure_image, image_name, program
from hms_nomad.dev.processes import alive, identify, spawn, stop


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no program for this machine")
def test_the_program_waits_without_using_the_processor(tmp_path: Path) -> None:
    file = tmp_path / "pause"
    file.write_bytes(program(platform.machine()))
    file.chmod(0o755)

    process = spawn([str(file)], {}, tmp_path, tmp_path / "log")
    try:
        ran = psutil.Process(process.pid)
        # A continued process would use the processor if it did anything but wait.
        for _ in range(3):
            os.kill(process.pid, 18)
        assert alive(process)
        assert identify(process.pid) == process
        assert ran.cpu_times().user == 0
    finally:
        stop([process], 5)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_is_a_complete_executable_for_its_machine(tmp_path: Path, machine: str) -> None:
    file = tmp_path / "pause"
    file.write_bytes(program(machine))

    try:
        said = subprocess.run(
            ["readelf", "--file-header", "--segments", file], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("no readelf on PATH")

    assert {"x86_64": "X86-64", "aarch64": "AArch64"}[machine] in said.stdout
    assert "Warning" not in said.stderr
    assert "R E" in said.stdout


def test_a_stacks_image_is_its_own_and_never_the_newest_of_anything() -> None:
    assert image_name(0) == "127.0.0.1:1/hms-nomad/pause:0"
    assert image_name(0) != image_name(1)


def test_a_machine_without_a_program_leaves_the_image_to_nomad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause.platform, "machine", lambda: "riscv64")

    assert ensure_image(None, "hms-nomad/dev-pause:1") is False  # type: ignore[arg-type]
