"""Programs -> a small directory tree with their libraries, which tasks of the ``exec`` driver get as their root.

Nomad links its files into each task's chroot one by one; the driver's default of whole system directories takes
seconds for each task, these few files take milliseconds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.system import attempt
from hms_nomad.patterns import lazy_pattern

PROGRAMS = "/usr/local/bin"
"""Where the programs lie inside the tree."""

SHELL = "/bin/bash"
"""Where bash lies inside the tree."""

_LIBRARY = lazy_pattern(r"(?:=>\s+)?(/\S+)\s+\(0x[0-9a-f]+\)")
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_ETC = {
    "passwd": "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "hosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


def build_rootfs(tree: Path, binaries: Iterable[Binary]) -> None:
    """Fill ``tree`` with the programs, the libraries that they load, accounts and public authorities, and with bash
    where this machine has it: the gateway's script needs it.

    What is there already and of the same size and age stays: running tasks are linked to it.
    """
    programs = [(binary.path, f"{PROGRAMS}/{binary.name}") for binary in binaries]
    if shell := shutil.which("bash"):
        programs.append((Path(shell), SHELL))
    for program, place in programs:
        _place(program, tree / place.lstrip("/"), 0o755)
        for library in libraries(attempt(["ldd", str(program)]) or ""):
            _place(library, tree / str(library).lstrip("/"), 0o755)
    etc = tree / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in _ETC.items():
        (etc / name).write_text(text, encoding="utf-8")
    for authorities in (Path(name) for name in _AUTHORITIES):
        if authorities.is_file():
            _place(authorities, tree / str(authorities).lstrip("/"), 0o644)
    # The kernel's file systems and the task's own directories are mounted over these.
    for name in ("dev", "proc", "sys", "tmp"):
        (tree / name).mkdir(exist_ok=True)


def libraries(ldd: str) -> tuple[Path, ...]:
    """The files that ``ldd`` lists; none for a program that is linked statically."""
    return tuple(Path(match) for match in _LIBRARY.findall(ldd))


def _place(source: Path, target: Path, mode: int) -> None:
    """A copy of ``source``: a link would let a task change the system's own file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    wanted = source.stat()
    try:
        present = target.stat()
    except FileNotFoundError:
        pass
    else:
        if (present.st_size, present.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.chmod(mode)
    os.utime(temporary, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))
    temporary.replace(target)
