"""How long a plan of many services takes when nothing is to do, beside what one would run instead, in one run.

    python scripts/bench_plan.py [--services 500] [--blocks 3] [--output json]

Starts a Consul and a Nomad whose node takes no work, deploys the services detached, and then measures, interleaved
block by block: `hms-nomad plan DIR` as a process (ours), `nomad job plan` once a service (the peer, which knows the
job alone and none of Consul's entries), and the HTTP calls that compare everything without any program around them:
the lists of Consul and Nomad, and each job (the limit). Ours makes fewer where it knows that nobody wrote a job since
it was registered. What counts are the ratios; seconds depend on the machine. Then it counts calls, and the
registrations when five services changed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import urllib3  # noqa: E402

from hms_nomad.compile import compile_spec  # noqa: E402
from hms_nomad.platform.model import Platform, ServerAddress  # noqa: E402
from hms_nomad.workflows.planning.plan import plan  # noqa: E402
from hms_nomad.workflows.session import open_session  # noqa: E402
from hms_nomad.workflows.specs import read_specs  # noqa: E402
from tests.contract.consul_server import consul_process  # noqa: E402
from tests.contract.nomad_server import nomad_with_acls  # noqa: E402

KINDS = ("defaults", "resolver", "splitter", "router", "intentions")
AT_ONCE = 8
CHANGED = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--output", choices=["text", "json"], default="text")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-plan-"))
    for name in ("consul", "nomad", "specs", "jobs"):
        (directory / name).mkdir()
    try:
        with consul_process(directory / "consul") as consul, nomad_with_acls(directory / "nomad") as nomad:
            found = measure(directory, consul.address, nomad.address, nomad.token, given.services, given.blocks)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(found, indent=2) if given.output == "json" else as_text(found))
    return 0


def measure(
    directory: Path, consul: str, nomad: str, token: str, services: int, blocks: int, asked: int | None = None
) -> dict:
    """The peer is asked about ``asked`` of the services, and what it took is told of all: each is a process alike."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOMAD_", "CONSUL_", "HMS_"))}
    environment = {
        **kept,
        "NOMAD_ADDR": nomad,
        "NOMAD_TOKEN": token,
        "CONSUL_HTTP_ADDR": consul,
        "HMS_NOMAD_CONFIG_DIR": str(directory / "config"),
        "PYTHONPATH": str(ROOT),
    }
    os.environ |= {"NOMAD_TOKEN": token}
    where = Platform(nomad=ServerAddress(address=nomad), consul=ServerAddress(address=consul))
    specs, jobs = directory / "specs", directory / "jobs"
    for number in range(services):
        write_spec(specs, number)
    for file in read_specs([str(specs)]):
        job = compile_spec(file.spec, where).job
        (jobs / f"{file.spec.name}.json").write_text(json.dumps({"Job": job}), encoding="utf-8")
    run_ours(environment, "deploy", str(specs), "--detach", "--quiet")
    names = sorted(file.stem for file in jobs.iterdir())

    some = names[:asked]
    times: dict[str, list[float]] = {"ours": [], "peer": [], "limit": []}
    for _ in range(blocks):
        times["ours"].append(timed(lambda: run_ours(environment, "plan", str(specs), "--detailed", "summary")))
        times["peer"].append(timed(lambda: run_peer(environment, jobs, some)) * len(names) / len(some))
        times["limit"].append(timed(lambda: bare_calls(nomad, token, consul, names)))
    calls = {str(count): count_calls(where, specs, count) for count in (services, max(2, services // 10))}
    before = registrations(nomad, token)
    for number in range(CHANGED):
        write_spec(specs, number, description="changed")
    run_ours(environment, "deploy", str(specs), "--detach", "--quiet")
    after = registrations(nomad, token)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": [version("nomad"), version("consul")],
        "services": services,
        "asked": len(some),
        "seconds": {name: [round(value, 3) for value in found] for name, found in times.items()},
        "peer_over_ours": ratio(times["peer"], times["ours"]),
        "ours_over_limit": ratio(times["ours"], times["limit"]),
        "calls": calls,
        "registrations_when_5_changed": sum(after[name] != before.get(name) for name in after),
    }


def write_spec(folder: Path, number: int, **more: str) -> None:
    """A service that uses two others, as one of many would."""
    spec = {
        "name": f"svc-{number:04d}",
        "version": "1.0.0",
        "image": "registry.gov/svc@sha256:" + "0" * 64,
        "port": 8080,
        "routes": [{"path": "/v1", "methods": ["GET", "POST"]}],
        "scaling": {"min": 2, "max": 10},
        "health": {"path": "/health"},
        "uses": [f"svc-{other:04d}" for other in (number - 1, number - 7) if other >= 0],
        "env": {"LOG_LEVEL": "info"},
        **more,
    }
    (folder / f"svc-{number:04d}.hms.json").write_text(json.dumps(spec), encoding="utf-8")


def run_ours(environment: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hms_nomad", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=environment["PYTHONPATH"],
    )
    if done.returncode != 0:
        said = f"{done.stderr}\n{done.stdout[-2000:]}"
        raise SystemExit(f"hms-nomad {' '.join(words)} ended with {done.returncode}:\n{said}")


def run_peer(environment: dict[str, str], jobs: Path, names: list[str]) -> None:
    for name in names:
        done = subprocess.run(
            ["nomad", "job", "plan", "-json", str(jobs / f"{name}.json")],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"nomad job plan ended with {done.returncode}:\n{done.stderr}")


def bare_calls(nomad: str, token: str, consul: str, names: list[str]) -> None:
    """The calls that compare every object, over kept connections, with the answers read as JSON."""

    def ask(address: str, paths: list[str]) -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        for path in paths:
            connection.request("GET", path, headers={"X-Nomad-Token": token})
            json.loads(connection.getresponse().read())
        connection.close()

    ask(consul, [f"/v1/config/service-{kind}" for kind in KINDS] + ["/v1/config/http-route"])
    ask(nomad, ["/v1/jobs?meta=true", "/v1/deployments"])
    shares = [[f"/v1/job/{name}" for name in names[start::AT_ONCE]] for start in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda share: ask(nomad, share), shares))


def count_calls(where: Platform, folder: Path, count: int) -> dict[str, int]:
    """HTTP calls of a plan of so many services, by server."""
    files = read_specs([str(folder)])[:count]
    found: Counter[str] = Counter()
    send, consul = urllib3.HTTPConnectionPool.urlopen, urlsplit(where.consul.address).port

    def counted(self: urllib3.HTTPConnectionPool, *given: object, **named: object) -> object:
        found["consul" if self.port == consul else "nomad"] += 1
        return send(self, *given, **named)

    urllib3.HTTPConnectionPool.urlopen = counted
    try:
        with open_session(where) as session:
            plan(session, [file.spec for file in files])
    finally:
        urllib3.HTTPConnectionPool.urlopen = send
    return dict(found)


def registrations(nomad: str, token: str) -> dict[str, int]:
    """The JobModifyIndex of each job, which moves with every registration."""
    connection = http.client.HTTPConnection(urlsplit(nomad).netloc)
    connection.request("GET", "/v1/jobs", headers={"X-Nomad-Token": token})
    return {row["ID"]: row["JobModifyIndex"] for row in json.loads(connection.getresponse().read())}


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """The median of the blocks' ratios, and the smallest and greatest of them."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {
        "median": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "greatest": round(max(ratios), 2),
    }


def version(program: str) -> str:
    return subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def as_text(found: dict) -> str:
    count = found["services"]
    peer, limit = found["peer_over_ours"], found["ours_over_limit"]
    lines = [
        f"{found['machine']}; {', '.join(found['versions'])}",
        f"a plan of {count} services with nothing to do, {len(found['seconds']['ours'])} blocks:",
        *(f"  {name:6} {', '.join(f'{value:.2f} s' for value in values)}" for name, values in found["seconds"].items()),
        f"  {count} x nomad job plan: {peer['median']} times ours ({peer['least']} to {peer['greatest']})",
        f"  ours: {limit['median']} times the bare calls ({limit['least']} to {limit['greatest']})",
        *(
            f"  {services} services: {calls['consul']} calls to Consul, {calls['nomad']} to Nomad"
            for services, calls in found["calls"].items()
        ),
        f"  {CHANGED} of {count} changed: {found['registrations_when_5_changed']} registrations",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
