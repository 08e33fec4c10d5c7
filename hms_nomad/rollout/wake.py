"""News of the journal and of the job's instances -> a wake-up, so that who drives a rollout neither sleeps nor asks.

Nomad's news come over the one stream that all share who follow jobs; what Consul holds is followed by blocking
queries. What is new is read again by who wakes up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.nomad_news import Follower
from hms_nomad.rollout.cluster import Cluster

_QUERY_SECONDS = 30.0
_OLD_READ_SECONDS = 1.0
# After a fault of a server the query is tried again; who drives meets the same fault and reports it.
_RETRY_SECONDS = 2.0


class News:
    """Something has changed, or not; made by ``following``."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._over = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait until something changes, ``seconds`` at most; True when something did."""
        arrived = self._arrived.wait(seconds)
        self._arrived.clear()
        return arrived

    def follow(self, ask: Callable[[int], int]) -> None:
        """Call ``ask`` with the index it last answered, again and again; each new index is news."""
        index = 0
        while not self._over.is_set():
            try:
                answered = ask(index)
            except ServerError:
                answered = 0
                self._over.wait(_RETRY_SECONDS)
            if index not in (answered, 0):
                self._arrived.set()
            index = answered

    def end(self) -> None:
        """Let the threads end with their present query."""
        self._over.set()


@contextmanager
def following(cluster: Cluster) -> Iterator[News]:
    """News of one service's journal, deployments and instances."""
    news = News()
    store, nomad = cluster.store, cluster.nomad
    sources: tuple[Callable[[int], int], ...] = (
        lambda index: store.consul.kv_wait(store.key, index, _QUERY_SECONDS).index,
        lambda index: _told(cluster, instances, index),
        lambda index: (
            store.consul.instances(cluster.service, passing=True, connect=True, index=index, wait=_QUERY_SECONDS).index
        ),
    )
    with nomad.news.of(cluster.service) as instances:
        for ask in sources:
            threading.Thread(target=news.follow, args=(ask,), name="hms-nomad-news", daemon=True).start()
        try:
            yield news
        finally:
            news.end()
            instances.hear(None)


def _told(cluster: Cluster, instances: Follower, index: int) -> int:
    """As a blocking query: the first answer comes at once, each further one when there are news that can be read.

    Nomad tells of a change a moment before it can be read.
    """
    if index == 0:
        return 1
    told = instances.next(_QUERY_SECONDS)
    if told is None:
        return index
    before = max(1, told.index - 1)
    if told.deployment is not None:
        cluster.nomad.read_deployment(told.deployment.id, index=before, wait=_OLD_READ_SECONDS)
    elif told.allocation is not None and told.allocation.deployment_id:
        deployment = told.allocation.deployment_id
        cluster.nomad.deployment_allocations(deployment, index=before, wait=_OLD_READ_SECONDS)
    else:
        cluster.nomad.job_allocations(cluster.service, index=before, wait=_OLD_READ_SECONDS)
    return told.index
