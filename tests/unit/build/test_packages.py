"""What an image holds is found as a container would see it, and its bill of materials is the same bytes every time."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile

import pytest

from hms_nomad.build.contents import contents_of
from hms_nomad.build.errors import BuildError
from hms_nomad.build.go_modules import GoModule, module_text, modules_of
from hms_nomad.build.packages import Package, packages_in, runtimes_in
from hms_nomad.build.sbom import Described, bill_of, parts_of

STATUS = b"""Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u1
Description: a library
 Version: 9 is none of it

Package: gone
Status: deinstall ok config-files
Version: 1.0
"""
ALPINE = b"P:musl\nV:1.2.5-r0\nL:MIT\n\nP:busybox\nV:1.36\n"
METADATA = b"Metadata-Version: 2.4\nName: Typing_Extensions\nVersion: 4.15.0\nLicense-Expression: PSF-2.0\n\nText\n"
IMAGE = Described("registry.gov/receipt", "1.0.0", "sha256:" + "a" * 64, 315532800)


def program(text):
    """A program of Go's with its linker's text, and before that the same mark as a tool has it in its own text."""
    marked = b"0" * 16 + text + b"1" * 16
    strings = bytes([6]) + b"go1.26" + bytes([len(marked) & 0x7F | 0x80, len(marked) >> 7]) + marked
    return (
        b"\x7fELF".ljust(17, b"\0")
        + b"\xff Go buildinf:".ljust(47, b"\0")
        + b"\xff Go buildinf:\x08\x02".ljust(32, b"\0")
        + strings
    )


def jar(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def layer(folder, number, files):
    file = folder / f"{number}.tar.gz"
    with gzip.open(file, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755 if data[:4] == b"\x7fELF" else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return file


MODULES = b"path\tgov/receipt\nmod\tgov/receipt\t(devel)\ndep\tgithub.com/a/b\tv1.0.0\n=>\tgithub.com/c/b\tv1.0.1\n"


def test_each_kind_of_package_is_found(tmp_path):
    nested = jar({"META-INF/maven/g/core/pom.properties": b"#x\ngroupId=g.core\nartifactId=core\nversion=2.0\n"})
    files = {
        "./etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
        "var/lib/dpkg/status": STATUS,
        "var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12\n",
        "var/lib/dpkg/status.d/base.md5sums": b"Package: no\nVersion: 1\n",
        "lib/apk/db/installed": ALPINE,
        "usr/lib/python3/site-packages/typing_extensions-4.15.0.dist-info/METADATA": METADATA,
        "app/node_modules/@types/node/package.json": b'{"name":"@types/node","version":"24.0.0","license":"MIT"}',
        "app/node_modules/bad/package.json": b"[]",
        "app/node_modules/@types/node/test/package.json": b'{"name":"none","version":"1"}',
        "app/app.jar": jar({"BOOT-INF/lib/core.jar": nested, "BOOT-INF/lib/plain-1.5.jar": jar({"a": b""})}),
        "app/broken.jar": b"no archive",
        "app/run": program(MODULES),
    }
    found = packages_in(contents_of([layer(tmp_path, 0, files)]))
    assert found == (
        Package("apk", "debian", "busybox", "1.36", "", "debian-12"),
        Package("apk", "debian", "musl", "1.2.5-r0", "MIT", "debian-12"),
        Package("deb", "debian", "base-files", "12", "", "debian-12"),
        Package("deb", "debian", "libc6", "2.36-9+deb12u1", "", "debian-12"),
        Package("golang", "", "stdlib", "1.26"),
        Package("golang", "github.com/c", "b", "v1.0.1"),
        Package("golang", "gov", "receipt", ""),
        Package("maven", "", "plain", "1.5"),
        Package("maven", "g.core", "core", "2.0"),
        Package("npm", "@types", "node", "24.0.0", "MIT"),
        Package("pypi", "", "typing-extensions", "4.15.0", "PSF-2.0"),
    )


def test_what_a_later_layer_takes_away_or_replaces_is_not_there(tmp_path):
    place = "app/node_modules/{}/package.json"
    one = {place.format(name): b'{"name":"%s","version":"1"}' % name.encode() for name in ("a", "b", "c")}
    one["opt/x/node_modules/d/package.json"] = b'{"name":"d","version":"1"}'
    two = {
        "app/node_modules/.wh.a": b"",
        place.format("b"): b'{"name":"b","version":"2"}',
        "opt/x/.wh..wh..opq": b"",
    }
    found = packages_in(contents_of([layer(tmp_path, 0, one), layer(tmp_path, 1, two)]))
    assert [(each.name, each.version) for each in found] == [("b", "2"), ("c", "1")]


def test_a_layer_that_is_none_is_an_error(tmp_path):
    (tmp_path / "bad").write_bytes(b"no archive")
    with pytest.raises(BuildError, match="a layer of the image cannot be read"):
        contents_of([tmp_path / "bad"])


def test_a_program_of_gos_tells_its_modules_and_no_other_does():
    assert module_text(b"\x7fELF nothing") == b""
    modules = modules_of(module_text(program(MODULES)))
    assert modules == (GoModule("gov/receipt", ""), GoModule("stdlib", "1.26"), GoModule("github.com/c/b", "v1.0.1"))


def test_official_images_name_their_runtime():
    found = runtimes_in(["PATH=/bin", "PYTHON_VERSION=3.13.1", "JAVA_VERSION=jdk-25+36"])
    assert found == (Package("generic", "", "python", "3.13.1"), Package("generic", "", "java", "25+36"))


def test_a_bill_is_valid_the_same_every_time_and_read_back():
    packages = (
        Package("deb", "debian", "libc6", "2.36-9+deb12u1", "", "debian-12"),
        Package("npm", "@types", "node", "24.0.0", "MIT"),
        Package("pypi", "", "odd", "1", "some words of their own"),
    )
    bill = bill_of(IMAGE, packages)
    assert bill == bill_of(IMAGE, reversed(packages))
    body = json.loads(bill)
    assert (body["bomFormat"], body["specVersion"]) == ("CycloneDX", "1.6")
    assert body["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert {one["purl"] for one in body["components"]} == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?distro=debian-12",
        "pkg:npm/%40types/node@24.0.0",
        "pkg:pypi/odd@1",
    }
    assert [(one.kind, one.name, one.license) for one in parts_of(bill)] == [
        ("deb", "libc6", ""),
        ("npm", "node", "MIT"),
        ("pypi", "odd", "some words of their own"),
    ]
    with pytest.raises(ValueError, match="no bill of materials"):
        parts_of(b"{}")


def test_a_bill_keeps_to_the_published_schema():
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    bill = bill_of(IMAGE, (Package("apk", "alpine", "musl", "1", "MIT AND words", "alpine-3"),))
    try:
        fault = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(bill.decode())
    except ImportError:
        pytest.skip("the extra of cyclonedx-python-lib that validates is not installed")
    assert fault is None
