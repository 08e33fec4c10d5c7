"""What servers, drivers and sidecars say when something fails -> the code of its cause, as far as it is known."""

from __future__ import annotations

import re
from collections.abc import Mapping

# The first that matches counts, so the narrower stand first. Texts of Nomad 1.9 to 2.0, Consul 1.20, Envoy 1.36,
# Docker and OpenBao, seen or read in their sources.
_ANSWERS: Mapping[str, tuple[str, ...]] = {
    "D602": (r"DataSource cannot be empty",),
    "D611": (r"Envoy version \S+ is (not|too)", r"unsupported Envoy version", r"envoy-compatibility"),
    "D612": (r"consulDNSIP required",),
    "D606": (r"oom[ -]?kill", r"out of memory"),
    "D608": (
        r"failed to (log ?in|authenticate|derive).*consul",
        r"consul.*(acl login|auth method|ACL not found|login failed)",
        r"auth method \S+ not found",
        r"ACL not found",
    ),
    "D609": (
        r"failed to derive vault token",
        r"vault.*(permission denied|invalid role|could not be found|deriv)",
        r"error validating claims",
        r"role .* could not be found",
        r"failed to login with JWT",
    ),
    "D601": (r"envoy_bootstrap", r"bootstrap configuration for Connect", r"bootstrap Envoy"),
    "D610": (r"no secret exists at", r"missing: (vault|nomad\.var)"),
    "D603": (
        r"failed to (find plugin|setup alloc).*(network|plugin)",
        r"plugin type=\S+ failed",
        r"failed to configure network",
    ),
    "D616": (
        r"failed to pull.*(unauthorized|no basic auth|authentication required|access to the resource is denied)",
        r"failed to pull.*(401|auth config file|docker-credential-)",
    ),
    "D604": (
        r"failed to pull",
        r"manifest unknown",
        r"pull access denied",
        r"no such image",
        r"image .* not found",
        r"repository does not exist",
    ),
    "D605": (r"executable file not found", r"file not found under path", r"failed to launch command"),
    "D607": (r"missing (drivers|network|compatible)", r"is exhausted on", r"fail constraint", r"no node .* for work"),
    "D613": (r"failed to (create|start) container", r"docker.*(error|denied)"),
    "D614": (r"\bcheck\b.* is (critical|warning)",),
    "D615": (r"Exit Code: [1-9]",),
}


def decoded(text: str) -> str:
    """The code that a bad answer stands for, or that of "not healthy" for one that nobody knows."""
    how = re.IGNORECASE | re.DOTALL
    return next((code for code, known in _ANSWERS.items() if re.search("|".join(known), text, how)), "D600")
