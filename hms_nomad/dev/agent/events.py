"""What was written -> the event stream: one line of JSON for each index, the last thousand of them remembered."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent.store import SILENT, Change, Store, without_job
from hms_nomad.dev.agent.values import Json

_REMEMBERED = 1000
_HEARTBEAT_SECONDS = 10.0
# Table: topic, usual type of its events, and the name of the object in the payload.
_TOPICS = {
    "jobs": ("Job", "JobRegistered", "Job"),
    "evals": ("Evaluation", "EvaluationUpdated", "Evaluation"),
    "allocs": ("Allocation", "AllocationUpdated", "Allocation"),
    "deployments": ("Deployment", "DeploymentStatusUpdate", "Deployment"),
    "nodes": ("Node", "NodeRegistration", "Node"),
}


class Batch(Struct, frozen=True):
    """The events of one index."""

    index: int
    events: tuple[Json, ...]


class Events:
    """Remembers what was told and tells it to those who follow."""

    def __init__(self, store: Store) -> None:
        self._batches: deque[Batch] = deque(maxlen=_REMEMBERED)
        self._news = asyncio.Event()
        self._ended = False
        store.listeners.append(self._hear)

    def end(self) -> None:
        """End all streams."""
        self._ended = True
        self._news.set()

    async def follow(self, topics: Mapping[str, Sequence[str]], index: int, namespace: str) -> AsyncIterator[bytes]:
        """Lines of the stream from ``index`` on; ``topics`` is topic to keys, "*" for all."""
        yield b"{}\n"
        seen = index - 1
        if index == 0:
            # Without an index the stream begins with the newest that is remembered.
            seen = -1
        while not self._ended:
            news = self._news
            for batch in [one for one in self._batches if one.index > seen]:
                seen = batch.index
                chosen = [event for event in batch.events if _wanted(event, topics, namespace)]
                if chosen:
                    yield json.dumps({"Index": batch.index, "Events": chosen}).encode() + b"\n"
            if self._batches and self._batches[-1].index > seen:
                continue
            try:
                await asyncio.wait_for(news.wait(), _HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b"{}\n"

    def _hear(self, index: int, changes: tuple[Change, ...]) -> None:
        events = [event for event in (_event(index, change) for change in changes) if event is not None]
        if events:
            self._batches.append(Batch(index, tuple(events)))
            news, self._news = self._news, asyncio.Event()
            news.set()


def _event(index: int, change: Change) -> Json | None:
    topic = _TOPICS.get(change.table)
    body = change.after if change.after is not None else change.before
    if topic is None or body is None or change.event == SILENT or (change.after is None and not change.event):
        return None
    name, kind, member = topic
    filters = [str(body[field]) for field in ("JobID", "DeploymentID") if body.get(field)]
    payload: dict[str, Any] = {member: without_job(change.table, body)}
    return {
        "Topic": name,
        "Type": change.event or kind,
        "Key": body["ID"],
        "Namespace": body.get("Namespace") or "",
        "FilterKeys": filters or None,
        "Index": index,
        "Payload": payload,
    }


def _wanted(event: Json, topics: Mapping[str, Sequence[str]], namespace: str) -> bool:
    if namespace != "*" and event["Namespace"] not in ("", namespace):
        return False
    keys = [*topics.get(event["Topic"], ()), *topics.get("*", ())]
    return any(key in ("*", event["Key"], *(event["FilterKeys"] or ())) for key in keys)
