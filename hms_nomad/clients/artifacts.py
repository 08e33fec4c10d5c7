"""The client for a store of archives: HTTP PUT and HEAD, signed for S3 where the store is a bucket of it.

A name holds the checksum of what lies there, so the same PUT again changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.transport import Transport

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class S3Keys:
    """What requests to an S3 bucket are signed with."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def signed_headers(method: str, url: str, body_sha256: str, keys: S3Keys, now: datetime) -> dict[str, str]:
    """The headers that sign a request without a query (AWS Signature Version 4).

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts = urlsplit(url)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": parts.netloc, "x-amz-content-sha256": body_sha256, "x-amz-date": moment}
    headers |= {"x-amz-security-token": keys.session_token} if keys.session_token else {}
    names = ";".join(sorted(headers))
    path = quote(parts.path or "/", safe="/-_.~%")
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, path, "", listed, names, body_sha256])
    scope = f"{day}/{keys.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret_key}".encode()
    for word in (day, keys.region, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    proof = f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**{name: value for name, value in headers.items() if name != "host"}, "Authorization": proof}


class ArtifactStore:
    """Typed calls on a store of archives. All raise the errors of ``hms_nomad.clients.errors``."""

    def __init__(self, connection: Connection, keys: S3Keys | None = None) -> None:
        """``connection`` says where archives lie; ``keys`` sign the requests to a bucket."""
        self._transport = Transport("artifact store", connection, "X-None", {})
        self._keys = keys

    @property
    def address(self) -> str:
        """The URL below which archives lie."""
        return self._transport.connection.address

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.session.close()

    def has(self, name: str) -> bool:
        """Whether there is something of this name (RFC 9110, HEAD)."""
        url = f"{self.address}/{name}"

        def send() -> None:
            self._transport.session.head(url, headers=self._signed("HEAD", url, _EMPTY))

        try:
            self._transport.read(f"look for {name}", send)
        except NotFoundError:
            return False
        return True

    def fetch(self, name: str) -> bytes | None:
        """What lies under a name, which should be small; None when nothing does (RFC 9110, GET)."""
        url = f"{self.address}/{name}"

        def send() -> bytes:
            return self._transport.session.get(url, headers=self._signed("GET", url, _EMPTY)).content

        try:
            return self._transport.read(f"read {name}", send)
        except NotFoundError:
            return None

    def publish(self, name: str, file: Path) -> None:
        """Store a file under a name (RFC 9110, PUT)."""
        url = f"{self.address}/{name}"
        with file.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()

        def send() -> None:
            with file.open("rb") as stream:
                self._transport.session.put(url, data=stream, headers=self._signed("PUT", url, checksum))

        self._transport.read(f"publish {name}", send)

    def _signed(self, method: str, url: str, checksum: str) -> Mapping[str, str]:
        if self._keys is None:
            return {}
        return signed_headers(method, url, checksum, self._keys, datetime.now(UTC))
