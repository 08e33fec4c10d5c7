"""A registration of ours <-> a note of it in Consul's store, by which a plan knows a job that nobody touched since.

Nomad's list of jobs says when each job was last written, and not what it holds. Where the index in the note is the one
in the list, the job is the one that was registered then, and need not be read. The note only saves work: without it,
or with one that does not fit, the job is read and compared.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvStep, set_key
from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Registration
from hms_nomad.compile.scaling import is_held
from hms_nomad.plan.change import Change
from hms_nomad.plan.observed import ObservedJob

_FIELDS = {"index": int, "version": int, "count": int, "digest": str}


class Registered(Struct, frozen=True):
    """A job as we registered it: ``index`` is its JobModifyIndex, ``digest`` that of the job without its ``count``."""

    index: int
    version: int
    count: int
    digest: str


def note_registration(
    nomad: NomadClient,
    consul: ConsulClient,
    change: Change,
    registration: Registration,
    later: Callable[[KvStep], None] | None = None,
) -> None:
    """Keep a note of what has been registered just now, or give it to ``later`` for a transaction that comes anyway.

    Where that fails, the next plan has to read the job. A count that is held is in the job and not in its digest, so
    there is no note of such a job.
    """
    with contextlib.suppress(ServerError):
        stored = _stored(nomad, change, registration)
        digest = stored.service_meta.get("digest") if stored is not None and not is_held(stored.body) else None
        if stored is None or not digest:
            return
        noted = Registered(stored.modify_index, stored.version, stored.count, digest)
        key, value = registered_key(nomad.namespace, change.name), json.dumps(msgspec.to_builtins(noted)).encode()
        if later is not None:
            later(set_key(key, value))
        else:
            consul.kv_put(key, value)


def _stored(nomad: NomadClient, change: Change, registration: Registration) -> ObservedJob | None:
    """The job as it stands after the registration; None where somebody else has registered another one since."""
    if change.index == 0 and change.body is not None:
        # There was no job, so this is its first version, just as it was sent.
        return ObservedJob(change.body, 0, registration.modify_index, stopped=False, settled=False)
    job = nomad.read_job(change.name)
    if job is None or job.modify_index != registration.modify_index:
        return None
    return ObservedJob(job.body, job.version, job.modify_index, job.stop, settled=False)


def read_registered(consul: ConsulClient, namespace: str) -> Mapping[str, Registered]:
    """The notes of a namespace by job, in one call; none where they cannot be read."""
    prefix = registered_key(namespace, "")
    try:
        pairs = consul.kv_list(prefix)
    except ServerError:
        return {}
    found = {pair.key.removeprefix(prefix): _from(pair.value) for pair in pairs}
    return {name: noted for name, noted in found.items() if noted is not None}


def forget_registered(consul: ConsulClient, namespace: str, job_id: str) -> None:
    """Remove the note of a job; one that is gone is no error."""
    pair = consul.kv_get(registered_key(namespace, job_id))
    if pair is not None:
        consul.kv_delete(pair.key, pair.modify_index)


def registered_key(namespace: str, job_id: str) -> str:
    """Key of a job's note in Consul's store."""
    return f"hms-nomad/registered/{namespace}/{job_id}"


def _from(data: bytes) -> Registered | None:
    """The note that was stored; None for what this version cannot read."""
    try:
        body = json.loads(data)
        return Registered(**{name: kind(body[name]) for name, kind in _FIELDS.items()})
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
