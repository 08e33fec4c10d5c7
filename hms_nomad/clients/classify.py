"""An HTTP answer or a broken connection -> one of our errors. The only place that reads statuses and error texts.

Status 500 is Nomad's and Consul's "no" as much as their "try again": a stale index, a bad job and a lost leader all
answer it, so the text decides.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from msgspec import Struct

from hms_nomad.clients.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
    ServerError,
    UnavailableError,
    UnknownOutcomeError,
)
from hms_nomad.clients.nomad_rights import needed_right

_LONGEST_DETAIL = 2000

# Patterns are compiled when an answer is bad: most commands hear none.

_CONFLICT = (
    r"enforcing job modify index|enforcing version \d+|can't revert to current version|cas error|check-and-set"
    r"|path is already in use|already initialized|scaling blocked due to active deployment"
    r"|already exists on a different version"
    r"|can't (promote|fail|pause|resume) (a )?terminal deployment|deployment .* (is terminal|has terminal status)"
)
_DENIED = (
    r"permission denied|acl (token )?not found|acl token expired|acl not found|no known key successfully validated"
)
_ABSENT = (
    r"unknown allocation|^(parameterized job|job|deployment|alloc|allocation|eval|evaluation|task|tag)\b.* not found"
    r"|could not find task runner"
)
# Servers and agents pass most requests on; the one that should have it was never reached, whatever the reason.
_NOT_PASSED_ON = r"failed to get conn"
# The server never took the request up, so a write changed nothing.
_NOT_TAKEN_UP = (
    r"no cluster leader|no path to (region|node|datacenter)|no (known )?(consul )?servers|not ready to serve"
    r"|vault is sealed|too many (requests|connections)|rate limit|connection refused|no route to host"
    rf"|try again later|is initializing|not initialized|{_NOT_PASSED_ON}"
)
# The request was lost on its way between servers or while it was being committed.
_LOST_ON_THE_WAY = (
    r"leadership (lost|transfer)|node is not the leader|raft is (already )?shut|i/o timeout|context deadline exceeded"
    r"|context canceled|connection reset|broken pipe|unexpected eof|\beof\b|session shutdown|stream closed"
    r"|no space left on device|read-only file system|timed? ?out|transport is closing|apply timeout"
)
# A proxy such as Envoy says 503 too when the server took the request and broke the connection.
_PROXY_LOST_IT = r"reset before headers|connection termination|upstream (reset|timeout)"
_WANTS_HTTPS = r"http request to an https server"
_INVALID = (
    r"must |invalid|not (a )?valid|not allowed|is required|\bmissing\b|unknown|unsupported|not supported|nonexistent"
    r"|does not (exist|permit|match)|cannot |can't |could not parse|duplicate|exceeds?\b|too (long|large|many)"
    r"|conflicts with|not permitted|errors? occurred|reserved|should (not )?|contains|has no |unlicensed|enterprise"
    r"|not enabled|denied by|disallowed|failed validation|validation failed|malformed|expected|empty|references|"
    r"protocol|already exists|no such|not found|is not a |unpermitted|did not provide"
    r'|task ("[^"]*" (is )?)?not (running|started)'
)
_PLAIN_FAILURES = frozenset({"registry", "artifact store"})
"""Servers whose 5xx is never a "no"."""

_RPC_PREFIX = r"^(rpc error( making call)?:\s*)+"
_GENERIC = frozenset({"", "internal server error", "internal error", "error", "500 internal server error"})


class Request(Struct, frozen=True):
    """What was asked: the server's name, the operation in words, the address, and whether it may change something."""

    server: str
    operation: str
    address: str
    write: bool


def classify(request: Request, status: int, body: str, headers: Mapping[str, str]) -> ServerError:  # noqa: PLR0911
    """The error that stands for a refusing answer of ``status`` with the text ``body``."""
    detail = _detail(body, status)
    where = (request.server, request.operation, request.address)
    if status in (401, 403):
        return _denied(request, detail, status)
    if status == 404:
        return NotFoundError(*where, detail, status)
    if status == 503 and _says(_PROXY_LOST_IT, detail):
        return _lost(request, detail, status)
    if status in (412, 429, 472, 473, 503):
        return UnavailableError(*where, detail, status, transient=True, retry_after=_retry_after(headers))
    if status in (502, 504):
        return _lost(request, detail, status)
    if 300 <= status < 400:
        target = _printable(headers.get("Location", "another address"))
        return UnavailableError(*where, f"it sends callers on to {target}; give that address instead", status)
    if status == 400 and _says(_WANTS_HTTPS, detail):
        return not_sent(request, "it speaks https only; give an https address")
    if status < 500:
        if status == 409 or _says(_CONFLICT, detail):
            return ConflictError(*where, detail, status)
        return InvalidRequestError(*where, detail, status)
    return _classify_failure(request, status, detail, _is_page(body))


def _classify_failure(request: Request, status: int, detail: str, page: bool) -> ServerError:  # noqa: PLR0911
    where = (request.server, request.operation, request.address)
    if request.server in _PLAIN_FAILURES:
        return _lost(request, detail, status)
    core = re.sub(_RPC_PREFIX, "", detail, flags=re.IGNORECASE)
    if page or core.strip().lower() in _GENERIC:
        return _lost(request, detail, status)
    if _says(_CONFLICT, core):
        return ConflictError(*where, detail, status)
    if _says(_DENIED, core):
        return _denied(request, detail, status)
    if _says(_NOT_TAKEN_UP, core):
        if _says(_NOT_PASSED_ON, core):
            detail = f"it cannot pass the request on to the server that has to take it, mostly the leader ({detail})"
        return UnavailableError(*where, detail, status, transient=True)
    if _says(_LOST_ON_THE_WAY, core):
        return _lost(request, detail, status)
    if _says(_ABSENT, core):
        return NotFoundError(*where, detail, status)
    if _says(_INVALID, core):
        return InvalidRequestError(*where, detail, status)
    return _lost(request, detail, status)


def _says(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def _denied(request: Request, detail: str, status: int) -> DeniedError:
    """Consul and Vault name the right or the path; Nomad does not, so that is done here."""
    right = needed_right(request.operation) if request.server == "nomad" else ""
    told = f"{detail} (this needs {right})" if right else detail
    return DeniedError(request.server, request.operation, request.address, told, status)


def lost_answer(request: Request, detail: str) -> ServerError:
    """The error for a request that was sent and got no whole answer: reset, timeout, or a body cut short."""
    return _lost(request, detail, None)


def not_sent(request: Request, detail: str, *, transient: bool = False) -> UnavailableError:
    """The error for a request that never reached the server: refused, unknown host, or an untrusted certificate."""
    return UnavailableError(request.server, request.operation, request.address, detail, transient=transient)


def not_swapped(request: Request, detail: str) -> ConflictError:
    """The error for Consul's ``200 false``: the index of a compare-and-set was not the stored one any more."""
    return ConflictError(request.server, request.operation, request.address, detail, 200)


def _lost(request: Request, detail: str, status: int | None) -> ServerError:
    if request.write:
        return UnknownOutcomeError(
            request.server, request.operation, request.address, f"{detail}; it may have been done all the same", status
        )
    return UnavailableError(request.server, request.operation, request.address, detail, status, transient=True)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _is_page(body: str) -> bool:
    return body.lstrip()[:64].lower().startswith(("<!doctype", "<html", "<head", "<?xml"))


def _detail(body: str, status: int) -> str:
    """The server's text as one short line without control characters."""
    if _is_page(body):
        return f"the answer is a web page (HTTP {status}); is a proxy in between?"
    text = " ".join(_unwrapped(body).split())
    return _printable(text) or f"HTTP {status} without a reason"


def _printable(text: str) -> str:
    """A foreign text as an error may carry it: not too long, and nothing in it that a terminal would obey."""
    return "".join(character for character in text if character.isprintable())[:_LONGEST_DETAIL]


def _unwrapped(body: str) -> str:
    """Vault and registries wrap their reasons in ``{"errors": [...]}``; the others answer plain text."""
    if not body.lstrip().startswith("{"):
        return body
    try:
        errors = json.loads(body).get("errors")
    except (ValueError, RecursionError):
        return body
    if errors == []:
        return ""
    return "; ".join(map(_reason, errors)) if isinstance(errors, list) else body


def _reason(error: object) -> str:
    """One reason: a text of Vault's, or an object with code and message of a registry's.

    Docker's registry says of a fault of its disk what Go's os.PathError holds.
    """
    if not isinstance(error, Mapping):
        return str(error)
    text = str(error.get("message") or error.get("code") or "")
    inner = (error.get("detail") or {}).get("Enclosed") if isinstance(error.get("detail"), Mapping) else None
    if isinstance(inner, Mapping) and isinstance(inner.get("Err"), int):
        return f"{text}: {inner.get('Op', '')} {inner.get('Path', '')}: {os.strerror(inner['Err']).lower()}"
    return text or str(dict(error))
