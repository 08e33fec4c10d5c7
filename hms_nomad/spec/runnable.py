"""A spec -> everything in it that runs as a task of its own, with the place where it stands."""

from collections.abc import Iterator

from hms_nomad.spec.document import Path
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_task import File, SideTask, Template

Runnable = Spec | SideTask
"""What has a program, files, an environment and resources: the service itself, or a helper beside it."""


def runnables(spec: Spec) -> Iterator[tuple[Path, Runnable]]:
    """The service at the path (), then its helpers in the order of the file."""
    yield (), spec
    for name, task in spec.tasks.items():
        yield ("tasks", name), task


def contents(spec: Spec) -> Iterator[tuple[Path, File | Template]]:
    """Every file and template of the service and its helpers, with its path in the spec."""
    for path, task in runnables(spec):
        yield from (((*path, "files", name), file) for name, file in task.files.items())
        yield from (((*path, "templates", name), template) for name, template in task.templates.items())
