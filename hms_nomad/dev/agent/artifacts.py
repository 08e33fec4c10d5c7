"""A task's artifacts: files fetched by HTTP before it starts, checked, and unpacked where they are archives."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.templates import TemplateError, inside
from hms_nomad.dev.agent.values import Json

_SECONDS = 60.0
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_OPTIONS = {"checksum", "archive"}


class ArtifactError(Exception):
    """Something could not be fetched; the text says what and why."""


def fetch(task: Json, environment: TaskEnvironment) -> None:
    """Fetch all artifacts of a task, one after the other. Raises ArtifactError."""
    for artifact in task["Artifacts"] or ():
        source = environment.fill(artifact.get("GetterSource") or "")
        try:
            _one(artifact, source, environment)
        except (OSError, http.client.HTTPException, TemplateError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"failed to download artifact {source!r}: {error}") from None


def _one(artifact: Json, source: str, environment: TaskEnvironment) -> None:
    if urlsplit(source).scheme not in ("http", "https"):
        raise ArtifactError(f"the embedded agent fetches by http and https only, not {source!r}")
    source, options = _without_options(source)
    options |= {name: environment.fill(str(value)) for name, value in (artifact.get("GetterOptions") or {}).items()}
    if unknown := sorted(set(options) - _OPTIONS):
        raise ArtifactError(f"the embedded agent knows no option {' and no '.join(unknown)} of artifacts")
    folder = environment.directories.task(environment.task["Name"])
    target = inside(folder, environment.on_machine(artifact.get("RelativeDest") or "local/"))
    name = Path(unquote(urlsplit(source).path)).name or "artifact"
    headers = {key: environment.fill(str(value)) for key, value in (artifact.get("GetterHeaders") or {}).items()}
    with tempfile.TemporaryDirectory(dir=folder / "tmp") as directory:
        file = Path(directory) / name
        with (
            urllib.request.urlopen(urllib.request.Request(source, headers=headers), timeout=_SECONDS) as answer,  # noqa: S310
            file.open("wb") as stream,
        ):
            shutil.copyfileobj(answer, stream)
        _check(file, options.get("checksum") or "")
        _put(file, target, mode=artifact.get("GetterMode") or "any", archive=options.get("archive") or "")


def _check(file: Path, wanted: str) -> None:
    if not wanted:
        return
    kind, colon, digest = wanted.partition(":")
    if not colon or kind not in ("md5", "sha1", "sha256", "sha512"):
        raise ArtifactError(f"the embedded agent knows no checksum {wanted!r}")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, kind).hexdigest()
    if found != digest.lower():
        raise ArtifactError(f"Checksums did not match for {file.name}. Expected: {digest} Got: {found}")


def _without_options(source: str) -> tuple[str, dict[str, str]]:
    """A URL without what it tells of the fetching itself, and that."""
    parts = urlsplit(source)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([pair for pair in pairs if pair[0] not in _OPTIONS])
    return urlunsplit(parts._replace(query=query)), {name: value for name, value in pairs if name in _OPTIONS}


def _unpack(tar: tarfile.TarFile, target: Path) -> None:
    """All that is packed, if nothing of it lies outside. Python before 3.11.4 has no filter that sees to links too."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(target, filter="data")
        return
    for member in tar:
        if not (member.isfile() or member.isdir()):
            raise ArtifactError(f"{member.name} is no file; the embedded agent needs Python 3.11.4 to unpack it")
        if not (target / member.name).resolve().is_relative_to(target.resolve()):
            raise ArtifactError(f"{member.name} would lie outside of {target.name}")
        member.mode &= 0o755
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        tar.extract(member, target)


def _put(file: Path, target: Path, *, mode: str, archive: str) -> None:
    """Bring a file to its place: itself, or what is in it; ``archive`` is its kind, or "false" for none."""
    unpack = archive != "false"
    name = f".{archive}" if archive not in ("", "true", "false") else file.name.lower()
    if unpack and mode != "file" and name.endswith((*_TARS, ".zip")):
        target.mkdir(parents=True, exist_ok=True)
        if name.endswith(".zip"):
            with zipfile.ZipFile(file) as packed:
                packed.extractall(target)  # noqa: S202 - it leaves out what would lie outside
        else:
            with tarfile.open(file) as tar:
                _unpack(tar, target)
        return
    if unpack and name.endswith(_PACKED):
        raise ArtifactError(f"the embedded agent unpacks archives, not the single file {file.name}; say archive: false")
    if mode == "file":
        target.parent.mkdir(parents=True, exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        target /= file.name
    shutil.move(file, target)
