"""What an engine saved -> an image that is the same bytes every time: OCI layers, configuration, manifest.

The engine writes the moment of the build into the image; here everything newer than the sources gets the time of the
sources, as BuildKit's rewrite-timestamp does, and what names the machine is left out.
Specification: https://github.com/opencontainers/image-spec/blob/main/spec.md
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

from hms_nomad.build.errors import BuildError
from hms_nomad.clients.oci import OCI_INDEX, OCI_MANIFEST, digest_of
from hms_nomad.patterns import lazy_pattern

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL = 4
_KEPT_CONFIG = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("Healthcheck", "Shell"),
)
_ORIGIN = lazy_pattern(r"FROM [0-9a-f]{12}")
"""A comment of Podman's builder, with the id of the step before, which no two builds share."""

_LABEL = "#(nop) LABEL "
_KEPT_HISTORY = ("created_by", "comment", "empty_layer")
_TIMES = ("mtime", "atime", "ctime")


class Blob(Struct, frozen=True):
    """Bytes in a file, by their digest."""

    digest: str
    size: int
    media_type: str
    file: Path

    @property
    def descriptor(self) -> dict[str, Any]:
        """How a manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image of one platform: its manifest, and the blobs that the manifest names."""

    manifest: bytes = field(repr=False)
    blobs: tuple[Blob, ...]
    architecture: str
    system: str

    @property
    def digest(self) -> str:
        """The digest by which it is pulled."""
        return digest_of(self.manifest)


def from_saved(archive: Path, folder: Path, time: int, annotations: Mapping[str, str], ours: str = "") -> BuiltImage:
    """The image of an archive in the form of ``docker save``; its blobs are written to ``folder``.

    ``ours`` is the name of a file that came into the build with the sources and is none of them: it is taken out.
    Raises BuildError for an archive that is none.
    """
    try:
        with tarfile.open(archive) as saved:
            (row,) = json.load(_member(saved, "manifest.json"))
            config = json.load(_member(saved, row["Config"]))
            layers = [_layer(_member(saved, name), folder, time, ours) for name in row["Layers"]]
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"the engine's archive of the image cannot be read ({type(error).__name__})") from None
    body = _config(config, [diff_id for diff_id, _ in layers], time)
    described = _stored(json.dumps(body, sort_keys=True, separators=(",", ":")).encode(), CONFIG, folder)
    blobs = [blob for _, blob in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described.descriptor,
        "layers": [blob.descriptor for blob in blobs],
        "annotations": dict(sorted(annotations.items())),
    }
    return BuiltImage(
        json.dumps(manifest, separators=(",", ":")).encode(),
        tuple({blob.digest: blob for blob in (described, *blobs)}.values()),
        str(body.get("architecture", "")),
        str(body.get("os", "")),
    )


def index_of(images: Iterable[tuple[str, BuiltImage]], annotations: Mapping[str, str]) -> bytes:
    """The index of an image of several platforms ("linux/arm64/v8")."""
    rows = []
    for platform, image in images:
        system, architecture, *variant = platform.split("/")
        about = {"architecture": architecture, "os": system} | ({"variant": variant[0]} if variant else {})
        size = len(image.manifest)
        rows.append({"mediaType": OCI_MANIFEST, "digest": image.digest, "size": size, "platform": about})
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": rows,
        "annotations": dict(sorted(annotations.items())),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _member(saved: tarfile.TarFile, name: str) -> IO[bytes]:
    found = saved.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _layer(stream: IO[bytes], folder: Path, time: int, ours: str) -> tuple[str, Blob]:
    """A layer with its diff id, the digest of its uncompressed bytes; one of earlier times keeps its bytes."""
    plain = folder / "layer.tar"
    with plain.open("wb") as file:
        shutil.copyfileobj(stream, file, 1024 * 1024)
    with tarfile.open(plain) as layer:
        changes = any(entry.mtime > time or _is_ours(entry, ours) for entry in layer)
    if changes:
        rewritten = folder / "layer-rewritten.tar"
        with tarfile.open(plain) as layer, tarfile.open(rewritten, "w", format=tarfile.PAX_FORMAT) as target:
            for entry in layer:
                if _is_ours(entry, ours):
                    continue
                entry.mtime = min(int(entry.mtime), time)
                entry.pax_headers = {key: value for key, value in entry.pax_headers.items() if key not in _TIMES}
                target.addfile(entry, layer.extractfile(entry) if entry.isreg() else None)
        rewritten.replace(plain)
    diff = hashlib.sha256()
    packed = folder / "layer.tar.gz"
    # Neither name nor time of a file in the header: the same layer is the same bytes.
    with (
        plain.open("rb") as source,
        packed.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as target_file,
    ):
        while piece := source.read(1024 * 1024):
            diff.update(piece)
            target_file.write(piece)
    plain.unlink()
    return f"sha256:{diff.hexdigest()}", _moved(packed, LAYER, folder)


def _is_ours(entry: tarfile.TarInfo, ours: str) -> bool:
    return bool(ours) and entry.isreg() and entry.name.rpartition("/")[2] == ours


def _moved(file: Path, media_type: str, folder: Path) -> Blob:
    with file.open("rb") as stream:
        digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    size = file.stat().st_size
    target = folder / digest.removeprefix("sha256:")
    file.replace(target)
    return Blob(digest, size, media_type, target)


def _stored(data: bytes, media_type: str, folder: Path) -> Blob:
    file = folder / "blob"
    file.write_bytes(data)
    return _moved(file, media_type, folder)


def _config(config: Mapping[str, Any], diff_ids: list[str], time: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    inner = config.get("config") or {}
    body = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
    history = [
        {key: row[key] for key in _KEPT_HISTORY if key in row and not _ORIGIN.fullmatch(str(row[key]))}
        | {"created": created}
        for row in config.get("history") or ()
    ]
    # Podman adds the labels that it was asked for in any order.
    last = len(history)
    while last and _LABEL in str(history[last - 1].get("created_by")):
        last -= 1
    history[last:] = sorted(history[last:], key=lambda row: str(row["created_by"]))
    return body | {
        "created": created,
        "config": {key: inner[key] for key in _KEPT_CONFIG if inner.get(key)},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }
