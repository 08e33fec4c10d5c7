"""The checkout -> a directory with a release: wheel, bill of materials, notes and checksums, each with its signature.

    python scripts/release.py DIRECTORY --key KEY        make it; the password of the key comes by COSIGN_PASSWORD
    python scripts/release.py DIRECTORY --check PUB      check one: every file signed, every checksum right

The wheel is built twice, from two copies of the checkout, and has to be the same bytes. Signatures are ECDSA over P-256
with SHA-256 in Base64: `cosign verify-blob --key PUB --signature FILE.sig --insecure-ignore-tlog=true FILE` takes them.
Nothing is published and nothing is asked of a network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hms_nomad import __version__
from hms_nomad.build.errors import KeyFileError, SigningError
from hms_nomad.build.signing import Signer, is_signed, public_key
from hms_nomad.workflows.building.signatures import read_signing_key

ROOT = Path(__file__).resolve().parents[1]
_SUMS = "SHA256SUMS"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]*[^\\ ]))? *\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class ReleaseError(Exception):
    """The release cannot be made, or is not what it says; the text says why."""


def main(words: list[str]) -> int:
    """Make or check a release; exit code 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(description="Make the files of a release and sign them, or check them.")
    parser.add_argument("directory", type=Path)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", help="sign with this key: a PEM file of P-256, or a key of cosign's")
    what.add_argument("--check", type=Path, metavar="PUB", help="check the directory by this public key")
    asked = parser.parse_args(words)
    try:
        names = check(asked.directory, asked.check) if asked.check else make(ROOT, asked.directory, asked.key)
    except (ReleaseError, KeyFileError, SigningError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name in names:
        print(name)
    return 0


def make(root: Path, directory: Path, key: str) -> list[str]:
    """Write the release of ``root`` to a directory; answers the names of its files. Raises ReleaseError."""
    signer = read_signing_key(key)
    if changed := _git(root, "status", "--porcelain"):
        raise ReleaseError(f"the checkout has changes, and a release is a commit: {changed.splitlines()[0].strip()}")
    notes = notes_of((root / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)
    if directory.exists() and any(directory.iterdir()):
        raise ReleaseError(f"{directory} holds something already")
    directory.mkdir(parents=True, exist_ok=True)
    commit = _git(root, "rev-parse", "HEAD").strip()
    wheel = built_wheel(root, directory)
    bill = bill_of_wheel(wheel, (root / "requirements" / "run.lock").read_text(encoding="utf-8"), commit)
    (directory / f"{wheel.stem}.cdx.json").write_bytes(bill)
    (directory / f"hms-nomad-{__version__}-notes.md").write_text(
        f"{notes}\n\nCommit {commit}\n\n{sha256_of(wheel)}  {wheel.name}\n", encoding="utf-8"
    )
    sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in sorted(directory.iterdir()))
    (directory / _SUMS).write_text(sums, encoding="utf-8")
    for file in sorted(directory.iterdir()):
        _sign(file, signer)
    return sorted(file.name for file in directory.iterdir())


def check(directory: Path, pub: Path) -> list[str]:
    """The names of the files of a release, each of which is signed and has its checksum. Raises ReleaseError."""
    key = public_key(pub.read_bytes(), str(pub))
    files = sorted(file for file in directory.iterdir() if file.suffix != ".sig")
    for file in files:
        signature = file.with_name(f"{file.name}.sig")
        if not signature.is_file() or not is_signed(file.read_bytes(), signature.read_text().strip(), key):
            raise ReleaseError(f"{file} is not signed by {pub}")
    rows = (line.split("  ", 1) for line in (directory / _SUMS).read_text(encoding="utf-8").splitlines())
    sums = {name: digest for digest, name in rows}
    for file in files:
        if file.name != _SUMS and sums.get(file.name) != sha256_of(file):
            raise ReleaseError(f"{file} is not what {_SUMS} says")
    return [file.name for file in files]


def notes_of(changelog: str, version: str) -> str:
    """The section of a version. Raises ReleaseError where there is none, or an empty one."""
    parts = re.split(r"^## ", changelog, flags=re.MULTILINE)
    found = next((part for part in parts if re.match(rf"\[?{re.escape(version)}\]? - \d{{4}}-\d\d-\d\d\n", part)), None)
    if found is None:
        raise ReleaseError(f"CHANGELOG.md has no section '## {version} - YYYY-MM-DD'")
    if not found.partition("\n")[2].strip():
        raise ReleaseError(f"the section of {version} in CHANGELOG.md says nothing")
    return f"## {found.strip()}"


def built_wheel(root: Path, directory: Path) -> Path:
    """The wheel of a commit, built twice from copies of it. Raises ReleaseError when the two are not the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = [_wheel(root, Path(folder, name)) for name in ("first", "second")]
        if wheels[0].read_bytes() != wheels[1].read_bytes():
            raise ReleaseError("two builds of the same commit are not the same bytes")
        return Path(shutil.copy(wheels[0], directory / wheels[0].name))


def bill_of_wheel(wheel: Path, lock: str, commit: str) -> bytes:
    """What the wheel needs at run time, as the lock pins it, in CycloneDX 1.6."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    digest = sha256_of(wheel)
    own = Component(
        name="hms-nomad",
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref=f"hms-nomad@{__version__}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        purl=PackageURL("pypi", None, "hms-nomad", __version__),
        properties=[Property(name="hms-nomad:commit", value=commit)],
    )
    parts = []
    for name, version, marker, hashes in locked(lock):
        purl = PackageURL("pypi", None, name, version)
        told = [Property(name="hms-nomad:lock:sha256", value=one) for one in hashes]
        told += [Property(name="hms-nomad:lock:marker", value=marker)] if marker else []
        parts.append(Component(name=name, version=version, purl=purl, bom_ref=purl.to_string(), properties=told))
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"hms-nomad@{digest}"),
        metadata=BomMetaData(component=own),
        components=parts,
    )
    bom.register_dependency(own, parts)
    body = json.loads(JsonV1Dot6(bom).output_as_string())
    # The moment says nothing about the wheel, and makes each bill another one.
    body["metadata"].pop("timestamp", None)
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def locked(lock: str) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Name, version, marker and hashes of each pin of a lock."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", "\n" + "\n".join(line for line in lock.splitlines() if line[:1] != "#"))
    for block in blocks:
        head = block.strip("\n").splitlines()[0] if block.strip() else ""
        if match := _PIN.match(head):
            yield match["name"], match["version"], match["marker"] or "", tuple(_HASH.findall(block))


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sign(file: Path, signer: Signer) -> None:
    file.with_name(f"{file.name}.sig").write_text(f"{signer.sign(file.read_bytes())}\n", encoding="ascii")


def _wheel(root: Path, folder: Path) -> Path:
    """The wheel of a copy of the commit: what is not committed cannot get into it."""
    folder.mkdir()
    archive = subprocess.run(["git", "-C", str(root), "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    plain = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"the wheel cannot be built: {done.stderr.strip().splitlines()[-1:]}; make setup first?")
    return next((folder / "dist").glob("*.whl"))


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"git {words[0]} fails: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
