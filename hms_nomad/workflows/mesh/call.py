"""``call``: one request into the mesh from this machine, with an identity of its own and the other side's checked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from msgspec import Struct

from hms_nomad.clients.errors import InvalidRequestError, UnavailableError
from hms_nomad.clients.http_call import HTTP, Answer, Target, ask
from hms_nomad.compile.limits import REFUSAL
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.rights import ANYBODY, allowances
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.mesh.caller import Caller, targets
from hms_nomad.workflows.session import Session

_BAD_SIGNS = frozenset("\r\n\0")


class CallOptions(Struct, frozen=True):
    """``identity`` is the service that the request comes from (None: this user's own); ``release`` picks instances of
    one release; ``timeout`` in seconds bounds connecting and each wait for data.
    """

    identity: str | None = None
    release: str | None = None
    timeout: float = 15.0


@dataclass(frozen=True, slots=True)
class Called:
    """An answer with the proof of the hop: who called, who answered (both SPIFFE ids), and at which address.

    ``refused`` says that the mesh, not the service, refused the request; ``callers`` then names who may call at all.
    """

    service: str
    instance: str
    caller: str
    peer: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    refused: bool = False
    callers: tuple[str, ...] = ()


def call(
    session: Session, method: str, url: str, headers: Mapping[str, str], body: bytes | None, options: CallOptions
) -> Called:
    """Send one request to a healthy instance of the service that ``url`` names, through its sidecar.

    An instance that cannot be reached is passed over; a request that was sent is never sent again. Raises
    InvalidRequestError for a URL that names no service of the mesh, NotFoundError, UnavailableError,
    UnknownOutcomeError, DeniedError when the other side is not who it should be, and the other errors of
    ``hms_nomad.clients.errors``.
    """
    service, path = service_of(url, session.platform)
    check_request(method, path, headers)
    caller = Caller.of(session, options.identity)
    instances = list(targets(session, service, caller, options.release))
    random.shuffle(instances)
    context = caller.context_for((HTTP,))
    sent = {"Host": urlsplit(_whole(url)).netloc, "User-Agent": "hms-nomad", **headers}
    last: UnavailableError | None = None
    for target in instances:
        try:
            answer = ask(target, method, path, sent, body, options.timeout, context)
        except UnavailableError as error:
            last = error
        else:
            return _called(session, service, target, caller, answer)
    raise last or UnavailableError(service, "be called", session.consul.address, "no instance of it is healthy")


def service_of(url: str, platform: Platform) -> tuple[str, str]:
    """The service and the path with its query that a URL of the mesh names: "http://receipt-svc.mesh/receipt".

    The scheme and the mesh's domain may be left out. Raises InvalidRequestError for any other URL.
    """
    parts = urlsplit(_whole(url))
    host = (parts.hostname or "").removesuffix(f".{platform.mesh_domain}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "http" or not host or "." in host or port not in (None, 80) or parts.username is not None:
        example = f"http://receipt-svc.{platform.mesh_domain}/receipt"
        raise InvalidRequestError(
            "the mesh", "call it", url, f"this is no URL of the mesh; write for example {example}"
        )
    query = f"?{parts.query}" if parts.query else ""
    return host, f"{parts.path or '/'}{query}"


def check_request(method: str, path: str, headers: Mapping[str, str]) -> None:
    """Raises InvalidRequestError for a method or a header that cannot be sent."""
    if not method.isalpha() or not method.isascii():
        raise InvalidRequestError("the mesh", "call it", path, f"{method!r} is no HTTP method")
    for name, value in headers.items():
        if not name or _BAD_SIGNS & set(name + value) or any(sign.isspace() or sign == ":" for sign in name):
            raise InvalidRequestError("the mesh", "call it", path, f"{name!r} cannot be sent as a header")


def _whole(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def _called(session: Session, service: str, target: Target, caller: Caller, answer: Answer) -> Called:
    refused = answer.status == 403 and answer.body.startswith(REFUSAL.encode())
    return Called(
        service=service,
        instance=f"{target.host}:{target.port}",
        caller=caller.leaf.spiffe_id,
        peer=answer.peer,
        status=answer.status,
        reason=answer.reason,
        headers=answer.headers,
        body=answer.body,
        refused=refused,
        callers=_callers(session, service) if refused else (),
    )


def _callers(session: Session, service: str) -> tuple[str, ...]:
    entry = session.consul.read_entry(INTENTIONS, service)
    sources = (entry.body.get("Sources") or ()) if entry else ()
    return tuple(sorted(source["Name"] for source in sources if source["Name"] != ANYBODY and allowances(source)))
