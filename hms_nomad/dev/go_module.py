"""A server's Go module -> its program in the cache, built by this machine's Go where the maker's release cannot be had.

The module is the maker's source of that version. What it must be is pinned here; what it is made of is pinned by the
list of checksums in it, and for the rest Go's checksum database answers (https://go.dev/ref/mod#authenticating).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.dev.errors import ReleaseError

_FETCH_SECONDS = 600.0
_BUILD_SECONDS = 3600.0
# Whatever this machine's Go is set to: checksums are checked, and nothing but the module itself says how it is built.
_SETTINGS = {
    "GO111MODULE": "on",
    "GOWORK": "off",
    "GOFLAGS": "-buildvcs=false",
    "GOSUMDB": "sum.golang.org",
    "GOPRIVATE": "none",
    "GONOSUMDB": "none",
    "GOINSECURE": "none",
    "CGO_ENABLED": "0",
}


class GoModule(Struct, frozen=True):
    """The source of a program: its path and version as Go names them, and the checksum of its files (``h1:``)."""

    path: str
    version: str
    checksum: str


def build_module(product: str, module: GoModule, cache: Path, report: Report) -> Path:
    """Build ``module`` and put the program into ``cache`` as ``product``, whole or not at all; answers the file.

    Go itself is asked for the module, by the proxy that it is set to. Raises ReleaseError when there is no Go on PATH,
    when the module is another than is pinned, and when it cannot be fetched or built.
    """
    go = shutil.which("go")
    if go is None:
        raise ReleaseError(f"{product} cannot be built without go", f"put go or {product} on PATH")
    facts = {"product": product, "url": f"{module.path}@{module.version}"}
    with tempfile.TemporaryDirectory(prefix="hms-nomad-") as name:
        work = Path(name)
        report(Event("download", f"fetching {module.path} {module.version} by {go}", facts))
        source = _source(go, module, work)
        _settle(go, source, work)
        report(Event("download", f"building {product} from it, which takes some minutes", facts))
        built = work / product
        options = ["-mod=mod", f"-modfile={work / 'go.mod'}", "-trimpath", "-o", str(built)]
        _run([go, "build", *options, "."], source, _BUILD_SECONDS, f"{product} cannot be built")
        return _install(built, cache / product)


def _source(go: str, module: GoModule, work: Path) -> Path:
    """The directory with the module's files, which are just those that are meant."""
    wanted = f"{module.path}@{module.version}"
    done = _run([go, "mod", "download", "-json", wanted], work, _FETCH_SECONDS, f"{wanted} cannot be fetched")
    answer: dict[str, Any] = json.loads(done)
    if answer["Sum"] != module.checksum:
        raise ReleaseError(
            f"{wanted} is not what is meant (it is {answer['Sum']}, meant is {module.checksum})",
            "the proxy that Go asks is not to be trusted",
        )
    return Path(answer["Dir"])


def _settle(go: str, source: Path, work: Path) -> None:
    """Copies of the module's own lists that name published modules where they name directories of its repository."""
    for name in ("go.mod", "go.sum"):
        (work / name).write_bytes((source / name).read_bytes())
    stated = json.loads(_run([go, "mod", "edit", "-json", "go.mod"], work, _FETCH_SECONDS, "go.mod cannot be read"))
    here = [one["Old"]["Path"] for one in stated.get("Replace") or () if "Version" not in one["New"]]
    dropped = [f"-dropreplace={path}" for path in here]
    if dropped:
        _run([go, "mod", "edit", *dropped, "go.mod"], work, _FETCH_SECONDS, "go.mod cannot be changed")


def _run(arguments: list[str], directory: Path, seconds: float, what: str) -> str:
    try:
        done = subprocess.run(
            arguments,
            cwd=directory,
            env=_environment(os.environ),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"{what}: {error}", "put the program on PATH yourself") from None
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or f"go ended with {done.returncode}"
        raise ReleaseError(f"{what}: {words[-500:]}", "put the program on PATH yourself")
    return done.stdout


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    return {**given, **_SETTINGS}


def _install(built: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    temporary = Path(name)
    with contextlib.ExitStack() as undone:
        undone.callback(temporary.unlink, missing_ok=True)
        shutil.copyfile(built, temporary)
        temporary.chmod(0o755)
        temporary.replace(target)
    return target
