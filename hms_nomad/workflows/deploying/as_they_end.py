"""Items and the work on one of them -> results as they come, several at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def as_they_end(work: Callable[[Item], Outcome], items: Sequence[Item], at_once: int) -> Iterator[Outcome]:
    """What ``work`` makes of each item, ``at_once`` of them at a time, in the order in which they end.

    ``work`` must not raise. The threads are daemons: an interrupted command ends at once and does not wait for them.
    Fewer threads do it, too, where the system lets this process have no more; raises RuntimeError where it has none.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def serve() -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            ended.put(work(item))

    for number in range(min(at_once, len(items))):
        try:
            threading.Thread(target=serve, daemon=True).start()
        except RuntimeError:
            if number == 0:
                raise
            break
    for _ in items:
        yield ended.get()
