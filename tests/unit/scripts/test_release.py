"""A release is built the same twice, pinned by hashes, signed file by file, and whoever changed one is found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import release
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hms_nomad import __version__
from tests.signed_images import key_pair

ROOT = Path(__file__).parents[3]
CHANGELOG = f"""# Changelog

## Unreleased

- later

## {__version__} - 2026-11-25

### Added

- A thing.

## 0.0.1 - 2026-01-01
"""
LOCK = """# a comment
one==1.0 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via hms-nomad
two==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:{a}
""".format(a="a" * 64, b="b" * 64)

builds = pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed; make setup does it")


def run(*words, cwd):
    done = subprocess.run(words, cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path):
    """A small project of the same name in a repository of its own."""
    root = tmp_path / "checkout"
    (root / "hms_nomad").mkdir(parents=True)
    (root / "requirements").mkdir()
    (root / "hms_nomad" / "__init__.py").write_text(f'__version__ = "{__version__}"\n')
    (root / "requirements" / "run.lock").write_text(LOCK)
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "hms-nomad"\nversion = "{__version__}"\nrequires-python = ">=3.11"\n'
    )
    run("git", "init", "-q", ".", cwd=root)
    commit(root)
    return root


def commit(root):
    who = ["-c", "user.name=ann", "-c", "user.email=ann@gov"]
    run("git", "add", ".", cwd=root)
    run("git", *who, "commit", "-q", "-m", "x", cwd=root)


@builds
def test_a_release_is_whole_signed_and_found_out_when_changed(checkout, tmp_path):
    key = key_pair(tmp_path, "release")
    names = release.make(checkout, tmp_path / "dist", str(key))
    wheel = f"hms_nomad-{__version__}-py3-none-any"
    plain = ["SHA256SUMS", f"hms-nomad-{__version__}-notes.md", f"{wheel}.cdx.json", f"{wheel}.whl"]
    assert names == sorted([*plain, *(f"{name}.sig" for name in plain)])
    pub = key.with_suffix(".pub")
    assert release.check(tmp_path / "dist", pub) == sorted(plain)
    notes = (tmp_path / "dist" / f"hms-nomad-{__version__}-notes.md").read_text()
    assert "- A thing." in notes
    assert "later" not in notes
    assert run("git", "rev-parse", "HEAD", cwd=checkout).decode().strip() in notes
    bill = json.loads((tmp_path / "dist" / f"{wheel}.cdx.json").read_text())
    assert [(one["name"], one["version"]) for one in bill["components"]] == [("one", "1.0"), ("two", "2.0")]
    made = (tmp_path / "dist" / f"{wheel}.whl").read_bytes()
    assert bill["metadata"]["component"]["hashes"][0]["content"] == hashlib.sha256(made).hexdigest()
    release.make(checkout, tmp_path / "again", str(key))
    for name in plain:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "dist" / name).read_bytes()
    with pytest.raises(release.ReleaseError, match="holds something already"):
        release.make(checkout, tmp_path / "dist", str(key))
    (tmp_path / "dist" / f"{wheel}.whl").write_bytes(made + b"x")
    with pytest.raises(release.ReleaseError, match=r"\.whl is not signed by"):
        release.check(tmp_path / "dist", pub)
    with pytest.raises(release.ReleaseError, match="is not signed by"):
        release.check(tmp_path / "again", key_pair(tmp_path, "other").with_suffix(".pub"))
    shutil.copy(tmp_path / "again" / plain[1], tmp_path / "again" / "added.md")
    with pytest.raises(release.ReleaseError, match=r"added\.md is not signed"):
        release.check(tmp_path / "again", pub)


@builds
def test_openssl_takes_the_signatures(checkout, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH")
    key = key_pair(tmp_path, "release")
    release.make(checkout, tmp_path / "dist", str(key))
    signature = tmp_path / "sig"
    signature.write_bytes(run("base64", "-d", "SHA256SUMS.sig", cwd=tmp_path / "dist"))
    options = ["-verify", str(key.with_suffix(".pub")), "-signature", str(signature)]
    said = run("openssl", "dgst", "-sha256", *options, "SHA256SUMS", cwd=tmp_path / "dist")
    assert said == b"Verified OK\n"


def test_what_cannot_be_a_release_is_refused(checkout, tmp_path):
    key = str(key_pair(tmp_path, "release"))
    (checkout / "new.txt").write_text("x")
    with pytest.raises(release.ReleaseError, match="the checkout has changes"):
        release.make(checkout, tmp_path / "dist", key)
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    commit(checkout)
    with pytest.raises(release.ReleaseError, match=rf"no section '## {__version__} - YYYY-MM-DD'"):
        release.make(checkout, tmp_path / "dist", key)
    with pytest.raises(release.ReleaseError, match="says nothing"):
        release.notes_of(f"## {__version__} - 2026-01-01\n\n## 0.0.1 - 2025-01-01\n- x\n", __version__)
    assert not (tmp_path / "dist").exists()
    assert release.main([str(tmp_path / "dist"), "--key", str(tmp_path / "none")]) == 1


@builds
def test_two_builds_of_the_wheel_are_the_same_bytes_and_hold_only_the_program(tmp_path):
    digests = set()
    for mask, moment in ((0o022, 1_000_000_000), (0o077, 1_700_000_000)):
        copy = tmp_path / oct(mask)
        before = os.umask(mask)
        try:
            for name in ("hms_nomad", "jobspecs", "policies"):
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, copy / name, copy_function=shutil.copyfile, ignore=ignored)
            for name in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copyfile(ROOT / name, copy / name)
            for file in copy.rglob("*"):
                os.utime(file, (moment, moment))
            run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=copy)
        finally:
            os.umask(before)
        (wheel,) = (copy / "dist").glob("*.whl")
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert len(digests) == 1
    listed = run(sys.executable, "-m", "zipfile", "-l", str(wheel), cwd=tmp_path).decode().splitlines()[1:]
    names = [line.split()[0] for line in listed]
    assert all(name.startswith(("hms_nomad/", f"hms_nomad-{__version__}.dist-info/")) for name in names)
    assert not [name for name in names if "test" in name.rsplit("/", 1)[-1]]


def test_pins_are_read_with_their_markers_and_hashes():
    assert list(release.locked(LOCK)) == [
        ("one", "1.0", "", ("a" * 64, "b" * 64)),
        ("two", "2.0", "python_full_version < '3.12'", ("a" * 64,)),
    ]


@pytest.mark.parametrize(
    ("lock", "extras"), [("run", ()), ("dev", ("test", "lint", "envoy", "registry"))], ids=["the program", "everything"]
)
def test_the_locks_pin_all_that_the_project_asks_for(lock, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
    pins = {canonicalize_name(name): (version, hashes) for name, version, _, hashes in release.locked(text)}
    for one in map(Requirement, wanted):
        version, _ = pins[canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} and {version}: run scripts/lock"
    assert all(hashes for _, hashes in pins.values())
    assert "://" not in text, "a lock names no place to fetch from"
