"""B21: what it costs to find out which digest a tag stands for, and whether a trusted key signed it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.building.signatures import read_signing_key
from hms_nomad.workflows.planning.pins import pinned
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.specs import SpecFile
from tests.registry_server import image_registry
from tests.signed_images import key_pair, push_smallest, registry_session, trusting

from .figures import Figure, Goal, command, milliseconds, plain_environment

_TURNS = 15
_FLEET = 40
_IMAGE = "receipt"


def images() -> list[Figure]:
    """One image and a fleet's, in a registry of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with image_registry(folder / "registry") as host:
            tags = [f"1.{number}" for number in range(_FLEET)]
            client = RegistryClient(Connection(f"http://{host}"))
            for tag in tags:
                push_smallest(client, folder, _IMAGE, tag, t=tag)
            client.close()
            one = _spec(host, tags[0])
            fleet = [_spec(host, tag) for tag in tags]
            plain, strict = registry_session(host), registry_session(host, trusting(folder, "bench"))
            key = read_signing_key(str(key_pair(folder, "bench")))
            signed = (SpecFile("bench.hms.yml", one),)
            prepare(strict, signed, lambda _: None, build=False, key=key)
            pins = pinned(plain, [one])
            found = milliseconds(
                {
                    "fresh": _timed(lambda: pinned(plain, [one])),
                    "limit": _timed(lambda: _head(host, tags[0])),
                    "known": _timed(lambda: pinned(plain, [one], pins)),
                    "fleet": _timed(lambda: pinned(plain, fleet)),
                    "signed": _timed(lambda: prepare(strict, signed, lambda _: None, build=False)),
                }
            )
            peer = _timed(lambda: _by_docker(host, tags[0])) if shutil.which("docker") else []
    values = {"ours": found["fresh"], "limit": found["limit"], "peer": milliseconds({"": peer})[""]}
    return [
        Figure(
            "B21",
            "digest of a tag",
            "ms",
            {column: of for column, of in values.items() if of},
            "docker manifest inspect",
            "one bare HEAD",
            [Goal("ours", at_most=60)],
        ),
        Figure("B21", "the same, already known", "ms", {"ours": found["known"]}, goals=[Goal("ours", at_most=1)]),
        Figure("B21", "digest of a tag, and its signature", "ms", {"ours": found["signed"]}),
        Figure("B21", f"digests of {_FLEET} tags", "ms", {"ours": found["fleet"], "limit": found["limit"]}),
    ]


def _timed(work: Callable[[], object]) -> list[float]:
    work()
    found = []
    for _ in range(_TURNS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def _spec(host: str, tag: str) -> Spec:
    return Spec(name=f"svc-{tag.replace('.', '-')}", version=f"{tag}.0", image=f"{host}/{_IMAGE}:{tag}", port=3000)


def _head(host: str, tag: str) -> None:
    request = Request(f"http://{host}/v2/{_IMAGE}/manifests/{tag}", method="HEAD", headers={"Accept": OCI_MANIFEST})
    with urlopen(request, timeout=10) as answer:
        answer.read()


def _by_docker(host: str, tag: str) -> None:
    command(["docker", "manifest", "inspect", "--insecure", f"{host}/{_IMAGE}:{tag}"], plain_environment())
