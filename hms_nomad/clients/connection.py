"""How one server is reached: address, certificates, token and time limits, checked before the first call."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.patterns import lazy_pattern

_TOKEN = lazy_pattern(r"[\x21-\x7e]*")
_NO_PASSWORD = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """Address, trust and patience for one server. Times are in seconds.

    ``address`` is a URL with scheme, host and port (a missing scheme means http). ``ca_file`` names the PEM file of the
    authority that signed the server's certificate; without it the public authorities count. Certificates are always
    verified. ``tls_server_name`` is the name expected in the certificate where it differs from the host.
    ``retry_seconds`` bounds how long one call is tried again while the server is only briefly unable to answer, and
    ``retries`` how often all calls of a command may be; several connections can share it.
    A token is refused on plain http to another machine unless ``insecure_http`` says that the way is safe.
    Raises InvalidRequestError when the address or one of the files cannot be used.
    """

    address: str
    token: str = field(default="", repr=False)
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    connect_timeout: float = 3.0
    read_timeout: float = 15.0
    insecure_http: bool = False
    retry_seconds: float = 10.0
    retries: RetryBudget = field(default_factory=RetryBudget, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _normal_address(self.address))
        if self.token and not self.insecure_http and not self.secure and not self._loopback:
            raise _unusable(
                self.address, "a token would cross the network unencrypted; use https, or allow insecure_http"
            )
        if not _TOKEN.fullmatch(self.token):
            raise _unusable(self.address, "the token holds a character that no token has (a space or a line end?)")
        for name in ("ca_file", "client_cert", "client_key"):
            file = getattr(self, name)
            if file is not None and not Path(file).is_file():
                raise _unusable(self.address, f"{name} {file} is no file")
        if self.client_key is not None and self.client_cert is None:
            raise _unusable(self.address, "a client_key needs its client_cert")
        self._check_certificates()

    @property
    def secure(self) -> bool:
        """True when the connection is encrypted and the server's certificate verified."""
        return self.address.startswith("https://")

    @property
    def verify(self) -> bool | str:
        """What requests checks certificates with: a PEM file, or True for the public authorities; never False."""
        return self.ca_file or True

    @property
    def certificate(self) -> str | tuple[str, str] | None:
        """The client's own certificate in the form that requests takes."""
        if self.client_cert is None:
            return None
        return (self.client_cert, self.client_key) if self.client_key else self.client_cert

    def tls(self) -> ssl.SSLContext:
        """The same trust for a connection that is opened without requests. Raises OSError for a file that is gone."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key, password=_NO_PASSWORD)
        return context

    def _check_certificates(self) -> None:
        """Load the files once, because the libraries below blame the server for a file that cannot be used."""
        if self.ca_file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.ca_file)
            except OSError:
                raise _unusable(self.address, f"ca_file {self.ca_file} holds no certificate in PEM") from None
        if self.client_cert is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
                    self.client_cert, self.client_key, password=_NO_PASSWORD
                )
            except OSError:
                key = self.client_key or self.client_cert
                detail = f"client_cert {self.client_cert} and the key in {key} are no pair in PEM without a password"
                raise _unusable(self.address, detail) from None

    @property
    def _loopback(self) -> bool:
        host = urlsplit(self.address).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def _normal_address(address: str) -> str:
    text = address.strip()
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
        # What no name server can be asked for: empty or overlong parts.
        (parts.hostname or "").encode("idna")
    except ValueError:
        # The text stays out of the error: it may hold a password.
        raise _unusable("the given address", "it is no URL of the form http(s)://host:port") from None
    if parts.username is not None or parts.password is not None:
        raise _unusable(f"{parts.scheme}://{parts.hostname}", "an address carries no user name or password")
    if parts.scheme not in ("http", "https"):
        raise _unusable(address, f"{parts.scheme} is not http or https")
    if not parts.hostname or any(character.isspace() for character in text):
        raise _unusable(address, "it names no host")
    if parts.query or parts.fragment:
        raise _unusable(address, "an address has no query or fragment")
    if port == 0:
        raise _unusable(address, "port 0 cannot be called")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _unusable(address: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError("the server", "be called", address, detail)
