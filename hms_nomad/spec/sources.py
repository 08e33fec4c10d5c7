"""A spec whose files name their sources -> the same spec with what the sources hold, or why one cannot be had."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TypeVar

from hms_nomad.spec.document import Path, quoted, spoken
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_task import File, SideTask, Template
from hms_nomad.spec.registry import Finding
from hms_nomad.spec.rules_files import UNREADABLE_SOURCE
from hms_nomad.spec.runnable import runnables

Sources = Callable[[str], bytes | str]
"""Reads a source by its path in the spec: its bytes, or in words why it cannot be read."""

_Task = TypeVar("_Task", Spec, SideTask)
_Content = TypeVar("_Content", File, Template)


def with_contents(spec: Spec, read: Sources) -> tuple[Spec, tuple[Finding, ...]]:
    """The spec with ``content`` in place of every ``source``; a finding for each source that cannot be sent.

    Variables are not looked for in sources: they arrive byte for byte. Bytes that are no UTF-8 go as Base64.
    """
    if not any(task.files or task.templates for _, task in runnables(spec)):
        return spec, ()
    findings: list[Finding] = []
    whole = _of_task(spec, (), read, findings)
    helpers = {name: _of_task(task, ("tasks", name), read, findings) for name, task in spec.tasks.items()}
    return whole.changed(tasks=helpers), tuple(findings)


def _of_task(task: _Task, path: Path, read: Sources, findings: list[Finding]) -> _Task:
    files = {name: _filled(one, (*path, "files", name), read, findings) for name, one in task.files.items()}
    rendered = {name: _filled(one, (*path, "templates", name), read, findings) for name, one in task.templates.items()}
    return task.changed(files=files, templates=rendered)


def _filled(file: _Content, path: Path, read: Sources, findings: list[Finding]) -> _Content:
    if file.source is None or file.content is not None:
        return file
    found = read(file.source)
    reason = found if isinstance(found, str) else ""
    update: dict[str, object] = {"source": None, "content": ""}
    if isinstance(found, bytes):
        try:
            update["content"] = found.decode("utf-8")
        except UnicodeDecodeError:
            if isinstance(file, File):
                update |= {"content": base64.b64encode(found).decode("ascii"), "base64": True}
            else:
                reason = "a template is UTF-8 text"
    if isinstance(file, File) and file.base64:
        reason = "base64 belongs to content: a source is sent as it is"
    if reason:
        message = f"{spoken((*path, 'source'))} {quoted(file.source)}: {reason}"
        findings.append(Finding(UNREADABLE_SOURCE, (*path, "source"), message, UNREADABLE_SOURCE.fix))
    return file.changed(**update)
