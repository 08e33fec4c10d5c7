"""Nomad -> the feed: deployments, scaling, and the access logs of all proxies in the namespace."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hms_nomad.clients.errors import NotFoundError, ServerError, UnavailableError
from hms_nomad.clients.nomad_log_places import Place, PlacedLine
from hms_nomad.clients.nomad_types import Allocation, Deployment, ScalingEvent
from hms_nomad.compile.access_log import DENIED, Call, is_probe, read_call
from hms_nomad.compile.names import GROUP
from hms_nomad.workflows.feed.events import Desk, Item, Kind, rfc3339
from hms_nomad.workflows.fleet import service_names
from hms_nomad.workflows.session import Session

_WAIT_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_SIDECAR = "connect-proxy-"
_GATEWAY_TASK = "envoy"
# Nomad remembers that many scalings of a group, and ended deployments for an hour.
_SCALINGS_KEPT = 20
_DEPLOYMENTS_KEPT_SECONDS = 3600.0
_LOOKED = "looked/deployments"


class NomadSource:
    """Follows the allocations of the namespace; each change of one is when to look for everything else."""

    def __init__(self, session: Session, desk: Desk) -> None:
        self._session = session
        self._desk = desk
        self._statuses = {
            key.removeprefix("deployment/"): value
            for key, value in desk.positions.items()
            if key.startswith("deployment/")
        }
        self._scaled = {
            key.removeprefix("scaling/"): int(value)
            for key, value in desk.positions.items()
            if key.startswith("scaling/")
        }
        self._readers: dict[str, threading.Thread] = {}
        self._done: set[str] = set()
        self._looked = False

    def run(self) -> None:
        """Tell what there is, and with ``follow`` what comes. Raises the errors of ``hms_nomad.clients.errors``."""
        index, kinds = 0, self._desk.kinds
        while not self._desk.stop.is_set():
            found = self._session.nomad.list_allocations(index, _WAIT_SECONDS if index else 0.0)
            index = found.index
            if kinds & {Kind.ACCESS, Kind.DENIAL}:
                self._read_logs(found.value)
            if Kind.SCALING in kinds:
                self._tell_scalings()
            if Kind.DEPLOYMENT in kinds:
                self._tell_deployments()
            if not self._desk.follow:
                break
            self._desk.stop.wait(_PAUSE_SECONDS)
        for reader in self._readers.values():
            reader.join()

    def _tell_scalings(self) -> None:
        names = service_names(self._session)
        for name in names:
            groups = self._session.nomad.scale_status(name) or {}
            events = groups[GROUP].events if GROUP in groups else ()
            for item in self._scalings(name, sorted(events, key=lambda event: event.time_ns)):
                self._desk.emit(item)
        for name in self._scaled.keys() - set(names):
            del self._scaled[name]
            self._desk.emit(Item(f"scaling/{name}", None))

    def _scalings(self, name: str, events: list[ScalingEvent]) -> Iterable[Item]:
        key, last = f"scaling/{name}", self._scaled.get(name)
        after = int(self._desk.since * 1e9) if last is None else last
        if last is not None and len(events) >= _SCALINGS_KEPT and events[0].time_ns > last:
            reason = f"Nomad remembers the last {_SCALINGS_KEPT} scalings only, and all of them are new"
            yield Item(key, last, self._desk.gap(key, str(events[0].time_ns), name, reason))
        for event in events:
            if event.time_ns > after:
                data = {
                    "from": event.previous_count,
                    "to": event.count,
                    "message": event.message,
                    "failed": event.error,
                }
                moment = rfc3339(event.time_ns / 1e9)
                word = "scaling.failed" if event.error else "scaling"
                self._scaled[name] = event.time_ns
                yield Item(key, event.time_ns, self._desk.event(word, f"{key}/{event.time_ns}", name, moment, data))
        if name not in self._scaled:
            self._scaled[name] = after
            yield Item(key, after)

    def _tell_deployments(self) -> None:
        now = datetime.now().timestamp()
        deployments = sorted(self._session.nomad.list_deployments(), key=lambda one: one.modify_index)
        looked = self._desk.positions.get(_LOOKED)
        if looked is not None and not self._looked and now - float(looked) > _DEPLOYMENTS_KEPT_SECONDS:
            reason = f"not looked at since {rfc3339(float(looked))}; Nomad forgets ended ones after an hour"
            self._desk.emit(Item(_LOOKED, now, self._desk.gap("deployment", rfc3339(now), "", reason)))
        self._looked = True
        for one in deployments:
            known = self._statuses.get(one.id)
            if one.status == known:
                continue
            self._statuses[one.id] = one.status
            fresh = known is not None or looked is not None or one.modify_time_ns >= self._desk.since * 1e9
            self._desk.emit(Item(f"deployment/{one.id}", one.status, self._deployment(one) if fresh else None))
        for gone in self._statuses.keys() - {one.id for one in deployments}:
            del self._statuses[gone]
            self._desk.emit(Item(f"deployment/{gone}", None))
        self._desk.emit(Item(_LOOKED, now))

    def _deployment(self, one: Deployment) -> dict[str, Any]:
        groups = one.groups.values()
        data = {
            "deployment": one.id,
            "version": one.job_version,
            "status": one.status,
            "why": one.status_description,
            "healthy": sum(group.healthy for group in groups),
            "unhealthy": sum(group.unhealthy for group in groups),
            "desired": sum(group.desired_total for group in groups),
        }
        id_ = f"deployment/{one.id}/{one.status}/{one.modify_index}"
        return self._desk.event(f"deployment.{one.status}", id_, one.job_id, rfc3339(one.modify_time_ns / 1e9), data)

    def _read_logs(self, allocations: tuple[Allocation, ...]) -> None:
        """Start a reader for each proxy whose output is not read to its end yet."""
        present = set()
        for one in allocations:
            for task in self._proxies(one):
                key = f"access/{one.id}/{task}"
                present.add(key)
                position = self._desk.positions.get(key)
                known = key in self._readers
                if one.done:
                    self._done.add(key)
                if known or (position and position[2]):
                    continue
                if position is None and one.done and one.modify_time_ns < self._desk.since * 1e9:
                    continue
                place = Place(position[0], position[1]) if position else None
                reader = threading.Thread(target=self._read, args=(one, task, key, place), name=key, daemon=True)
                self._readers[key] = reader
                reader.start()
        for key, position in list(self._desk.positions.items()):
            if key.startswith("access/") and key not in present and (position[2] or key not in self._readers):
                self._forget(key, position)

    def _proxies(self, allocation: Allocation) -> Iterable[str]:
        platform = self._session.platform
        gateways = {proxy.name for proxy in (platform.gateway, platform.egress) if proxy}
        for task, state in allocation.tasks.items():
            started = any(event.type == "Started" for event in state.events)
            if started and (task.startswith(_SIDECAR) or (task == _GATEWAY_TASK and allocation.job_id in gateways)):
                yield task

    def _forget(self, key: str, position: Any) -> None:
        """A proxy that Nomad has forgotten: what it wrote behind our place is lost, unless that was its end."""
        reason = f"Nomad has forgotten the allocation; it was read up to byte {position[1]} of file {position[0]}"
        event = None if position[2] else self._desk.gap(key, f"{position[0]}/{position[1]}", "", reason)
        self._desk.emit(Item(key, None, event))

    def _read(self, allocation: Allocation, task: str, key: str, place: Place | None) -> None:
        desk, begin = self._desk, place
        since = rfc3339(desk.since) if place is None and desk.since else ""
        pause = _PAUSE_SECONDS
        while not desk.stop.is_set():
            try:
                for line in self._session.nomad.placed_logs(
                    allocation.id, task, place, desk.stop, lambda: not desk.follow or key in self._done
                ):
                    place, pause = line.end, _PAUSE_SECONDS
                    desk.emit(self._item(key, allocation, line, since, gateway=task == _GATEWAY_TASK))
            except UnavailableError as error:
                if not desk.follow:
                    desk.warn(f"{error}; what it wrote is told the next time")
                    return
                if pause == _PAUSE_SECONDS:
                    desk.warn(f"{error}; trying again")
                desk.stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except NotFoundError:
                self._forget(key, [place.file, place.offset, False] if place else [0, 0, begin is None])
                return
            except ServerError as error:
                desk.fail(error)
                return
            else:
                if not desk.stop.is_set() and key in self._done and place is not None:
                    desk.emit(Item(key, [place.file, place.offset, True]))
                return

    def _item(self, key: str, allocation: Allocation, line: PlacedLine, since: str, *, gateway: bool) -> Item:
        position = [line.end.file, line.end.offset, False]
        id_ = f"{key}/{line.end.file}/{line.end.offset}"
        if line.lost is not None:
            reason = f"deleted before it was read: from byte {line.lost.offset} of file {line.lost.file} to {line.end}"
            return Item(key, position, self._desk.gap(key, id_, allocation.job_id, reason))
        call = read_call(line.text, gateway=gateway) if line.text is not None else None
        if call is None or call.start < since or self._unwanted(call):
            return Item(key, position)
        data = {
            "caller": call.caller,
            "allocation": allocation.id,
            "node": allocation.node_name,
            **{name: value for name, value in call.facts.items() if name != "caller"},
        }
        return Item(key, position, self._desk.event(call.kind, id_, call.service, call.start, data))

    def _unwanted(self, call: Call) -> bool:
        gateway = self._session.platform.gateway
        if gateway is not None and is_probe(call, gateway.name):
            return True
        return (Kind.DENIAL if call.kind == DENIED else Kind.ACCESS) not in self._desk.kinds
