"""A stack with one caller and the services that it calls, and load from inside the caller's network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hms_nomad.apply.progress import Event
from hms_nomad.compile import compile_spec
from hms_nomad.dev import stack as dev
from hms_nomad.dev.settings import Ports, StackSettings
from hms_nomad.platform.context import load_platform
from hms_nomad.platform.model import Platform
from hms_nomad.sections.reading import read
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.deploying.deploy import DeployOptions, DeployOutcome, Status, deploy
from hms_nomad.workflows.session import Session, open_session
from zero_loss.way_out import way_out

HERE = Path(__file__).parent
SERVICE = "zero-loss"
PLAIN = "plain-nomad"
TAGGED = "tagged-canary"
CALLER = "zero-loss-caller"


def quiet(_: Event) -> None:
    """Show nothing."""


@dataclass
class Loaded:
    """What became of the requests of one way; ``seconds`` counts lost ones by the second in which they were sent, and
    ``switched`` is the version that answered last, with the seconds after which nearly all requests came to it.
    """

    sent: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None
    seconds: dict[int, int] = field(default_factory=dict)
    switched: tuple[str, float] = ("", 0.0)


@dataclass
class World:
    """The stack, and a session with it; ``registry`` (host:port) is there where the machine has Docker and one."""

    session: Session
    platform: Platform
    rate: float
    registry: str | None = None
    version: int = 0
    addresses: dict[str, str] = field(default_factory=dict)
    begun: float = 0.0
    moments: list[tuple[float, str]] = field(default_factory=list)

    def spec(self, name: str = SERVICE, **changes: Any) -> Spec:
        """A service without retries, so that nothing which goes wrong is hidden by trying again."""
        fields: dict[str, Any] = {
            "name": name,
            "version": f"{self.version}.0.0",
            "command": [sys.executable, str(HERE / "app.py")],
            "port": 3000,
            "env": {"APP_VERSION": str(self.version)},
            "health": {"path": "/health", "interval": "3s", "timeout": "2500ms"},
            "scaling": {"min": 2, "max": 6},
            "resources": {"cpu": 50, "memory": 64},
            "mesh": {"retries": 0, "timeout": "40s"},
            "rollout": {"every": "2s", "drain": "7s", "keep": "2s", "min_healthy": "1s"},
        }
        fields = {key: value for key, value in (fields | changes).items() if value is not None}
        return read(Spec, fields)

    def next(self, **changes: Any) -> Spec:
        """The next release of the service."""
        self.version += 1
        return self.spec(**changes)

    def deploy(
        self, spec: Spec, options: DeployOptions | None = None, report: Callable[[Event], None] = quiet
    ) -> DeployOutcome:
        """Deploy, whatever comes of it."""

        def noted(event: Event) -> None:
            self.note(event)
            report(event)

        return deploy(self.session, spec, options or DeployOptions(), noted)

    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.begun

    def note(self, event: Event) -> None:
        """Keep what was done and when, to be laid beside lost requests."""
        if event.kind in ("apply", "weight", "rollout", "taken-back", "forgotten"):
            state = f"({event.data['state']}) " if "state" in event.data else ""
            self.moments.append((self.now(), f"{state}{event.message}"))

    @property
    def events(self) -> list[str]:
        """What was done since the load began, a line each."""
        return [f"{at:6.1f} s  {message}" for at, message in self.moments]

    def must_deploy(self, spec: Spec, options: DeployOptions | None = None) -> DeployOutcome:
        """Deploy with success."""
        outcome = self.deploy(spec, options)
        if outcome.status is Status.FAILED:
            raise SystemExit(f"{spec.name} {spec.version} was not deployed: {outcome.failure}")
        return outcome

    def start(self) -> None:
        """The first release of the service, and its caller."""
        self.version = 1
        self.must_deploy(self.spec(allow=[CALLER]))
        uses = [SERVICE, PLAIN, TAGGED]
        caller = self.spec(CALLER, uses=uses, scaling={"min": 1, "max": 1})
        self.must_deploy(caller)
        upstreams = compile_spec(caller, self.platform).job["TaskGroups"][0]["Services"][0]["Connect"]
        for upstream in upstreams["SidecarService"]["Proxy"]["Upstreams"]:
            self.addresses[upstream["DestinationName"]] = upstream["LocalBindAddress"]

    def running(self) -> str:
        """The number of the release that serves."""
        (version,) = {one.meta["version"] for one in self.session.consul.instances(SERVICE, passing=True).value}
        return version.partition(".")[0]

    def caller(self) -> str:
        """The id of the caller's instance."""
        found = self.session.nomad.job_allocations(CALLER).value
        return next(each.id for each in found if each.client_status == "running")

    @contextlib.contextmanager
    def load(self, name: str = SERVICE, **options: Any) -> Iterator[Loaded]:
        """Send requests while the block runs; the answer is filled in at its end."""
        loaded = Loaded()
        with tempfile.TemporaryDirectory() as folder:
            stop = Path(folder) / "stop"
            words = {
                "rate": self.rate,
                "path": "/work",
                "slow-path": "/work?sleep=5",
                "slow": 100,
                "until": stop,
            } | {key.replace("_", "-"): value for key, value in options.items()}
            enter, reached = way_out(self.session.nomad, self.caller(), name, self.addresses[name])
            command = [*enter, sys.executable, str(HERE / "load.py"), *reached]
            command += [f"--{key}={value}" for key, value in words.items()]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self.begun, self.moments = time.monotonic(), []
            try:
                yield loaded
            finally:
                if "count" not in options:
                    stop.touch()
                output, _ = process.communicate()
        counted = json.loads(output)
        for key in ("sent", "failed", "reasons", "versions", "p50_ms", "p99_ms"):
            setattr(loaded, key, counted[key])
        version, since = counted["switched"]
        loaded.switched = (version, since - self.begun)
        for second, _ in counted["failures"]:
            loaded.seconds[int(second)] = loaded.seconds.get(int(second), 0) + 1

    def undeployed(self, name: str, seconds: float = 60.0) -> None:
        """Wait until no deployment of a service is under way: Nomad scales none that is."""
        deadline = time.monotonic() + seconds
        while (found := self.session.nomad.newest_deployment(name)) is not None and not found.done:
            if time.monotonic() > deadline:
                raise SystemExit(f"a deployment of {name} did not end within {seconds:.0f} s")
            time.sleep(0.2)

    def settled(self, name: str, count: int, seconds: float = 60.0) -> None:
        """Wait until exactly ``count`` instances of a service are healthy in Consul, and no other one runs in Nomad."""
        index, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self.session.nomad.job_allocations(name, index=index, wait=1.0)
            running = [one for one in answer.value if not one.done]
            healthy = self.session.consul.instances(name, passing=True, connect=True).value
            if len(running) == count == len(healthy):
                return
            index = answer.index
        raise SystemExit(f"{name} did not settle at {count} instances within {seconds:.0f} s")


@contextlib.contextmanager
def running_world(context: str | None, rate: float) -> Iterator[World]:
    """A world on the stack of ``context``; without one, on a stack of its own that is taken down at the end."""
    if context is not None:
        with _world(load_platform(context), rate) as world:
            yield world
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HMS_NOMAD_CONFIG_DIR"] = str(Path(folder) / "config")
        images = all(shutil.which(program) for program in ("docker", "docker-registry"))
        settings = StackSettings(
            name="zero-loss",
            state_dir=Path(folder) / "state",
            port_offset=_free_offset(),
            download=False,
            vault=False,
            docker=images,
            registry=images,
        )
        try:
            dev.up(settings, lambda event: print(event.message, file=sys.stderr))
            registry = f"127.0.0.1:{settings.ports.registry}" if images else None
            with _world(load_platform("zero-loss"), rate, registry) as world:
                yield world
        finally:
            dev.down(settings, quiet)


@contextlib.contextmanager
def _world(platform: Platform, rate: float, registry: str | None = None) -> Iterator[World]:
    with open_session(platform) as session:
        yield World(session, platform, rate, registry)


def _free_offset() -> int:
    """A port offset at which no port of a stack is taken, below the ports that Nomad gives to instances."""
    for offset in range(1000, 10000, 500):
        ports = Ports.shifted(offset)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in (getattr(ports, name) for name in Ports.__struct_fields__):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return offset
    raise SystemExit("there is no free range of ports for a stack")
