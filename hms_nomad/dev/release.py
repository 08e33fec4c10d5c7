"""A product and a version -> its program in the cache, once checksum and signature are what the maker published.

Layout of a release: ``PRODUCT_VERSION_SYSTEM_MACHINE.zip``, ``..._SHA256SUMS`` and its detached signature
``..._SHA256SUMS.sig`` (https://developer.hashicorp.com/well-architected-framework/verify-hashicorp-binary).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import platform
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.dev.errors import ReleaseError
from hms_nomad.dev.signature import verify

_CHUNK = 1 << 20
_STALLED_SECONDS = 30.0
_LARGEST_TEXT = 1 << 20
_LARGEST_ARCHIVE = 1 << 30
_LARGEST_PROGRAM = 2 << 30
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class ReleaseSource(Struct, frozen=True):
    """Where releases lie and whose signature counts.

    ``base_url`` may be a mirror: trust rests on ``fingerprint`` alone, the maker's primary key; ``key_url`` only
    brings the key itself, with its newest end of validity.
    """

    base_url: str
    key_url: str
    fingerprint: str


HASHICORP = ReleaseSource(
    base_url="https://releases.hashicorp.com",
    key_url="https://www.hashicorp.com/.well-known/pgp-key.txt",
    fingerprint="C874011F0AB405110D02105534365D9472D7468F",
)
"""HashiCorp's release site and its security key (https://www.hashicorp.com/en/trust/security)."""


def fetch_release(product: str, version: str, source: ReleaseSource, cache: Path, report: Report) -> Path:
    """Download a product's program for this machine into ``cache`` and answer the file.

    Checksums are believed only with the maker's signature, and the archive only with its checksum; nothing reaches
    ``cache`` before that. Reports "download" events with the bytes ``done`` and ``total``. Raises ReleaseError.
    """
    base = f"{source.base_url.rstrip('/')}/{product}/{version}"
    stem = f"{product}_{version}"
    archive_name = f"{stem}_linux_{machine()}.zip"
    with tempfile.TemporaryDirectory(prefix="hms-nomad-") as name:
        work = Path(name)
        sums = _small(f"{base}/{stem}_SHA256SUMS")
        signature = _small(f"{base}/{stem}_SHA256SUMS.sig")
        verify(sums, signature, _small(source.key_url), source.fingerprint, f"{stem}_SHA256SUMS")
        wanted = _checksum(sums, archive_name)
        archive = work / archive_name
        found = _download(f"{base}/{archive_name}", archive, f"{product} {version}", report)
        if found != wanted:
            raise ReleaseError(
                f"{archive_name} is not what {product}'s maker signed (SHA-256 {found}, signed is {wanted})",
                "try again; if it stays so, the source or the way to it is not to be trusted",
            )
        return _install(archive, product, cache)


def machine() -> str:
    """This machine's name in releases (amd64, arm64). Raises ReleaseError for others."""
    name = platform.machine().lower()
    try:
        return _MACHINES[name]
    except KeyError:
        raise ReleaseError(f"there are no releases for {name} machines", "put the program on PATH yourself") from None


def _checksum(sums: bytes, archive_name: str) -> str:
    for line in sums.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if name.strip() == archive_name:
            return digest.strip().lower()
    raise ReleaseError(f"the maker's list of checksums does not name {archive_name}", "choose a version that has it")


def _small(url: str) -> bytes:
    with _opened(url) as response:
        body: bytes = response.read(_LARGEST_TEXT + 1)
    if len(body) > _LARGEST_TEXT:
        raise ReleaseError(f"{url} is larger than such a file can be", "look at the address")
    return body


def _download(url: str, file: Path, what: str, report: Report) -> str:
    digest = hashlib.sha256()
    done = 0
    with _opened(url) as response, file.open("wb") as stream:
        total = int(response.headers.get("Content-Length") or 0)
        report(Event("download", f"downloading {what}", {"product": what, "url": url, "done": 0, "total": total}))
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if done > _LARGEST_ARCHIVE:
                raise ReleaseError(f"{url} is larger than a release can be", "look at the address")
            digest.update(chunk)
            stream.write(chunk)
            message = f"{what}: {done >> 20} of {total >> 20} MiB" if total else f"{what}: {done >> 20} MiB"
            report(Event("download", message, {"product": what, "url": url, "done": done, "total": total}))
        if total and done != total:
            raise ReleaseError(f"{url} ended after {done} of {total} bytes", "run the command again")
    return digest.hexdigest()


@contextmanager
def _opened(url: str) -> Iterator[http.client.HTTPResponse]:
    """The answer of one address; proxies of the environment count here, as for every download."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise ReleaseError(f"{url} is not fetched over https", "use an https address")
    request = urllib.request.Request(url, headers={"User-Agent": "hms-nomad"})  # noqa: S310 - the scheme is checked
    try:
        with urllib.request.urlopen(request, timeout=_STALLED_SECONDS) as response:  # noqa: S310
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        raise ReleaseError(f"{url} answers {error.code} {error.reason}", "look at version and address") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ReleaseError(
            f"{url} cannot be fetched: {reason}", "connect to the internet, or put the program on PATH"
        ) from None


def _install(archive: Path, product: str, cache: Path) -> Path:
    """Take the program out of the archive, whole or not at all."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = cache / product
    descriptor, name = tempfile.mkstemp(dir=cache, prefix=f".{product}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(archive) as files:
            member = files.getinfo(product)
            if member.file_size > _LARGEST_PROGRAM:
                raise ReleaseError(f"{product} in {archive.name} is larger than it can be", "look at the address")
            with files.open(member) as content:
                shutil.copyfileobj(content, stream, _CHUNK)
        temporary.chmod(0o755)
        temporary.replace(target)
    except (KeyError, zipfile.BadZipFile):
        raise ReleaseError(f"{archive.name} holds no program {product}", "choose another version") from None
    finally:
        temporary.unlink(missing_ok=True)
    return target
