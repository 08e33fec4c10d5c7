"""Small specs for tests, in the words of the language."""

from __future__ import annotations

from typing import Any

from hms_nomad.sections.reading import read
from hms_nomad.spec.model import Spec

RECEIPT: dict[str, Any] = {
    "name": "receipt-svc",
    "version": "1.0.0",
    "image": "ghcr.io/gov/receipt:1.0",
    "port": 3000,
    "routes": [{"path": "/receipt", "methods": ["POST"]}],
    "scaling": {"min": 2, "max": 10},
}


def spec(**changes: Any) -> Spec:
    """The chapter's receipt service with some top-level fields changed; None takes a field away."""
    fields = {key: value for key, value in (RECEIPT | changes).items() if value is not None}
    return read(Spec, fields)
