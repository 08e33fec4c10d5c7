"""A directory -> an authority of one's own that signs certificates for 127.0.0.1, made with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.binaries import binary

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and of its key, in PEM."""

    certificate: str
    key: str


class Authority:
    """Signs certificates; ``file`` is its own, in PEM."""

    def __init__(self, directory: Path) -> None:
        """Everything is kept in ``directory``, which is made."""
        directory.mkdir(parents=True)
        self._directory = directory
        self.file = str(directory / "ca.pem")
        self._key = str(directory / "ca.key")
        _openssl(
            "req",
            "-x509",
            *_KEY,
            "-nodes",
            "-keyout",
            self._key,
            "-out",
            self.file,
            "-days",
            "2",
            "-subj",
            "/CN=an authority",
            # What Python checks strictly from version 3.13 on.
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        )

    def issue(
        self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2, password: str | None = None
    ) -> Pair:
        """A certificate called ``name`` for ``names``, valid for ``days`` from now (below 0: expired).

        ``password`` locks its key.
        """
        lock = ("-nodes",) if password is None else ("-passout", f"pass:{password}")
        key, request, certificate = (str(self._directory / f"{name}.{end}") for end in ("key", "csr", "pem"))
        _openssl(
            *("req", *_KEY, *lock, "-keyout", key, "-out", request, "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={names}"),
        )
        strict = self._directory / "strict.cnf"
        strict.write_text("authorityKeyIdentifier = keyid\n", encoding="ascii")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial"),
            *("-out", certificate, "-days", str(days), "-copy_extensions", "copy", "-extfile", str(strict)),
        )
        return Pair(certificate, key)


def _openssl(*arguments: str) -> None:
    subprocess.run([binary("openssl"), *arguments], check=True, capture_output=True, timeout=60)
