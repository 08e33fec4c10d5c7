"""Names of images -> a running container, only where a Docker daemon and one of the images are at hand already."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache

from hms_nomad.dev.engine import find_engine

# The reaper is an image of its own, which would have to be pulled; every container here is ended by its fixture.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"


@cache
def local_image(*repositories: str) -> str | None:
    """The tag of a local image of one of ``repositories``; never pulls, and None without a daemon."""
    import docker
    from docker.errors import DockerException

    if os.environ.get("DOCKER_HOST", "unix:").startswith("unix:") and find_engine() is None:
        # The library would leave its socket open where nobody answers.
        return None
    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return None
    try:
        tags = [tag for image in client.images.list() for tag in image.tags]
    except DockerException:
        return None
    finally:
        client.close()
    return next(
        (tag for name in repositories for tag in sorted(tags, reverse=True) if tag.startswith(f"{name}:")), None
    )


@contextlib.contextmanager
def container(image: str, command: str, port: int, env: dict[str, str] | None = None) -> Iterator[str]:
    """The URL of ``port`` of a container that runs ``command``, once it answers over HTTP."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    ready = HttpWaitStrategy(port, "/").for_status_code_matching(lambda status: status < 500)
    definition = DockerContainer(image).with_command(command).with_exposed_ports(port)
    for name, value in (env or {}).items():
        definition = definition.with_env(name, value)
    with definition.waiting_for(ready.with_startup_timeout(60).with_poll_interval(0.1)) as started:
        yield f"http://{started.get_container_host_ip()}:{started.get_exposed_port(port)}"
