"""Rules about files, artifacts, volumes and the tasks beside a service (HMS25x, HMS35x)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, quoted, spoken
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_task import File, Volume
from hms_nomad.spec.registry import Hit, Rule, check
from hms_nomad.spec.rules_security import holds_secret
from hms_nomad.spec.runnable import Runnable, contents, runnables

MOST_BYTES = 512 * 1024
"""Most that the files and templates of one spec may hold together: Nomad keeps them in its replicated log."""

UNREADABLE_SOURCE = Rule(
    "HMS259",
    Level.ERROR,
    "A source that cannot be sent",
    "The file named by `source` is read when the spec is, from the spec's own directory: it must be there, be a file, "
    "not lead out of that directory by a link, and not be larger than what one job may carry.",
    "mend the path; it is relative to the directory of the spec",
)
_TASKS = ("files", "templates", "artifacts", "volumes", "tasks", "image", "command", "driver")
_RESERVED = lazy_pattern(r"(app|connect-.*)\Z")
_GETTER_OPTIONS = frozenset({"archive", "checksum", "filename", "depth", "ref", "rev", "sshkey"})


@check(
    "HMS250",
    Level.ERROR,
    "A file without its content, or with two",
    reads=("files", "templates", "tasks"),
    fix="give it one of content and source",
    example="files:\n  app.py: {mode: '0600'}",
)
def content_xor_source(spec: Spec) -> Iterator[Hit]:
    """What a file holds stands in the spec itself (``content``) or in a file beside it (``source``)."""
    for path, file in contents(spec):
        if file.content is None and file.source is None:
            yield Hit(path, f"{spoken(path)} has neither content nor source")
        elif file.content is not None and file.source is not None:
            yield Hit(path, f"{spoken(path)} has both content and source")


@check(
    "HMS251",
    Level.ERROR,
    "Two things at one path",
    reads=_TASKS,
    fix="give each a path of its own",
    example="files:\n  app: {content: x}\n  app/main.py: {content: x}",
)
def paths_that_collide(spec: Spec) -> Iterator[Hit]:
    """A path is a file or a directory, and the later of two files would replace the earlier one."""
    for path, task in runnables(spec):
        places = [((*path, kind, name), name) for kind in ("files", "templates") for name in getattr(task, kind)]
        for index, (place, name) in enumerate(places):
            for _, other in places[:index]:
                if name == other or name.startswith(other + "/") or other.startswith(name + "/"):
                    yield Hit(place, f"{spoken(place)} cannot stand beside {quoted(other)}", at_key=True)
        for index, artifact in enumerate(task.artifacts):
            if any(artifact.destination == name or (artifact.destination or "").startswith(name + "/")
                   for _, name in places):  # fmt: skip
                place = (*path, "artifacts", index, "destination")
                yield Hit(place, f"{spoken(place)} is a file's path")
            if artifact in task.artifacts[:index]:
                yield Hit((*path, "artifacts", index), "this artifact is listed twice")


@check(
    "HMS252",
    Level.ERROR,
    "Files that are too large for a job",
    reads=("files", "templates", "tasks"),
    fix="fetch large files as artifacts, or put them into the image",
    example="files:\n  big: {content: " + "x" * (MOST_BYTES + 1) + "}",
)
def files_too_large(spec: Spec) -> Iterator[Hit]:
    """The content is part of the job, which Nomad keeps in its replicated log and sends to every server."""
    total = 0
    for path, file in contents(spec):
        total += len((file.content or "").encode(errors="surrogatepass"))
        if total > MOST_BYTES:
            yield Hit(path, f"with {spoken(path)} the files take {total} bytes; at most {MOST_BYTES} are possible")
            return


@check(
    "HMS253",
    Level.ERROR,
    "Content that is no Base64",
    reads=("files", "tasks"),
    fix="write what base64 FILE prints, or remove base64",
    example="files:\n  logo.png: {content: 'not!', base64: true}",
)
def bad_base64(spec: Spec) -> Iterator[Hit]:
    """The node could not turn it into bytes, and the task would never start."""
    for path, file in contents(spec):
        if isinstance(file, File) and file.base64 and file.content is not None:
            try:
                base64.b64decode("".join(file.content.split()), validate=True)
            except (binascii.Error, ValueError):
                yield Hit((*path, "content"), f"{spoken(path)} is no Base64")


@check(
    "HMS254",
    Level.ERROR,
    "A change of a template that signals nothing",
    reads=("templates", "tasks"),
    fix="write change: signal together with signal: SIGHUP, or leave both out",
    example="templates:\n  app.conf: {content: x, change: signal}",
)
def template_signal(spec: Spec) -> Iterator[Hit]:
    """Which signal makes a program read its files again differs from program to program."""
    for path, task in runnables(spec):
        for name, template in task.templates.items():
            place: Path = (*path, "templates", name)
            if template.change == "signal" and template.signal is None:
                yield Hit((*place, "change"), f"{spoken(place)} names no signal")
            elif template.change != "signal" and template.signal is not None:
                yield Hit((*place, "signal"), f"{spoken(place)} has a signal, but change is {template.change}")


@check(
    "HMS255",
    Level.ERROR,
    "An artifact whose address carries options",
    reads=("artifacts", "tasks"),
    fix="leave them out; checksum, destination and unpack say the same",
    example="artifacts:\n  - source: https://files.gov/a.zip?archive=false\n    checksum: sha256:" + "0" * 64,
)
def artifact_options(spec: Spec) -> Iterator[Hit]:
    """The node's fetcher reads some parameters of the address as orders, which could switch the checksum off."""
    for path, task in runnables(spec):
        for index, artifact in enumerate(task.artifacts):
            names = {name for name, _ in parse_qsl(urlsplit(artifact.source).query, keep_blank_values=True)}
            if taken := sorted(names & _GETTER_OPTIONS):
                place = (*path, "artifacts", index, "source")
                yield Hit(place, f"{spoken(place)} has the parameter {taken[0]}, which the fetcher takes as an option")


@check(
    "HMS256",
    Level.ERROR,
    "A volume whose fields do not belong together",
    reads=("volumes", "driver", "image"),
    fix="see hms-nomad explain volumes",
    example="volumes:\n  data: {source: receipts, path: /data, access: multi-node-multi-writer}",
)
def volume_fields(spec: Spec) -> Iterator[Hit]:
    """Each kind of volume is found by Nomad in another way."""
    for name, volume in spec.volumes.items():
        yield from (Hit(("volumes", name), message) for message in _unfit(volume, spec))


def _unfit(volume: Volume, spec: Spec) -> Iterator[str]:
    if volume.kind == "csi" and volume.access is None:
        yield "a csi volume needs access, for example multi-node-multi-writer"
    if (volume.access or "").endswith("reader-only") and not volume.read_only:
        yield f"access {volume.access} lets nobody write, so read_only must be true"
    if volume.kind == "host" and (volume.access or "").startswith("multi-node"):
        yield f"a host volume is on one node, so access cannot be {volume.access}"
    if volume.kind == "csi" and volume.access in {"single-node-single-writer", "single-node-multi-writer"}:
        yield f"a csi volume knows no access {volume.access}"
    if volume.kind == "bind" and (volume.access is not None or volume.attachment is not None):
        yield "a bind volume has neither access nor attachment"
    if volume.kind == "bind" and (not volume.source.startswith("/") or ".." in volume.source.split("/")):
        yield f"the source of a bind volume is a path of the node, not {quoted(volume.source)}"
    if volume.kind != "bind" and "/" in volume.source:
        yield f"{quoted(volume.source)} is no name of a volume"
    if volume.kind == "bind" and spec.image is None:
        yield "only a container can have a bind volume"
    if spec.driver == "raw_exec":
        yield "a process of raw_exec sees the node's own files, so no volume can be put there"


@check(
    "HMS257",
    Level.ERROR,
    "Volumes that are mounted at one place, or not there",
    reads=("volumes", "tasks"),
    fix="mount each volume of the service at a directory of its own",
    example="volumes:\n  data: {source: a, path: /data}\n  more: {source: b, path: /data}",
)
def mounts_that_collide(spec: Spec) -> Iterator[Hit]:
    """The later of two mounts hides the earlier one."""
    yield from _collisions([(("volumes", name, "path"), volume.path) for name, volume in spec.volumes.items()])
    for name, task in spec.tasks.items():
        path: Path = ("tasks", name, "mounts")
        yield from _collisions([((*path, volume), where) for volume, where in task.mounts.items()])
        for volume in task.mounts:
            if volume not in spec.volumes:
                known = ", ".join(spec.volumes) or "none"
                yield Hit((*path, volume), f"there is no volume {volume}", f"volumes has {known}", at_key=True)


def _collisions(mounts: list[tuple[Path, str]]) -> Iterator[Hit]:
    for index, (path, where) in enumerate(mounts):
        if where in {other for _, other in mounts[:index]}:
            yield Hit(path, f"{where} has a volume already")
        elif where in {"/local", "/secrets", "/alloc"}:
            yield Hit(path, f"{where} belongs to Nomad")


@check(
    "HMS258",
    Level.ERROR,
    "A task that cannot run",
    reads=("tasks", "name"),
    fix="give it a name of its own and one of image and command",
    example="tasks:\n  migrate: {hook: prestart}",
)
def task_that_cannot_run(spec: Spec) -> Iterator[Hit]:
    """A helper is a task like the service's own: it runs an image or a command, by a driver that can do so."""
    for name, task in spec.tasks.items():
        path: Path = ("tasks", name)
        if _RESERVED.match(name):
            yield Hit(path, f"{quoted(name)} is the name of a task that is there already", "rename it", at_key=True)
        if (task.image is None) == (not task.command):
            both = "both an image and a command" if task.image else "neither an image nor a command"
            yield Hit(path, f"{spoken(path)} has {both}")
        elif task.driver is not None and (task.driver == "docker") != (task.image is not None):
            what = "an image" if task.image else "a command"
            yield Hit((*path, "driver"), f"driver {task.driver} cannot run {what}", "remove driver")
        if task.mounts and task.driver == "raw_exec":
            yield Hit((*path, "mounts"), "a process of raw_exec sees the node's own files", "use exec")
        if task.user is not None and ":" in task.user and task.image is None:
            yield Hit((*path, "user"), f"user {quoted(task.user)} names a group", "name the user alone")


@check(
    "HMS350",
    Level.WARNING,
    "A secret stands in a file of the spec",
    reads=("files", "templates", "tasks"),
    fix="keep it in Vault, name it under secrets, and take it out of the file's history",
    example='files:\n  key.pem: {content: "-----BEGIN PRIVATE KEY-----"}',
)
def secret_in_file(spec: Spec) -> Iterator[Hit]:
    """Whoever may read the job, the repository or a saved plan reads the value too."""
    for path, file in contents(spec):
        if holds_secret(file.content or ""):
            yield Hit(path, f"{spoken(path)} looks like it holds a secret")


@check(
    "HMS351",
    Level.WARNING,
    "A file that its task may not read",
    reads=("files", "templates", "tasks", "user", "command"),
    fix="write a mode that lets others read, for example 0644",
    example="command: [local/app]\nfiles:\n  app: {content: x, mode: '0700'}",
)
def unreadable_file(spec: Spec) -> Iterator[Hit]:
    """Files belong to root, while the task runs as another user: nobody for exec, or the user that is named."""
    for path, task in runnables(spec):
        if not _may_be_root(task):
            for kind in ("files", "templates"):
                for name, file in getattr(task, kind).items():
                    if not int(file.mode, 8) & 0o004:
                        place = (*path, kind, name)
                        yield Hit(place, f"{spoken(place)} has mode {file.mode} and belongs to root")


def _may_be_root(task: Runnable) -> bool:
    user = (task.user or "").partition(":")[0]
    return user in {"root", "0"} or (not user and (task.image is not None or task.driver == "raw_exec"))


@check(
    "HMS352",
    Level.WARNING,
    "A volume that two instances cannot have",
    reads=("volumes",),
    fix="use a volume that several may write to, or one that is only read",
    example="volumes:\n  data: {kind: csi, source: db, path: /data, access: single-node-writer}",
)
def volume_for_one(spec: Spec) -> Iterator[Hit]:
    """New instances start beside the old ones: they wait for the volume, and the rollout ends at its deadline."""
    for name, volume in spec.volumes.items():
        one_writer = volume.kind == "csi" and volume.access in {"single-node-writer", "multi-node-single-writer"}
        if one_writer or volume.access == "single-node-single-writer":
            place = ("volumes", name, "access")
            yield Hit(place, f"{spoken(place)} {volume.access} lets only one instance write")


@check(
    "HMS353",
    Level.WARNING,
    "A directory of the node is mounted",
    reads=("volumes",),
    fix="use a volume of Nomad (kind: host)",
    example="volumes:\n  data: {kind: bind, source: /srv/data, path: /data}",
)
def bind_volume(spec: Spec) -> Iterator[Hit]:
    """A path of the node ties the service to that node, and what it holds differs from node to node."""
    for name, volume in spec.volumes.items():
        if volume.kind == "bind":
            yield Hit(("volumes", name), f"volumes.{name} is a directory of the node")
