"""B7 and B15: real deploys on a stack of this machine, their own share, and their calls."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil
import urllib3
from zero_loss.world import World, quiet, running_world

from hms_nomad.apply.progress import Event
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.compile import compile_spec
from hms_nomad.sections.section import as_data
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.deploying.deploy import DeployOptions
from hms_nomad.workflows.deploying.stop import StopOptions, stop
from hms_nomad.workflows.deploying.waves import AT_ONCE, deploy_all
from hms_nomad.workflows.specs import SpecFile

from .figures import Figure, Goal, command, ours, plain_environment

WAITING_SECONDS = 60.0
OFTEN = {"path": "/health", "interval": "2s", "timeout": "1s"}
"""A check as most services have it."""

_TURNS = 3


def deploys(blocks: int) -> list[Figure]:
    """B7 and B15."""
    with running_world(None, 0) as world:
        return [*_one_service(world, blocks), *_waiting(world)]


def _one_service(world: World, blocks: int) -> list[Figure]:
    seconds: dict[str, list[float]] = {"ours": [], "peer": [], "limit": []}
    above: dict[str, list[float]] = {"ours": [], "peer": []}
    environment = plain_environment(
        NOMAD_ADDR=world.platform.nomad.address,
        HMS_NOMAD_CONFIG_DIR=os.environ["HMS_NOMAD_CONFIG_DIR"],
        HMS_NOMAD_CONTEXT=world.platform.name,
    )
    with TemporaryDirectory(prefix="bench-deploy-") as name:
        # A deployment's length varies by the moment of its first check: more turns than blocks tell the ratio.
        for block in range(_TURNS * blocks):
            mine, by_hand = _written(Path(name), world, f"ours-{block}"), _written(Path(name), world, f"peer-{block}")
            words = {
                "ours": partial(ours, environment, "deploy", str(mine[0]), "--quiet"),
                "peer": partial(command, ["nomad", "job", "run", "-json", str(by_hand[1])], environment),
            }
            # One plans first; and a system that takes back what was idle for some seconds would measure its disk.
            plans = {
                "ours": partial(ours, environment, "plan", str(mine[0]), "--quiet", codes=(0, 1)),
                "peer": partial(command, ["nomad", "job", "plan", "-json", str(by_hand[1])], environment, codes=(0, 1)),
            }
            for column in ("ours", "peer") if block % 2 else ("peer", "ours"):
                plans[column]()
                started = time.perf_counter()
                words[column]()
                seconds[column].append(time.perf_counter() - started)
                above[column].append(seconds[column][-1] - _deployment_seconds(world, f"{column}-{block}"))
            seconds["limit"].append(seconds["ours"][-1] - above["ours"][-1])
            stop(world.session, f"ours-{block}", StopOptions(), quiet)
            command(["nomad", "job", "stop", "-purge", f"peer-{block}"], environment)
    return [
        Figure(
            "B7",
            "one service, deploy to healthy",
            "s",
            seconds,
            "nomad job run of the same job",
            "Nomad's own deployment",
            [Goal("ours/peer", at_most=1.05)],
        ),
        Figure(
            "B7",
            "share above Nomad's own deployment",
            "s",
            above,
            "nomad job run of the same job",
            goals=[Goal("ours", at_most=0.4)],
        ),
    ]


def _written(folder: Path, world: World, name: str) -> tuple[Path, Path]:
    """The spec of a service, and the job that one would write by hand for it."""
    spec = world.spec(name, version="1.0.0", scaling={"min": 2, "max": 4}, health=OFTEN)
    body = as_data(spec, defaults=False)
    file, job = folder / f"{name}.hms.json", folder / f"{name}-job.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    job.write_text(json.dumps({"Job": dict(compile_spec(spec, world.platform).job)}), encoding="utf-8")
    return file, job


def _deployment_seconds(world: World, name: str) -> float:
    """How long Nomad's own deployment took, by the times that it keeps."""
    rows = asked(world.platform.nomad.address, f"/v1/job/{name}/deployments")
    newest = max(rows, key=lambda row: row["JobVersion"])
    return (newest["ModifyTime"] - newest["CreateTime"]) / 1e9


def _waiting(world: World) -> list[Figure]:
    """B15: as many services as are deployed at once, none of which gets healthy.

    Calls are counted from the moment on at which all have nothing left to do but wait.
    """
    files = [SpecFile(f"waits-{number}", _never_healthy(world, f"waits-{number}")) for number in range(AT_ONCE)]
    connections: list[int] = []
    over = threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not over.wait(0.5):
            found = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
            connections.append(max(Counter(one.raddr for one in found).values(), default=0))

    waiting: set[str] = set()
    begun: list[tuple[int, float]] = []

    with _counted() as calls:

        def heard(event: Event) -> None:
            if "deployment" in event.data:
                waiting.add(event.data["allocation"])
            if len(waiting) == len(files) and not begun:
                begun.append((calls.total(), time.perf_counter()))

        threading.Thread(target=watch, daemon=True).start()
        options = DeployOptions(timeout=WAITING_SECONDS)
        with suppress(DeadlineExceededError):
            deploy_all(world.session, files, lambda _: options, heard, lambda _: None)
        made, since = begun[0]
        found = calls.total() - made
        minutes = (time.perf_counter() - since) / 60
        over.set()
    for file in files:
        stop(world.session, file.spec.name, StopOptions(), quiet)
    a_minute = found / minutes / len(files)
    return [
        Figure(
            "B15",
            f"calls a service and minute, {len(files)} services waiting",
            "",
            {"ours": [a_minute]},
            goals=[Goal("ours", at_most=10)],
            notes=[f"{AT_ONCE} is how many of a fleet wait at once, however large it is"],
        ),
        Figure(
            "B15",
            "connections to one server, at most",
            "",
            {"ours": [max(connections)]},
            goals=[Goal("ours", at_most=16)],
        ),
    ]


def _never_healthy(world: World, name: str) -> Spec:
    return world.spec(name, version="1.0.0", command=["/bin/sleep", "600"], scaling={"min": 1, "max": 2})


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Counts the requests of this process by method."""
    found: Counter[str] = Counter()
    send = urllib3.HTTPConnectionPool.urlopen

    def counted(self: Any, method: str, *given: Any, **named: Any) -> Any:
        found[method] += 1
        return send(self, method, *given, **named)

    urllib3.HTTPConnectionPool.urlopen = counted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        urllib3.HTTPConnectionPool.urlopen = send  # type: ignore[method-assign]


def asked(address: str, path: str) -> Any:
    """What a server answers, as JSON."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read() or b"null")
    finally:
        connection.close()
