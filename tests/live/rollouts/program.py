"""This very program as nodes run it, for the cluster's own job; and the job installed for a while."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Rollouts
from tests.live.conftest import LiveStack, own_contexts, run_cli

JOB = "hms-rollouts"


@contextlib.contextmanager
def installed_rollouts(stack: LiveStack, folder: Path) -> Iterator[None]:
    """The job that drives rollouts, as a process of the node; it is removed at the end."""
    program = this_program(folder)
    with own_contexts(stack.config_dir):
        save_context(stack.platform.changed(rollouts=Rollouts(command=str(program))))
    ran = run_cli(stack, "platform", "install", "rollouts")
    assert ran.exit_code == 0, ran.stderr
    try:
        yield
    finally:
        ran = run_cli(stack, "platform", "remove", "rollouts", "--force")
        with own_contexts(stack.config_dir):
            save_context(stack.platform)
        assert ran.exit_code == 0, ran.stderr


def this_program(folder: Path) -> Path:
    """A command that runs the program of this checkout, whatever a node has."""
    program = folder / "hms-nomad"
    root = Path(__file__).parents[3]
    program.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m hms_nomad "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program
