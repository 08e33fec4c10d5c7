"""``build`` of a service that is no container: its files become an archive that nodes fetch by its checksum."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.build.archive import Archive, pack
from hms_nomad.build.context import sources_in
from hms_nomad.clients.artifacts import ArtifactStore, S3Keys
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import OCI_MANIFEST, digest_of
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_build import Build
from hms_nomad.spec.model_task import Artifact
from hms_nomad.workflows.building.build import directory_of
from hms_nomad.workflows.building.registries import open_registries
from hms_nomad.workflows.revision import Revision, revision_of
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile

_ARCHIVE = "application/vnd.hms-nomad.archive.v1.tar+gzip"
_EMPTY = "application/vnd.oci.empty.v1+json"


class Packed(Struct, frozen=True):
    """An archive of a service: where nodes fetch it, its checksum, and whether this command published it."""

    service: str
    url: str
    checksum: str
    files: int
    published: bool
    commit: str


def build_archive(session: Session, file: SpecFile, report: Report, *, publish: bool) -> Packed:
    """Pack the files of a spec, and publish them where they are not there already and ``publish`` says so.

    Raises BuildError, PlatformError for a platform without a store, and the errors of ``hms_nomad.clients.errors``,
    which name the store.
    """
    spec, platform = file.spec, session.platform
    build = spec.build or Build()
    directory = directory_of(file)
    revision = revision_of(directory)
    with tempfile.TemporaryDirectory(prefix="hms-nomad-build-") as folder:
        archive = pack(sources_in(directory, build.exclude, revision.time), Path(folder, "archive.tar.gz"))
        url = _url(spec, platform, archive)
        sent = publish and _publish(session, spec, archive, revision)
    if sent:
        text = f"{archive.files} files of {spec.name} are published as {archive.checksum}"
        report(Event("build", text, {"url": url, "checksum": archive.checksum}))
    return Packed(spec.name, url, archive.checksum, archive.files, sent, revision.name)


def with_archive(spec: Spec, packed: Packed) -> Spec:
    """The spec that fetches its archive before anything else that it fetches."""
    own = Artifact(source=packed.url, checksum=packed.checksum, destination=None, unpack=True)
    return spec.changed(artifacts=(own, *spec.artifacts))


def _publish(session: Session, spec: Spec, archive: Archive, revision: Revision) -> bool:
    if session.platform.artifacts is None:
        return _into_registry(session, spec, archive, revision)
    with open_store(session) as store:
        name = _name(spec, archive)
        if store.has(name):
            return False
        store.publish(name, archive.file)
        return True


def _url(spec: Spec, platform: Platform, archive: Archive) -> str:
    store, registry = platform.artifacts, platform.images.registry
    if store is not None:
        return f"{(store.fetch or store.url).rstrip('/')}/{_name(spec, archive)}"
    if registry is None:
        raise PlatformError(
            f"the files of {spec.name} have no place that nodes could fetch them from; let the platform's "
            "configuration say artifacts: {url: ADDRESS}, or images: {registry: HOST}"
        )
    host, _, path = registry.partition("/")
    scheme = "http" if _plain(platform, host) else "https"
    # Nomad's fetcher looks at the name's ending, and a digest has none.
    repository = f"{path}/{spec.name}" if path else spec.name
    return f"{scheme}://{host}/v2/{repository}/blobs/{archive.checksum}?archive=tar.gz"


def _plain(platform: Platform, host: str) -> bool:
    access = platform.images.registries.get(host)
    address = access.address if access and access.address else ""
    return address.startswith("http://") or (not address and host.startswith(("127.", "localhost")))


def _name(spec: Spec, archive: Archive) -> str:
    return f"{spec.name}/{archive.sha256}.tar.gz"


@contextmanager
def open_store(session: Session) -> Iterator[ArtifactStore]:
    """The platform's store of archives. Raises ContextError where a bucket has no keys in the environment."""
    settings = session.platform.artifacts
    if settings is None:
        raise PlatformError("the platform's configuration has no artifacts: {url: ADDRESS}")
    keys = None
    if settings.s3_region:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise ContextError(
                f"artifacts.s3_region says that requests are signed, and {' and '.join(missing)} is not set"
            )
        token = os.environ.get("AWS_SESSION_TOKEN", "")
        keys = S3Keys(settings.s3_region, os.environ[names[0]], os.environ[names[1]], token)
    store = ArtifactStore(Connection(settings.url, ca_file=settings.ca_file, retries=session.retries), keys)
    try:
        yield store
    finally:
        store.close()


def _into_registry(session: Session, spec: Spec, archive: Archive, revision: Revision) -> bool:
    """A registry keeps what a manifest names, and gives its blobs out by their digest."""
    host, _, path = (session.platform.images.registry or "").partition("/")
    repository = f"{path}/{spec.name}" if path else spec.name
    with open_registries(session) as registries, tempfile.TemporaryDirectory() as folder:
        client = registries.client(host)
        sent = client.push_blob(repository, archive.checksum, archive.file)
        empty = Path(folder, "empty")
        empty.write_bytes(b"{}")
        client.push_blob(repository, digest_of(b"{}"), empty)
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": _ARCHIVE,
            "config": {"mediaType": _EMPTY, "digest": digest_of(b"{}"), "size": 2},
            "layers": [{"mediaType": _ARCHIVE, "digest": archive.checksum, "size": archive.file.stat().st_size}],
            "annotations": {"org.opencontainers.image.revision": revision.name},
        }
        data = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
        client.put_manifest(repository, f"archive-{archive.sha256[:32]}", data, OCI_MANIFEST)
        return sent
