"""The environment of this program -> that of a program which it runs: without tokens and passwords that are not for it.

What a child gets, others may read: it hands it on to children of its own, and git runs what a repository tells it to.
"""

from __future__ import annotations

import os
from collections.abc import Collection

SECRET_VARIABLES = frozenset({"NOMAD_TOKEN", "CONSUL_HTTP_TOKEN", "VAULT_TOKEN", "COSIGN_PASSWORD"})
"""The variables by which this program itself is given secrets."""

HELPERS_KEEP = frozenset({"VAULT_TOKEN"})
"""What programs need that fetch a token, a password or a key: Vault may be where they keep it."""


def child_environment(keep: Collection[str] = ()) -> dict[str, str]:
    """The variables for a child; of ``SECRET_VARIABLES`` only those in ``keep``."""
    return {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES or name in keep}
