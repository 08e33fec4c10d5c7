"""How an image was made -> an in-toto statement with SLSA's provenance, signed in an envelope (DSSE); and back; pure.

https://slsa.dev/spec/v1.0/provenance, https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
https://github.com/secure-systems-lab/dsse/blob/master/envelope.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad import __version__
from hms_nomad.build.signing import PublicKey, Signer, is_signed

PREDICATE = "https://slsa.dev/provenance/v1"
BILL = "bill-of-materials"
"""The name of the by-product that is the image's bill of materials."""

_STATEMENT = "https://in-toto.io/Statement/v1"
_STATEMENTS = (_STATEMENT, "https://in-toto.io/Statement/v0.1")
_PAYLOAD = "application/vnd.in-toto+json"
_BUILD = "urn:hms-nomad:build:image:v1"
_SOURCES = "sources"


class Made(Struct, frozen=True):
    """What there is to say of a build.

    ``digest`` is the image's, ``sources`` the SHA-256 of the archive that went to the engine, ``bases`` are the images
    that it began with, by their digests or ids. ``parameters`` is what was asked for, ``engine`` who built it, ``who``
    and ``host`` who wanted it. ``commit`` is empty where no commit has these files. Times are seconds since 1970.
    """

    name: str
    digest: str
    parameters: Mapping[str, Any]
    sources: str
    engine: str
    who: str
    host: str
    started: float
    finished: float
    commit: str = ""
    source: str = ""
    changed: bool = False
    bases: Mapping[str, str] = msgspec.field(default_factory=dict)
    bill: str = ""
    bill_type: str = ""


class Provenance(Struct, frozen=True):
    """What a statement says: who built what, when, and from which commit. Empty where it does not say.

    ``changed`` says that the files were not quite those of the commit.
    """

    builder: str
    who: str
    finished: str
    commit: str
    source: str
    changed: bool
    bill: str

    @property
    def name(self) -> str:
        """The commit, marked when the files were not quite those."""
        return f"{self.commit}-changed" if self.commit and self.changed else self.commit


def statement_of(made: Made) -> bytes:
    """The statement as it is signed."""
    commit = {"uri": f"git+{made.source}" if made.source else "git", "digest": {"gitCommit": made.commit}}
    origin = [commit | ({"annotations": {"changed": True}} if made.changed else {})] if made.commit else []
    sources = {"name": _SOURCES, "digest": {"sha256": made.sources}}
    bases = [{"uri": f"docker:{name}", "digest": _digest(digest)} for name, digest in sorted(made.bases.items())]
    bill = {"name": BILL, "digest": _digest(made.bill), "mediaType": made.bill_type}
    body = {
        "_type": _STATEMENT,
        "subject": [{"name": made.name, "digest": _digest(made.digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": dict(made.parameters),
                "internalParameters": {"engine": made.engine, "who": made.who},
                "resolvedDependencies": [*origin, sources, *bases],
            },
            "runDetails": {
                "builder": {"id": f"urn:hms-nomad:builder:{made.host}", "version": {"hms-nomad": __version__}},
                "metadata": {"startedOn": _moment(made.started), "finishedOn": _moment(made.finished)},
                "byproducts": [bill] if made.bill else [],
            },
        },
    }
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


def envelope_of(statement: bytes, key: Signer) -> bytes:
    """A statement in an envelope with its signature."""
    signature = key.sign(_encoded(_PAYLOAD, statement))
    body = {
        "payloadType": _PAYLOAD,
        "payload": base64.b64encode(statement).decode(),
        "signatures": [{"keyid": "", "sig": signature}],
    }
    return json.dumps(body, separators=(",", ":")).encode()


def opened(envelope: bytes, keys: Iterable[PublicKey]) -> tuple[bytes, PublicKey] | None:
    """The statement of an envelope with the first of ``keys`` that signed it; None when none did."""
    try:
        body = json.loads(envelope)
        payload = base64.b64decode(body["payload"], validate=True)
        kind, signatures = str(body["payloadType"]), [str(one["sig"]) for one in body["signatures"]]
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
    if kind != _PAYLOAD:
        return None
    text = _encoded(kind, payload)
    for key in keys:
        if any(is_signed(text, signature, key) for signature in signatures):
            return payload, key
    return None


def is_about(statement: bytes, digest: str) -> bool:
    """Whether a statement is one of SLSA's provenance about the image with a digest."""
    try:
        body = json.loads(statement)
        subjects = [f"sha256:{one['digest']['sha256']}" for one in body["subject"]]
        return body["_type"] in _STATEMENTS and body["predicateType"] == PREDICATE and digest in subjects
    except (ValueError, KeyError, TypeError):
        return False


def provenance_of(statement: bytes) -> Provenance:
    """What a statement says, also one of somebody else's builder. Raises ValueError for one that says nothing."""
    predicate = _inner(json.loads(statement), "predicate")
    if not predicate:
        raise ValueError("the statement says nothing")
    definition, run = _inner(predicate, "buildDefinition"), _inner(predicate, "runDetails")
    origin = next((one for one in _rows(definition, "resolvedDependencies") if _commit(one)), {})
    bill = next((one for one in _rows(run, "byproducts") if one.get("name") == BILL), {})
    sha256 = _inner(bill, "digest").get("sha256", "")
    return Provenance(
        builder=str(_inner(run, "builder").get("id", "")),
        who=str(_inner(definition, "internalParameters").get("who", "")),
        finished=str(_inner(run, "metadata").get("finishedOn", "")),
        commit=_commit(origin),
        source=str(origin.get("uri", "")).removeprefix("git+").removeprefix("git"),
        changed=bool(_inner(origin, "annotations").get("changed")),
        bill=f"sha256:{sha256}" if sha256 else "",
    )


def _commit(dependency: Mapping[str, Any]) -> str:
    digest = _inner(dependency, "digest")
    return str(digest.get("gitCommit") or digest.get("sha1") or "")


def _inner(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def _rows(body: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = body.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _encoded(kind: str, body: bytes) -> bytes:
    """What is signed: kind and text with their lengths, so that nothing can be read as part of the other."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)
