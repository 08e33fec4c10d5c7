"""Files, templates, artifacts and volumes of a task -> the fields of Nomad's job that bring them there."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile.names import mesh_host, short_hash, upstream_addresses
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_task import Artifact, File, Template, Volume
from hms_nomad.spec.runnable import Runnable

_LEFT, _RIGHT = "{hms{{", "}}hms}"
_CHANGE = {"restart": "restart", "signal": "signal", "none": "noop"}


def templates(task: Runnable) -> list[dict[str, Any]]:
    """The task's files and templates (Nomad API, job JSON, ``Templates``), by destination.

    Raises ValueError for a source whose content was not read into the spec.
    """
    files = [_file(name, file) for name, file in sorted(task.files.items())]
    return files + [_template(name, template) for name, template in sorted(task.templates.items())]


def hosts_file(spec: Spec, platform: Platform) -> dict[str, Any]:
    """A template for a task in a chroot: its /etc/hosts names each dependency's loopback address.

    The file replaces the one that Nomad put into the chroot; it is no link to the node's own.
    """
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {mesh_host(name, platform)}" for name, address in upstream_addresses(spec.uses).items()]
    return {"DestPath": "etc/hosts", "EmbeddedTmpl": "\n".join([*lines, ""]), "ChangeMode": "noop", "Perms": "0644"}


def artifacts(task: Runnable) -> list[dict[str, Any]]:
    """What the node fetches before the task starts (Nomad API, job JSON, ``Artifacts``)."""
    return [_artifact(artifact) for artifact in task.artifacts]


def group_volumes(spec: Spec) -> dict[str, Any]:
    """The volumes that the group claims (Nomad API, job JSON, ``Volumes``), by name."""
    return {name: _claim(name, volume) for name, volume in sorted(spec.volumes.items()) if volume.kind != "bind"}


def volume_mounts(spec: Spec, task: Runnable) -> list[dict[str, Any]]:
    """Where a task sees the group's volumes (Nomad API, job JSON, ``VolumeMounts``)."""
    return [
        {"Volume": name, "Destination": path, "ReadOnly": spec.volumes[name].read_only}
        for name, path in sorted(_mounts(task).items())
        if spec.volumes[name].kind != "bind"
    ]


def bind_mounts(spec: Spec, task: Runnable, platform: Platform) -> list[str]:
    """Directories of the node in a container ("/srv/data:/data:ro", docker's ``volumes``).

    Raises PlatformError where the platform does not allow them.
    """
    found = []
    for name, path in sorted(_mounts(task).items()):
        volume = spec.volumes[name]
        if volume.kind == "bind":
            if not platform.bind_volumes:
                raise PlatformError(
                    f"volumes.{name} is a directory of the node, which this platform does not allow; use a volume of "
                    "Nomad (kind: host), or let the platform's configuration say bind_volumes: true"
                )
            found.append(f"{volume.source}:{path}" + (":ro" if volume.read_only else ""))
    return found


def _mounts(task: Runnable) -> dict[str, str]:
    if isinstance(task, Spec):
        return {name: volume.path for name, volume in task.volumes.items()}
    return dict(task.mounts)


def _file(name: str, file: File) -> dict[str, Any]:
    """A template in which nothing is one: its opening delimiter does not occur in the content."""
    text = _content(name, file)
    if file.base64:
        # Nomad's template language reads the line as code; Base64 has no character that could end the string.
        left = _LEFT
        body = f'{_LEFT} "{"".join(text.split())}" | base64Decode {_RIGHT}' if text.strip() else f'{_LEFT} "" {_RIGHT}'
    else:
        left = _LEFT if _LEFT not in text else f"{{hms-{short_hash(text, 16)}{{{{"
        # Nomad refuses a template without any text.
        body = text or f'{left} "" {_RIGHT}'
    return {
        "DestPath": f"local/{name}",
        "EmbeddedTmpl": body,
        "ChangeMode": "noop",
        "LeftDelim": left,
        "RightDelim": _RIGHT,
        "Perms": file.mode,
    }


def _template(name: str, template: Template) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "DestPath": f"local/{name}",
        "EmbeddedTmpl": _content(name, template) or '{{ "" }}',
        "ChangeMode": _CHANGE[template.change],
        "Perms": template.mode,
        "Splay": nanoseconds(template.splay),
        # A value that is missing should stop the task with its name, not arrive as "<no value>".
        "ErrMissingKey": True,
    }
    return {**fields, "ChangeSignal": template.signal} if template.signal else fields


def _content(name: str, file: File | Template) -> str:
    if file.content is None:
        raise ValueError(f"the source of {name!r} was not read")
    return file.content


def _artifact(artifact: Artifact) -> dict[str, Any]:
    options = {"checksum": artifact.checksum} | ({} if artifact.unpack else {"archive": "false"})
    destination = f"local/{artifact.destination}" if artifact.destination else "local/"
    return {
        "GetterSource": artifact.source,
        "GetterOptions": options,
        "GetterMode": "any",
        "RelativeDest": destination,
    }


def _claim(name: str, volume: Volume) -> dict[str, Any]:
    claim: dict[str, Any] = {"Name": name, "Type": volume.kind, "Source": volume.source, "ReadOnly": volume.read_only}
    if volume.access is not None:
        claim["AccessMode"] = volume.access
    if volume.kind == "csi" or volume.attachment is not None:
        claim["AttachmentMode"] = volume.attachment or "file-system"
    return claim
