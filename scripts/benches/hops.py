"""B12 and B13: what a request pays on its way through our mesh and our gateway, beside hand-written ones.

The hand-written side is what Nomad's and Consul's own guides lead to: a job with a ``connect`` block and an upstream,
an intention, and Consul's own API gateway. Both sides run the same service, on the same node, with the same Envoy.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil
from msgspec.structs import replace
from zero_loss.ways import run_job
from zero_loss.world import World, quiet, running_world

from hms_nomad.platform.model_proxies import Gateway
from hms_nomad.workflows.platform.jobs import GATEWAY, install

from .figures import Figure, Goal

ENDS = Path(__file__).with_name("hop_ends.py")
GATEWAY_JOB = Gateway().name
OURS, BY_HAND, GATE = "hop", "hop-by-hand", "gate-by-hand"
PATH = "/work"
_PORT, _HAND_PORT, _GATE_PORT, _OUR_GATE_PORT = 3000, 9191, 8191, 8190
_PAIRS, _REQUESTS = 50, 200
_RATE_PAIRS, _RATE_REQUESTS, _RATE_CONNECTIONS = 20, 1000, 16
_RESAMPLES = 2000
_SECONDS = 60.0

Ask = Callable[[int, int], dict[str, float]]


def hops(blocks: int) -> list[Figure]:
    """Both; ``blocks`` times the least number of pairs. Short runs, so that a slow moment falls on both sides."""
    with running_world(None, 0) as world:
        _our_side(world)
        _hand_side(world)
        address = world.session.nomad.ready_nodes()[0].attributes["unique.network.ip-address"]
        with ExitStack() as stack:
            ours = stack.enter_context(_caller(_namespace(world, f"{OURS}-caller"), "127.0.1.1", 80))
            peer = stack.enter_context(_caller(_namespace(world, f"{BY_HAND}-caller"), "127.0.0.1", _HAND_PORT))
            limit = stack.enter_context(_caller(_namespace(world, OURS), "127.0.0.1", _PORT))
            _answering(ours, peer, limit)
            hop = (_counted(ours, OURS, f"{OURS}-caller"), _counted(peer, BY_HAND, f"{BY_HAND}-caller"))
            mesh = _pairs(_PAIRS * blocks, _REQUESTS, 1, *hop)
            bare = [limit(_REQUESTS, 1) for _ in range(3)]
            front = stack.enter_context(_caller("", address, _OUR_GATE_PORT))
            other = stack.enter_context(_caller("", address, _GATE_PORT))
            _answering(front, other)
            way = (_counted(front, GATEWAY_JOB), _counted(other, GATE))
            gates = _pairs(_RATE_PAIRS * blocks, _RATE_REQUESTS, _RATE_CONNECTIONS, *way)
    peers = "a hand-written Connect job", "a hand-made api-gateway of Consul"
    bound = "the service itself, without proxies"
    return [
        _figure("B12", "mesh hop, p50", "p50_ms", mesh, peers[0], Goal("ours/peer", at_most=1.05), bare, bound),
        _figure("B12", "mesh hop, p99", "p99_ms", mesh, peers[0], Goal("ours/peer", at_most=1.05), bare, bound),
        _figure("B12", "mesh hop, CPU of its two sidecars a request", "cpu_ms", mesh, peers[0]),
        _figure("B13", "gateway, requests a second", "rate", gates, peers[1], Goal("ours/peer", at_least=0.9)),
        _figure("B13", "gateway, its CPU a request", "cpu_ms", gates, peers[1]),
    ]


def _figure(
    bench: str,
    what: str,
    key: str,
    pairs: Sequence[tuple[dict[str, float], dict[str, float]]],
    peer: str,
    goal: Goal | None = None,
    bare: Sequence[dict[str, float]] = (),
    bound: str = "",
) -> Figure:
    ours, theirs = [one[key] for one, _ in pairs], [other[key] for _, other in pairs]
    if goal is None:
        # The kernel counts a process's time in steps that are long beside one run.
        mean = {"ours": [statistics.mean(ours)], "peer": [statistics.mean(theirs)]}
        return Figure(bench, what, "ms", mean, peer, notes=["the mean of all runs"])
    least, most = interval([one / other for one, other in zip(ours, theirs, strict=True)])
    values: dict[str, Sequence[float]] = {"ours": ours, "peer": theirs}
    if bare:
        values["limit"] = [one[key] for one in bare]
    note = f"95 % interval of the ratio's median: {least:.3f} to {most:.3f}, of {len(pairs)} pairs"
    return Figure(bench, what, "1/s" if key == "rate" else "ms", values, peer, bound, [goal], [note])


def interval(ratios: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """The bounds between which the median of such ratios lies in 95 of 100 runs, by drawing them again and again."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES))
    return medians[_RESAMPLES * 25 // 1000], medians[_RESAMPLES * 975 // 1000 - 1]


def _pairs(
    pairs: int, requests: int, connections: int, ours: Ask, peer: Ask
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Runs of both in turns; who comes first changes with each pair."""
    found = []
    for number in range(max(1, pairs)):
        if number % 2:
            theirs = peer(requests, connections)
            found.append((ours(requests, connections), theirs))
        else:
            mine = ours(requests, connections)
            found.append((mine, peer(requests, connections)))
    return found


def _counted(ask: Ask, *jobs: str) -> Ask:
    """The same, with the milliseconds of CPU that the proxies of these jobs took for each request."""
    proxies = [one for one in psutil.process_iter() if _is_proxy(one, jobs)]

    def counted(requests: int, connections: int) -> dict[str, float]:
        before = _seconds(proxies)
        figures = ask(requests, connections)
        return {**figures, "cpu_ms": (_seconds(proxies) - before) * 1000 / requests}

    return counted


def _is_proxy(process: psutil.Process, jobs: Sequence[str]) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "envoy" and process.environ().get("NOMAD_JOB_NAME") in jobs
    return False


def _seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


def _our_side(world: World) -> None:
    """The service and its caller as specs, and the platform's gateway as it comes."""
    command = [sys.executable, str(ENDS), "serve"]
    routes = [{"path": PATH, "methods": ["GET"], "public": True}]
    one = {"min": 1, "max": 1}
    platform = world.platform.changed(gateway=Gateway(port=_OUR_GATE_PORT))
    world.platform, world.session = platform, replace(world.session, platform=platform)
    install(world.session, GATEWAY, _SECONDS, quiet)
    shared = {"version": "1.0.0", "command": command, "port": _PORT, "scaling": one, "mesh": None, "env": None}
    world.must_deploy(world.spec(OURS, **shared, routes=routes, allow=[f"{OURS}-caller"]))
    world.must_deploy(world.spec(f"{OURS}-caller", **shared, uses=[OURS]))


def _hand_side(world: World) -> None:
    """The same two as one writes them by hand, and Consul's own gateway before them."""
    consul = world.session.consul
    sources = [{"Name": name, "Action": "allow"} for name in (f"{BY_HAND}-caller", GATE)]
    listener = {"Name": "http", "Port": _GATE_PORT, "Protocol": "http"}
    rule = {
        "Matches": [{"Method": "GET", "Path": {"Match": "prefix", "Value": PATH}}],
        "Services": [{"Name": BY_HAND}],
    }
    for body in (
        {"Kind": "service-defaults", "Name": BY_HAND, "Protocol": "http"},
        {"Kind": "service-intentions", "Name": BY_HAND, "Sources": sources},
        {"Kind": "api-gateway", "Name": GATE, "Listeners": [listener]},
        {"Kind": "http-route", "Name": BY_HAND, "Parents": [{"Kind": "api-gateway", "Name": GATE}], "Rules": [rule]},
    ):
        consul.write_entry(body, 0)
    upstream = {"DestinationName": BY_HAND, "LocalBindPort": _HAND_PORT, "LocalBindAddress": "127.0.0.1"}
    run_job(world, _job(world, BY_HAND, {"Config": {"protocol": "http"}}))
    run_job(world, _job(world, f"{BY_HAND}-caller", {"Upstreams": [upstream]}))
    run_job(world, _gate(world))


def _job(world: World, name: str, proxy: dict[str, Any]) -> dict[str, Any]:
    """A job with a sidecar, with nothing in it that the guides do not have."""
    sidecar = world.platform.sidecar
    arguments = ["-c", "${NOMAD_SECRETS_DIR}/envoy_bootstrap.json", "-l", "info", "--concurrency", "1"]
    check = {"Name": "alive", "Type": "http", "Path": "/health", "Interval": 10**9, "Timeout": 10**9, "Expose": True}
    service = {
        "Name": name,
        "PortLabel": str(_PORT),
        "Checks": [check],
        "Connect": {
            "SidecarService": {"Proxy": proxy},
            "SidecarTask": {
                "Driver": sidecar.driver,
                "Config": {"command": sidecar.command, "args": [*arguments, "--disable-hot-restart"]},
                "Resources": {"CPU": sidecar.cpu, "MemoryMB": sidecar.memory},
                **({"User": "root"} if sidecar.driver == "raw_exec" else {}),
            },
        },
    }
    task = {
        "Name": "app",
        "Driver": "raw_exec",
        "Config": {"command": sys.executable, "args": [str(ENDS), "serve"]},
        "Env": {"PORT": str(_PORT)},
        "Resources": {"CPU": 50, "MemoryMB": 64},
    }
    group = {"Name": "app", "Networks": [{"Mode": "bridge"}], "Services": [service], "Tasks": [task]}
    return _whole(name, group)


def _gate(world: World) -> dict[str, Any]:
    """Consul's own gateway, started by Consul's own command."""
    consul = urlsplit(world.platform.consul.address)
    grpc = "127.0.0.1:${attr.consul.grpc}"
    words = ["connect", "envoy", "-gateway", "api", "-register", "-service", GATE]
    words += ["-address", f"${{attr.unique.network.ip-address}}:{_GATE_PORT}", "-admin-bind", "127.0.0.1:19191"]
    words += ["-http-addr", consul.geturl(), "-grpc-addr", f"http://{grpc}", "-ignore-envoy-compatibility"]
    task = {
        "Name": "envoy",
        "Driver": "raw_exec",
        "Config": {"command": "consul", "args": [*words, "--", "-l", "warning"]},
        "Resources": {"CPU": 200, "MemoryMB": 128},
    }
    return _whole(GATE, {"Name": "gate", "Tasks": [task]})


def _whole(name: str, group: dict[str, Any]) -> dict[str, Any]:
    return {"ID": name, "Name": name, "Type": "service", "Datacenters": ["*"], "TaskGroups": [{"Count": 1, **group}]}


def _namespace(world: World, job: str) -> str:
    """The network namespace of a job's only instance."""
    running = [one for one in world.session.nomad.job_allocations(job).value if one.client_status == "running"]
    return f"/var/run/netns/{running[0].id}"


@contextmanager
def _caller(namespace: str, host: str, port: int) -> Iterator[Ask]:
    """A caller inside a network namespace, or in the node's own network."""
    inside = ["nsenter", f"--net={namespace}"] if namespace else []
    words = [*inside, sys.executable, str(ENDS), "ask", host, str(port), PATH]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = _streams(process)

        def ask(requests: int, connections: int) -> dict[str, float]:
            stdin.write(f"{requests} {connections}\n")
            stdin.flush()
            figures: dict[str, Any] = json.loads(stdout.readline())
            if "error" in figures:
                raise RuntimeError(f"{host}:{port}: {figures['error']}")
            return figures

        try:
            yield ask
        finally:
            stdin.close()


def _streams(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _answering(*callers: Ask) -> None:
    """Until each of them is answered: sidecars and gateways take their configuration in their own time."""
    deadline = time.monotonic() + _SECONDS
    for ask in callers:
        while True:
            try:
                ask(200, 4)
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
