from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.rootfs import build_rootfs, libraries

_LDD = """\tlinux-vdso.so.1 (0x00007ffe4a5f2000)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f1b4b7c0000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1b4b5df000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f1b4b8ab000)
\tlibgone.so => not found
"""


def test_the_libraries_and_the_loader_are_read_from_ldd() -> None:
    assert libraries(_LDD) == (
        Path("/lib/x86_64-linux-gnu/libm.so.6"),
        Path("/lib/x86_64-linux-gnu/libc.so.6"),
        Path("/lib64/ld-linux-x86-64.so.2"),
    )
    assert libraries("\tnot a dynamic executable\n") == ()


def test_a_program_runs_inside_the_tree(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may change the root directory")
    true = shutil.which("true")
    assert true is not None

    build_rootfs(tmp_path / "tree", [Binary("true", Path(true), "1")])

    subprocess.run(["chroot", tmp_path / "tree", "/usr/local/bin/true"], check=True)
    if shutil.which("bash"):
        subprocess.run(["chroot", tmp_path / "tree", "/bin/bash", "-c", "exec /usr/local/bin/true"], check=True)


def test_what_runs_already_is_not_replaced_and_the_systems_own_file_not_shared(tmp_path: Path) -> None:
    program = tmp_path / "envoy"
    program.write_bytes(b"one")
    tree = tmp_path / "tree"
    copy = tree / "usr/local/bin/envoy"

    build_rootfs(tree, [Binary("envoy", program, "1")])
    first = copy.stat()
    build_rootfs(tree, [Binary("envoy", program, "1")])
    assert copy.stat() == first
    assert copy.stat().st_ino != program.stat().st_ino
    assert copy.stat().st_mode & 0o777 == 0o755

    program.write_bytes(b"another one")
    build_rootfs(tree, [Binary("envoy", program, "2")])
    assert copy.read_bytes() == b"another one"
    assert {path.name for path in tree.iterdir()} >= {"etc", "proc", "dev", "tmp", "usr"}
    assert [path.name for path in copy.parent.iterdir()] == ["envoy"]
