"""The image that holds a container group's network: one program that does nothing, made here and never pulled.

Nomad's docker driver starts such a container for every allocation in a bridge network. Its usual image comes from a
registry; a machine without a way there can still run a stack.
"""

from __future__ import annotations

import io
import platform
import struct
import tarfile

from hms_nomad.dev.engine import Engine, build_image, has_image

_DOCKERFILE = b"""FROM scratch
COPY pause /pause
ENTRYPOINT ["/pause"]
STOPSIGNAL SIGKILL
"""
# The whole program: wait for a signal, for ever. Process 1 of a container has no default signal handlers.
_CODE = {
    # mov eax, 34 (pause); syscall; jmp back
    "x86_64": bytes.fromhex("b8220000000f05ebf7"),
    # mov x0..x4, #0; mov x8, #73 (ppoll); svc #0; b back
    "aarch64": b"".join(
        struct.pack("<I", word)
        for word in (0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800004, 0xD2800928, 0xD4000001, 0x17FFFFF9)
    ),
}
_ELF_MACHINE = {"x86_64": 62, "aarch64": 183}
_LOAD_ADDRESS = 0x400000
_FILE_HEADER = 64
_PROGRAM_HEADER = 56


def image_name(slot: int) -> str:
    """Name of the image of the stack in a slot, which no other stack on this machine removes.

    Its tag is not "latest", so the engine never looks for a newer one; and were it gone, the engine would ask nobody
    but a port of this machine where nothing listens.
    """
    return f"127.0.0.1:1/hms-nomad/pause:{slot}"


def ensure_image(engine: Engine, image: str) -> bool:
    """Make the image where the engine lacks it; False on a machine that we have no program for."""
    if platform.machine() not in _CODE:
        return False
    if not has_image(engine, image):
        build_image(engine, image, _context(program(platform.machine())))
    return True


def program(machine: str) -> bytes:
    """A complete ELF executable for ``machine`` (x86_64, aarch64) that waits without using processor time."""
    code = _CODE[machine]
    size = _FILE_HEADER + _PROGRAM_HEADER + len(code)
    entry = _LOAD_ADDRESS + _FILE_HEADER + _PROGRAM_HEADER
    # Elf64_Ehdr: 64-bit, little endian, version 1; executable; one program header right behind this one.
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack(
            "<HHIQQQIHHHHHH",
            2,
            _ELF_MACHINE[machine],
            1,
            entry,
            _FILE_HEADER,
            0,
            0,
            _FILE_HEADER,
            _PROGRAM_HEADER,
            1,
            0,
            0,
            0,
        )
    )
    # Elf64_Phdr: load the whole file, readable and executable.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + code


def _context(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, body, mode in (("Dockerfile", _DOCKERFILE, 0o644), ("pause", content, 0o755)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(body), mode
            archive.addfile(member, io.BytesIO(body))
    return stream.getvalue()
