"""A service while it changes -> the least capacity that it had, and every count that its job was given."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from zero_loss.world import World


@dataclass
class Watched:
    """``least`` healthy instances that callers could reach at one moment, and the ``counts`` of the job."""

    least: int
    counts: set[int] = field(default_factory=set)


@contextlib.contextmanager
def watching(world: World, service: str) -> Iterator[Watched]:
    """Follow what Consul and Nomad say of a service while the block runs."""
    consul, nomad, over = world.session.consul, world.session.nomad, threading.Event()
    first = consul.instances(service, passing=True, connect=True)
    watched = Watched(len(first.value))

    def follow() -> None:
        index = first.index
        while not over.is_set():
            answer = consul.instances(service, passing=True, connect=True, index=index, wait=0.5)
            index = answer.index
            watched.least = min(watched.least, len(answer.value))
            job = nomad.read_job(service)
            if job is not None:
                watched.counts.add(int(job.body["TaskGroups"][0]["Count"]))

    following = threading.Thread(target=follow)
    following.start()
    try:
        yield watched
    finally:
        over.set()
        following.join()
