"""A key that cosign holds -> signatures: the program makes them, and the key stays where cosign keeps it.

https://docs.sigstore.dev/cosign/key_management/overview/: a file of ``cosign generate-key-pair``, or a reference such
as hashivault://NAME. Nothing is sent to a transparency log.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field

from hms_nomad.build.errors import KeyFileError, SigningError
from hms_nomad.build.signing import PublicKey, public_key
from hms_nomad.clients.children import HELPERS_KEEP, child_environment

_SECONDS = 60.0
_MARKS = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")


@dataclass(frozen=True, slots=True)
class CosignKey:
    """A key by the name that cosign knows it by, and the program; ``public`` was asked for once."""

    program: str
    name: str
    public: PublicKey = field(repr=False)

    def sign(self, payload: bytes) -> str:
        """The signature in Base64. Raises SigningError with cosign's last words."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(payload)
            file.flush()
            words = ["sign-blob", "--key", self.name, "--tlog-upload=false", "--yes", file.name]
            return _said(self.program, words, self.name).decode().strip()


def is_cosigns(reference: str, content: bytes) -> bool:
    """Whether only cosign can use a key: its own form of a file, or a place that it knows."""
    return "://" in reference or any(mark in content for mark in _MARKS)


def cosign_key(reference: str) -> CosignKey:
    """The key that cosign knows by a name. Raises KeyFileError where there is none, or no such key."""
    program = shutil.which("cosign")
    if program is None:
        raise KeyFileError(
            f"the key {reference} is of cosign's own kind, and no cosign is on PATH; a key in plain PEM needs none"
        )
    try:
        pem = _said(program, ["public-key", "--key", reference], reference)
    except SigningError as error:
        raise KeyFileError(str(error)) from None
    return CosignKey(program, reference, public_key(pem, reference))


def _said(program: str, words: list[str], name: str) -> bytes:
    """What cosign answers. The password comes to it by COSIGN_PASSWORD, never by an argument.

    Without that it would take its standard input for one, so it has none.
    """
    nothing, given = subprocess.DEVNULL, child_environment({*HELPERS_KEEP, "COSIGN_PASSWORD"})
    try:
        done = subprocess.run(
            [program, *words], env=given, stdin=nothing, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SigningError(f"cosign did not sign with {name} within {_SECONDS:g} s") from None
    except OSError as error:
        raise SigningError(f"cosign cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()] or ["no reason"]
        reason = next((line for line in reversed(lines) if line.startswith("Error")), lines[-1])
        raise SigningError(f"cosign cannot use the key {name}: {reason.removeprefix('Error: ')}")
    return done.stdout
