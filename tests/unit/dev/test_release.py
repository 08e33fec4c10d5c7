from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hms_nomad.apply.progress import Event
from hms_nomad.dev import signature
from hms_nomad.dev.errors import ReleaseError
from hms_nomad.dev.release import ReleaseSource, fetch_release, machine
from tests.binaries import binary

_PROGRAM = b"#!/bin/sh\necho nomad\n" + b"x" * (3 << 20)
_ARCHIVE = f"nomad_2.0.5_linux_{machine()}.zip"


class Signer:
    """A maker with a key of its own."""

    def __init__(self, home: Path, name: str) -> None:
        self._base = [
            binary("gpg"),
            "--batch",
            "--homedir",
            str(home),
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        self._run("--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")
        listed = self._run("--with-colons", "--list-keys").decode()
        self.fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        self.key = self._run("--armor", "--export")

    def sign(self, text: bytes) -> bytes:
        return self._run("--detach-sign", text=text)

    def _run(self, *arguments: str, text: bytes = b"") -> bytes:
        return subprocess.run([*self._base, *arguments], input=text, capture_output=True, check=True).stdout


@dataclass
class Site:
    """A release site in memory: path to content; ``cut`` ends answers early."""

    address: str
    files: dict[str, bytes]
    cut: bool = False

    def publish(self, signer: Signer, program: bytes = _PROGRAM, member: str = "nomad") -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as stream:
            stream.writestr("LICENSE.txt", "terms")
            stream.writestr(member, program)
        sums = f"{'0' * 64}  nomad_2.0.5_windows_amd64.zip\n{_sha(archive.getvalue())}  {_ARCHIVE}\n".encode()
        self.files |= {
            f"/nomad/2.0.5/{_ARCHIVE}": archive.getvalue(),
            "/nomad/2.0.5/nomad_2.0.5_SHA256SUMS": sums,
            "/nomad/2.0.5/nomad_2.0.5_SHA256SUMS.sig": signer.sign(sums),
            "/key.txt": signer.key,
        }

    def source(self, signer: Signer) -> ReleaseSource:
        return ReleaseSource(self.address, f"{self.address}/key.txt", signer.fingerprint)


@pytest.fixture(scope="module")
def signers() -> Iterator[tuple[Signer, Signer]]:
    with tempfile.TemporaryDirectory(prefix="g") as first, tempfile.TemporaryDirectory(prefix="g") as second:
        yield Signer(Path(first), "maker"), Signer(Path(second), "stranger")
        for home in (first, second):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


@pytest.fixture
def maker(signers: tuple[Signer, Signer]) -> Signer:
    return signers[0]


@pytest.fixture
def stranger(signers: tuple[Signer, Signer]) -> Signer:
    return signers[1]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = found.files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: -1000 if found.cut and self.path.endswith(".zip") else None])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Site(f"http://127.0.0.1:{server.server_address[1]}", {})
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_a_signed_release_reaches_the_cache_with_progress(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker)
    events: list[Event] = []

    path = fetch_release("nomad", "2.0.5", site.source(maker), tmp_path / "cache", events.append)

    assert path == tmp_path / "cache" / "nomad"
    assert path.read_bytes() == _PROGRAM
    assert path.stat().st_mode & 0o777 == 0o755
    assert [file.name for file in path.parent.iterdir()] == ["nomad"]
    assert {event.kind for event in events} == {"download"}
    done = [event.data["done"] for event in events]
    assert done == sorted(done)
    assert len(done) >= 4
    assert done[-1] == events[-1].data["total"] == len(site.files[f"/nomad/2.0.5/{_ARCHIVE}"])


def test_a_new_version_replaces_the_old_program(site: Site, maker: Signer, tmp_path: Path) -> None:
    (tmp_path / "nomad").write_bytes(b"old")
    site.publish(maker)

    fetch_release("nomad", "2.0.5", site.source(maker), tmp_path, lambda event: None)

    assert (tmp_path / "nomad").read_bytes() == _PROGRAM


def _refused(site: Site, source: ReleaseSource, tmp_path: Path) -> str:
    cache = tmp_path / "cache"
    with pytest.raises(ReleaseError) as refused:
        fetch_release("nomad", "2.0.5", source, cache, lambda event: None)
    assert not cache.exists() or list(cache.iterdir()) == []
    return str(refused.value)


def test_an_archive_that_was_changed_is_refused(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker)
    site.files[f"/nomad/2.0.5/{_ARCHIVE}"] += b"!"

    assert f"{_ARCHIVE} is not what nomad's maker signed" in _refused(site, site.source(maker), tmp_path)


def test_checksums_that_were_changed_after_signing_are_refused(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker)
    site.files["/nomad/2.0.5/nomad_2.0.5_SHA256SUMS"] += b"\n"

    text = _refused(site, site.source(maker), tmp_path)

    assert f"is not signed by the key {maker.fingerprint}: gpg says BADSIG" in text


def test_a_release_that_somebody_else_signed_is_refused_even_with_his_key_at_hand(
    site: Site, maker: Signer, stranger: Signer, tmp_path: Path
) -> None:
    site.publish(stranger)

    text = _refused(site, site.source(maker), tmp_path)

    assert f"is not signed by the key {maker.fingerprint}: it was made by {stranger.fingerprint}" in text


def test_a_second_signature_of_somebody_else_does_not_help(
    site: Site, maker: Signer, stranger: Signer, tmp_path: Path
) -> None:
    site.publish(maker)
    sums = site.files["/nomad/2.0.5/nomad_2.0.5_SHA256SUMS"]
    site.files["/nomad/2.0.5/nomad_2.0.5_SHA256SUMS.sig"] += stranger.sign(sums)

    assert "is not signed by the key" in _refused(site, site.source(maker), tmp_path)


@pytest.mark.parametrize("content", [b"", b"no signature", b"-----BEGIN PGP SIGNATURE-----\n"])
def test_a_signature_that_is_none_is_refused(site: Site, maker: Signer, tmp_path: Path, content: bytes) -> None:
    site.publish(maker)
    site.files["/nomad/2.0.5/nomad_2.0.5_SHA256SUMS.sig"] = content

    assert "there is no signature that can be verified" in _refused(site, site.source(maker), tmp_path)


def test_a_key_that_is_none_is_refused(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker)
    site.files["/key.txt"] = b"no key"

    assert "is not signed by the key" in _refused(site, site.source(maker), tmp_path)


def test_without_gpg_nothing_is_believed(
    site: Site, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish(maker)
    monkeypatch.setattr(signature.shutil, "which", lambda name: None)

    assert "cannot be verified without gpg; install GnuPG" in _refused(site, site.source(maker), tmp_path)


def test_a_version_that_is_not_there_names_the_address(site: Site, maker: Signer, tmp_path: Path) -> None:
    assert "nomad_2.0.5_SHA256SUMS answers 404" in _refused(site, site.source(maker), tmp_path)


def test_a_machine_that_the_maker_does_not_serve_is_told(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker)
    sums = f"{'0' * 64}  nomad_2.0.5_windows_amd64.zip\n".encode()
    site.files["/nomad/2.0.5/nomad_2.0.5_SHA256SUMS"] = sums
    site.files["/nomad/2.0.5/nomad_2.0.5_SHA256SUMS.sig"] = maker.sign(sums)

    assert f"checksums does not name {_ARCHIVE}" in _refused(site, site.source(maker), tmp_path)


def test_a_download_that_breaks_off_is_no_program(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker)
    site.cut = True

    assert "run the command again" in _refused(site, site.source(maker), tmp_path)


def test_an_archive_without_the_program_is_refused(site: Site, maker: Signer, tmp_path: Path) -> None:
    site.publish(maker, member="../nomad")

    assert "holds no program nomad" in _refused(site, site.source(maker), tmp_path)


def test_nobody_there_is_one_line_with_the_way_out(maker: Signer, tmp_path: Path) -> None:
    source = ReleaseSource("http://127.0.0.1:1", "http://127.0.0.1:1/key", maker.fingerprint)

    text = _refused(Site("", {}), source, tmp_path)

    assert "cannot be fetched" in text
    assert text.endswith("connect to the internet, or put the program on PATH")


@pytest.mark.parametrize("address", ["http://releases.example.org", "ftp://127.0.0.1", "file:///etc"])
def test_only_https_leaves_the_machine(tmp_path: Path, address: str) -> None:
    text = _refused(Site("", {}), ReleaseSource(address, address, "A" * 40), tmp_path)

    assert "is not fetched over https" in text


def test_the_users_own_keys_are_neither_used_nor_changed(
    site: Site, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GNUPGHOME", str(home / "keys"))
    site.publish(maker)

    fetch_release("nomad", "2.0.5", site.source(maker), tmp_path / "cache", lambda event: None)

    assert list(home.iterdir()) == []


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
