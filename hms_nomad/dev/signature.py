"""Text, detached signature and key -> certainty that the owner of one fingerprint signed, or a refusal. Uses GnuPG.

GnuPG does the arithmetic: every Linux distribution carries it, and its status lines say whose primary key signed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from hms_nomad.dev.errors import ReleaseError

_SECONDS = 60.0


def verify(text: bytes, signature: bytes, key: bytes, fingerprint: str, what: str) -> None:
    """Refuse ``text`` unless the primary key with ``fingerprint`` (40 hex digits) signed it, itself or by a subkey.

    ``key`` is trusted for nothing but its fingerprint. Raises ReleaseError when the signature is not that key's, is
    broken or expired, and when there is no GnuPG on this machine.
    """
    program = shutil.which("gpg")
    if program is None:
        raise ReleaseError(
            f"the signature of {what} cannot be verified without gpg",
            "install GnuPG (Debian: apt-get install gnupg), or put the programs on PATH",
        )
    # A directory of its own, short because GnuPG's sockets lie in it: the user's keys and settings stay out.
    with tempfile.TemporaryDirectory(prefix="hms-gpg-") as name:
        home = Path(name)
        files = {"text": text, "signature": signature, "key": key}
        for file, content in files.items():
            (home / file).write_bytes(content)
        base = [program, "--batch", "--no-options", "--no-autostart", "--homedir", name, "--status-fd", "1"]
        _run([*base, "--import", str(home / "key")], what)
        status = _run([*base, "--verify", str(home / "signature"), str(home / "text")], what)
    _judge(status, fingerprint, what)


def _run(arguments: list[str], what: str) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"gpg did not judge the signature of {what} in {_SECONDS:g} s", "try again") from None
    return done.stdout


def _judge(status: str, fingerprint: str, what: str) -> None:
    """One good signature by the right key, and nothing bad beside it (GnuPG, doc/DETAILS, "VALIDSIG")."""
    rows = [line.removeprefix("[GNUPG:] ").split() for line in status.splitlines() if line.startswith("[GNUPG:] ")]
    words = {row[0] for row in rows if row}
    signers = {row[-1].upper() for row in rows if row and row[0] == "VALIDSIG"}
    bad = words & {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"}
    if not bad and "GOODSIG" in words and signers == {fingerprint.upper()}:
        return
    if bad:
        found = f"gpg says {', '.join(sorted(bad))}"
    elif signers:
        found = f"it was made by {', '.join(sorted(signers))}"
    else:
        found = "there is no signature that can be verified"
    raise ReleaseError(
        f"{what} is not signed by the key {fingerprint}: {found}",
        "nothing was installed; check the source, or put the programs on PATH yourself",
    )
