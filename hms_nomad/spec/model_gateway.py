"""What a spec says of its way through the gateway, and of what is changed in requests and answers on the way."""

from typing import Annotated

from pydantic import Field, StringConstraints

from hms_nomad.spec.section import HostName, Section, ServiceName

HEADER = r"^[A-Za-z0-9-]+$"
HEADER_VALUE = r"^[ -~]+$"
RATE = r"^[1-9][0-9]{0,6}/[smh]$"

HeaderName = Annotated[str, StringConstraints(pattern=HEADER, max_length=100)]
HeaderValue = Annotated[str, StringConstraints(pattern=HEADER_VALUE, max_length=1000)]
Rate = Annotated[str, StringConstraints(pattern=RATE)]


class HeaderRules(Section):
    """How the headers of a request or an answer are changed."""

    set: dict[HeaderName, HeaderValue] = Field(
        {}, description="Headers with their values; they replace what is there.", examples=[{"x-api": "v2"}]
    )
    remove: tuple[HeaderName, ...] = Field((), description="Headers that are taken away.", examples=[["server"]])


class RouteHeaders(Section):
    """Changes of headers, made by the caller's sidecar and by the gateway."""

    request: HeaderRules = Field(HeaderRules(), description="What the service gets.")
    response: HeaderRules = Field(HeaderRules(), description="What the caller gets.")


class Token(Section):
    """The token (JWT) that a request from outside must carry."""

    provider: ServiceName = Field(
        description="Who issued it: a name in `gateway.jwt` of the platform's context.", examples=["agency-idp"]
    )
    claims: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$")], str] = Field(
        {}, description="Claims that it must have, with their values.", examples=[{"role": "auditor"}]
    )


class WayIn(Section):
    """The service's way through the gateway."""

    hosts: tuple[HostName, ...] = Field(
        (),
        description="Names of hosts under which its public routes are reached; any when empty.",
        examples=[["api.agency.gov"]],
    )
    jwt: Token | None = Field(None, description="Token that requests from outside must carry; none when absent.")
