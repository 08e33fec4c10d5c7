"""What a user sees of a file: the lines of all findings."""

from __future__ import annotations

from hms_nomad.spec.loader import examine

CHAPTER = """\
name: receipt-svc
version: 1.0.0
image: ghcr.io/gov/receipt:1.0
port: 3000
routes:
  - path: /receipt
    methods: [POST]
scaling:
  min: 2        # keep two pods alive
  max: 10
"""
"""The file of chapter 12, section 3.2, as it stands."""

FILE = "receipt.hms.yml"


def lines(text: str | bytes, file: str = FILE) -> list[str]:
    """Every error of a file as it is printed; warnings and notes are left out."""
    return [str(one) for one in examine(text, file).diagnostics if one.level == "error"]


def line(text: str | bytes, file: str = FILE) -> str:
    """The only error of a file."""
    found = lines(text, file)
    assert len(found) == 1, found
    return found[0]
