"""The client for one registry of images (OCI Distribution Specification 1.1).

What is pushed is named by its own hash, so a call whose answer was lost is simply made again. A manifest goes last: of
a push that was broken off nothing can be pulled.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.credentials import Credentials
from hms_nomad.clients.errors import DeniedError, InvalidRequestError, NotFoundError, ServerError, UnavailableError
from hms_nomad.clients.oci_auth import Authorizer
from hms_nomad.clients.transport import Transport

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFESTS = (
    OCI_MANIFEST,
    OCI_INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_REDIRECTS = frozenset({301, 302, 307, 308})
_LONGEST_MANIFEST = 4 * 1024 * 1024
_LONGEST_BLOB = 64 * 1024 * 1024

Sent = Callable[[int, int], None]
"""Hears how many bytes of how many have been sent."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the registry keeps it: ``digest`` is the hash of ``data``, compared when it was read."""

    digest: str
    media_type: str
    data: bytes = field(repr=False)

    @property
    def body(self) -> Mapping[str, Any]:
        """The manifest's JSON."""
        found: Mapping[str, Any] = json.loads(self.data)
        return found


def digest_of(data: bytes) -> str:
    """The name of bytes in a registry."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class RegistryClient:
    """Typed calls on one registry. All raise the errors of ``hms_nomad.clients.errors``, which name its address."""

    def __init__(self, connection: Connection, credentials: Credentials | None = None) -> None:
        """``credentials`` are used when the registry asks for some; ``connection.read_timeout`` bounds each wait."""
        self._transport = Transport("registry", connection, "X-None", {})
        # What is sent waits as long as what is read: a busy disk holds an upload up after the connection was opened.
        sending = replace(connection, connect_timeout=max(connection.connect_timeout, connection.read_timeout))
        self._sending = Transport("registry", sending, "X-None", {})
        self._auth = Authorizer(connection, credentials)

    def __repr__(self) -> str:
        return f"RegistryClient({self.address})"

    @property
    def address(self) -> str:
        """The URL of the registry."""
        return self._transport.connection.address

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.session.close()
        self._sending.session.close()

    def ping(self) -> None:
        """Ask whether it is there, and speaks this language.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support
        """
        self._transport.read("look whether it answers", lambda: self._transport.session.get(f"{self.address}/v2/"))

    def resolve(self, repository: str, tag: str) -> str | None:
        """The digest that a tag stands for now; None when there is no such tag.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
        """
        found = self.manifest(repository, tag)
        return found.digest if found else None

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest of a tag or a digest; None when there is none. Its hash is compared with the digest asked for.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
        """
        operation = f"read the manifest of {repository}{_joint(reference)}{reference}"
        headers = {"Accept": ", ".join(_MANIFESTS)}
        try:
            answer = self._call(operation, "GET", repository, f"manifests/{reference}", headers=headers)
        except NotFoundError:
            return None
        data = answer.content
        if len(data) > _LONGEST_MANIFEST:
            raise self._broken(operation, "it is longer than any manifest")
        digest = digest_of(data)
        told = answer.headers.get("Docker-Content-Digest", digest)
        wanted = reference if reference.startswith("sha256:") else told
        if digest != wanted:
            raise self._broken(operation, f"its bytes come to {digest}, not to {wanted}: it was changed on the way")
        try:
            media_type = json.loads(data).get("mediaType") or answer.headers.get("Content-Type", "")
        except (ValueError, AttributeError):
            raise self._broken(operation, "the answer is no manifest") from None
        return Manifest(digest, media_type, data)

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> str:
        """Store a manifest under a tag or its digest, when all that it names is there; answers its digest.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
        """
        operation = f"push the manifest of {repository}{_joint(reference)}{reference}"
        headers = {"Content-Type": media_type}
        self._call(operation, "PUT", repository, f"manifests/{reference}", headers=headers, body=lambda: data)
        return digest_of(data)

    def referrers(self, repository: str, digest: str) -> tuple[Mapping[str, Any], ...] | None:
        """The descriptors of what refers to an image; None from a registry that keeps no such list.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
        """
        operation = f"list what refers to {digest[:19]} in {repository}"
        try:
            answer = self._call(operation, "GET", repository, f"referrers/{digest}")
        except NotFoundError:
            return None
        try:
            return tuple(answer.json()["manifests"])
        except (ValueError, KeyError, TypeError):
            raise self._broken(operation, "the answer is no list of manifests") from None

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the registry holds these bytes.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#checking-if-content-exists-in-the-registry
        """
        try:
            self._call(f"look for {digest[:19]} in {repository}", "HEAD", repository, f"blobs/{digest}")
        except NotFoundError:
            return False
        return True

    def blob(self, repository: str, digest: str) -> bytes:
        """Bytes by their digest, which is compared; at most 64 MiB. Raises NotFoundError.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs
        """
        operation = f"read {digest[:19]} of {repository}"
        answer = self._call(operation, "GET", repository, f"blobs/{digest}")
        data = answer.content
        if len(data) > _LONGEST_BLOB or digest_of(data) != digest:
            raise self._broken(operation, "its bytes are not those of the digest: they were changed on the way")
        return data

    def push_blob(self, repository: str, digest: str, file: Path, sent: Sent | None = None) -> bool:
        """Upload a file whose digest is known, where the registry lacks it; answers whether anything was sent.

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
        """
        if self.has_blob(repository, digest):
            return False
        operation = f"push {digest[:19]} to {repository}"

        def once() -> None:
            started = self._once(operation, "POST", repository, "blobs/uploads/", headers={"Content-Length": "0"})
            place = urljoin(f"{self.address}/", started.headers.get("Location", ""))
            if urlsplit(place).netloc != urlsplit(self.address).netloc:
                raise self._broken(operation, "it wants the bytes to be sent to another host")
            url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
            headers = {"Content-Type": "application/octet-stream"}
            with _Upload(file, sent) as stream:
                body = stream.from_the_start
                self._once(operation, "PUT", repository, "", url=url, headers=headers, body=body, by=self._sending)

        self._transport.read(operation, once)
        return True

    def _call(self, operation: str, method: str, repository: str, path: str, **more: Any) -> requests.Response:
        return self._transport.read(operation, lambda: self._once(operation, method, repository, path, **more))

    def _once(
        self,
        operation: str,
        method: str,
        repository: str,
        path: str,
        *,
        url: str = "",
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        by: Transport | None = None,
    ) -> requests.Response:
        """One request, and once more with credentials where the registry asks for them."""
        scope = f"repository:{repository}:{'pull' if method in ('GET', 'HEAD') else 'pull,push'}"
        place = url or f"{self.address}/v2/{repository}/{path}"
        transport = by or self._transport
        session, patience = transport.session, transport.connection.read_timeout
        accepted = frozenset({401, *(_REDIRECTS if method == "GET" else ())})

        def send(authorization: str) -> requests.Response:
            known = {"Authorization": authorization} if authorization else {}
            data = body() if body else None
            return session.request(method, place, headers={**(headers or {}), **known}, data=data)

        with transport.calling(operation, write=False, read_timeout=patience, accepted=accepted):
            try:
                answer = send(self._auth.header(scope))
                if answer.status_code == 401:
                    answer = send(self._auth.answer(answer.headers.get("WWW-Authenticate", ""), scope, operation))
                if answer.status_code == 401:
                    raise self._refused(operation)
                return self._followed(operation, answer) if answer.status_code in _REDIRECTS else answer
            except ServerError as error:
                error.args = (self._auth.redacted(str(error)),)
                error.detail = self._auth.redacted(error.detail)
                raise

    def _followed(self, operation: str, answer: requests.Response) -> requests.Response:
        """Blobs may lie elsewhere. Their bytes are compared anyway; our credentials do not go along."""
        place = urljoin(answer.url, answer.headers.get("Location", ""))
        parts = urlsplit(place)
        if parts.scheme != "https" and self._transport.connection.secure:
            raise self._broken(operation, "it sends callers on to a place that is not encrypted")
        elsewhere = Transport("registry", Connection(f"{parts.scheme}://{parts.netloc}", retry_seconds=0), "X-None", {})
        try:
            return elsewhere.read(operation, lambda: elsewhere.session.get(place), retry=False)
        finally:
            elsewhere.session.close()

    def _refused(self, operation: str) -> DeniedError:
        return DeniedError("registry", operation, self.address, "it refuses the credentials that are known for it", 401)

    def _broken(self, operation: str, detail: str) -> ServerError:
        kind = InvalidRequestError if "changed on the way" in detail else UnavailableError
        return kind("registry", operation, self.address, detail)


def _joint(reference: str) -> str:
    return "@" if reference.startswith("sha256:") else ":"


class _Upload(io.FileIO):
    """A file that tells how much of it has been sent."""

    def __init__(self, file: Path, sent: Sent | None) -> None:
        super().__init__(file, "rb")
        self._size = file.stat().st_size
        self._sent = sent

    def from_the_start(self) -> _Upload:
        """The file as it is sent, from its beginning: the registry may ask for credentials first."""
        self.seek(0)
        return self

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        data = super().read(-1 if size is None else size) or b""
        if data and self._sent is not None:
            self._sent(self.tell(), self._size)
        return data
