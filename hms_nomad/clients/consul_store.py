"""Keys and sessions of Consul: what locks and journals are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from hms_nomad.clients.consul_calls import NOT_FOUND, ConsulCalls, truth
from hms_nomad.clients.consul_types import KvPair, SessionInfo
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.clients.transport import nothing_settled

T = TypeVar("T")

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class StoreCalls(ConsulCalls):
    """Calls on keys and sessions. All raise the errors of ``hms_nomad.clients.errors``."""

    def kv_get(self, key: str) -> KvPair | None:
        """A key with its value, or None.

        API: https://developer.hashicorp.com/consul/api-docs/kv#read-key
        """
        operation = f"read key {key}"
        self._segment(operation, key)
        return _absent(lambda: self._read(operation, lambda: self._kv.get(key)[1], _parse_optional_pair))

    def kv_wait(self, key: str, index: int, wait: float) -> Snapshot[bool]:
        """Wait up to ``wait`` seconds until a key is written or deleted after ``index`` (0: do not wait).

        The answer says whether the key is there now.
        API: https://developer.hashicorp.com/consul/api-docs/kv#read-key
        """
        operation = f"wait for key {key}"
        path = f"/v1/kv/{self._segment(operation, key)}"
        return self._snapshot(operation, path, {}, bool, index=index, wait=wait, accepted=NOT_FOUND)

    def kv_list(self, prefix: str) -> tuple[KvPair, ...]:
        """All keys that start with ``prefix``, with their values.

        API: https://developer.hashicorp.com/consul/api-docs/kv#read-key
        """
        operation = f"list keys {prefix}"
        if prefix:
            self._segment(operation, prefix.removesuffix("/"))
        found = _absent(
            lambda: self._read(
                operation,
                lambda: self._kv.get(prefix, recurse=True)[1],
                lambda body: tuple(_parse_pair(pair) for pair in body or ()),
            )
        )
        return found or ()

    def kv_put(
        self,
        key: str,
        value: bytes,
        modify_index: int | None = None,
        acquire: str | None = None,
        release: str | None = None,
    ) -> bool:
        """Write a key; False when it was not written.

        ``modify_index`` is that of a compare-and-set (0: the key must not exist, None: write in any case); ``acquire``
        and ``release`` are ids of sessions that take or give back the key's lock.
        API: https://developer.hashicorp.com/consul/api-docs/kv#create-update-key
        """
        operation = f"write key {key}"
        self._segment(operation, key)
        return self._write(
            operation,
            lambda: self._kv.put(key, value, cas=modify_index, acquire=acquire, release=release),
            truth,
            lambda: self._put_settled(key, value, modify_index, acquire),
        )

    def kv_delete(self, key: str, modify_index: int) -> bool:
        """Delete a key if its index still is ``modify_index`` (above 0); False when it is not.

        API: https://developer.hashicorp.com/consul/api-docs/kv#delete-key
        """
        operation = f"delete key {key}"
        self._segment(operation, key)
        return self._write(
            operation,
            lambda: self._kv.delete(key, cas=modify_index),
            truth,
            lambda: self._delete_settled(key, modify_index),
        )

    def create_session(self, name: str, ttl_seconds: int, lock_delay_seconds: int, behavior: str = "release") -> str:
        """Make a session on the agent's node and answer its id.

        It ends when it is not renewed within ``ttl_seconds`` (10 to 86400, at the latest after twice the time); its
        locks are then released or, with ``behavior`` "delete", their keys deleted, and stay barred for
        ``lock_delay_seconds``.
        API: https://developer.hashicorp.com/consul/api-docs/session#create-session
        """
        # python-consul2 leaves a delay of 15 s out, which is Consul's own default, and sends the others.
        return self._write(
            f"create session {name}",
            lambda: self._put(
                "/v1/session/create",
                {
                    "Name": name,
                    "TTL": f"{ttl_seconds}s",
                    "LockDelay": f"{lock_delay_seconds}s",
                    "Behavior": behavior,
                },
            ),
            lambda body: str(body["ID"]),
            # One that was made without our knowing ends by itself.
            nothing_settled,
        )

    def renew_session(self, session_id: str) -> SessionInfo:
        """Restart a session's time to live. Raises NotFoundError when it has ended.

        API: https://developer.hashicorp.com/consul/api-docs/session#renew-session
        """
        operation = f"renew session {session_id[:8]}"
        self._segment(operation, session_id)
        return self._write(
            operation,
            lambda: self._put(f"/v1/session/renew/{session_id}", {}),
            lambda body: _parse_session(body[0]),
            nothing_settled,
        )

    def destroy_session(self, session_id: str) -> None:
        """End a session, known or not.

        API: https://developer.hashicorp.com/consul/api-docs/session#delete-session
        """
        operation = f"end session {session_id[:8]}"
        self._segment(operation, session_id)
        self._write(operation, lambda: self._session.destroy(session_id), bool, nothing_settled)

    def session_info(self, session_id: str) -> SessionInfo | None:
        """A session, or None when it has ended.

        API: https://developer.hashicorp.com/consul/api-docs/session#read-session
        """
        operation = f"read session {session_id[:8]}"
        self._segment(operation, session_id)
        return self._read(
            operation,
            lambda: self._get(f"/v1/session/info/{session_id}"),
            lambda body: _parse_session(body[0]) if body else None,
        )

    def _put_settled(self, key: str, value: bytes, modify_index: int | None, acquire: str | None) -> bool | None:
        """What became of a write of a key whose answer was lost; None when it can be sent again."""
        pair = self.kv_get(key)
        if acquire is not None:
            return True if pair is not None and pair.session == acquire else None
        if modify_index is None or (pair.modify_index if pair else 0) == modify_index:
            return None
        return pair is not None and pair.value == value

    def _delete_settled(self, key: str, modify_index: int) -> bool | None:
        pair = self.kv_get(key)
        if pair is None:
            return True
        return None if pair.modify_index == modify_index else False


def _absent(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except NotFoundError:
        return None


def _parse_optional_pair(body: Any) -> KvPair | None:
    return _parse_pair(body) if body else None


def _parse_pair(body: Any) -> KvPair:
    return KvPair(
        key=body["Key"],
        value=body.get("Value") or b"",
        modify_index=int(body["ModifyIndex"]),
        session=body.get("Session") or "",
    )


def _parse_session(body: Any) -> SessionInfo:
    return SessionInfo(
        id=body["ID"],
        name=body.get("Name") or "",
        node=body.get("Node") or "",
        behavior=body.get("Behavior") or "",
        ttl_seconds=_seconds(body.get("TTL") or ""),
        lock_delay_seconds=float(body.get("LockDelay") or 0) / 1e9,
    )


def _seconds(duration: str) -> float:
    """Seconds of a duration as Go writes it; other tools' sessions may say 1m30s. Raises KeyError for other units."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([^0-9.]+)", duration))
