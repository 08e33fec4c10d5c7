"""What a spec says of its way through the gateway, and of what is changed in requests and answers on the way."""

from typing import Annotated

from hms_nomad.sections.forms import RATE
from hms_nomad.sections.section import Limits, Section, field
from hms_nomad.spec.forms import HostName, ServiceName

HEADER = r"^[A-Za-z0-9-]+$"
HEADER_VALUE = r"^[ -~]+$"

HeaderName = Annotated[str, Limits(pattern=HEADER, max_length=100)]
HeaderValue = Annotated[str, Limits(pattern=HEADER_VALUE, max_length=1000)]
Rate = Annotated[str, Limits(pattern=RATE)]


class HeaderRules(Section):
    """How the headers of a request or an answer are changed."""

    set: dict[HeaderName, HeaderValue] = field(
        default={}, description="Headers with their values; they replace what is there.", examples=[{"x-api": "v2"}]
    )
    remove: tuple[HeaderName, ...] = field(
        default=(), description="Headers that are taken away.", examples=[["server"]]
    )


class RouteHeaders(Section):
    """Changes of headers, made by the caller's sidecar and by the gateway."""

    request: HeaderRules = field(default=HeaderRules(), description="What the service gets.")
    response: HeaderRules = field(default=HeaderRules(), description="What the caller gets.")


class Token(Section):
    """The token (JWT) that a request from outside must carry."""

    provider: ServiceName = field(
        description="Who issued it: a name in `gateway.jwt` of the platform's context.", examples=["agency-idp"]
    )
    claims: dict[Annotated[str, Limits(pattern=r"^[A-Za-z0-9_.-]+$")], str] = field(
        default={}, description="Claims that it must have, with their values.", examples=[{"role": "auditor"}]
    )


class WayIn(Section):
    """The service's way through the gateway."""

    hosts: tuple[HostName, ...] = field(
        default=(),
        description="Names of hosts under which its public routes are reached; any when empty.",
        examples=[["api.agency.gov"]],
    )
    jwt: Token | None = field(
        default=None, description="Token that requests from outside must carry; none when absent."
    )
