"""How a request leaves an instance through its sidecar, on a real Nomad and on the embedded agent."""

from __future__ import annotations

import requests

from hms_nomad.clients.nomad import NomadClient


def way_out(nomad: NomadClient, allocation: str, upstream: str, address: str) -> tuple[list[str], list[str]]:
    """The command that enters the instance's network, and the options by which ``load.py`` reaches ``upstream`` there.

    ``address`` is the upstream's in the job. The embedded agent gives an instance no network of its own; its sidecar
    listens on a port of the machine instead.
    """
    if not nomad.embedded:
        return ["nsenter", f"--net=/var/run/netns/{allocation}"], [f"--host={address}"]
    found = requests.get(f"{nomad.address}/v1/allocation/{allocation}", timeout=10).json()
    return [], ["--host=127.0.0.1", f"--port={found['Embedded']['Ports'][f'upstream {upstream}']}"]
