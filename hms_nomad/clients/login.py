"""What servers answer to whoever proves an identity: a token for some time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Login:
    """A token that a server gave for an identity; it never shows in a ``repr``.

    ``seconds`` is how long it holds, 0 for one that does not end; ``rights`` are names of policies and roles.
    """

    token: str = field(repr=False)
    accessor: str
    rights: tuple[str, ...]
    seconds: float


def seconds_until(moment: str | None) -> float:
    """Seconds from now until a time as ISO 8601 writes it, at least 1; 0 for none."""
    if not moment or moment.startswith("0001-"):
        return 0.0
    # Servers give more digits of a second than Python reads.
    plain = moment.partition(".")[0].rstrip("Z")
    return max(1.0, (datetime.fromisoformat(plain).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
