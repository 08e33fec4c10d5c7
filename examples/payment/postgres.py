"""A client for PostgreSQL in one file, so that the example needs nothing but Python; a program of weight uses psycopg.

Speaks version 3 of the protocol (https://www.postgresql.org/docs/15/protocol.html): TLS before the first word, a
password by SCRAM-SHA-256, and statements with parameters, which are never put into the text of the statement.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct

_TLS_REQUEST, _VERSION = 80877103, 196608
_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12


class PostgresError(Exception):
    """The server refused something; the text is its own."""


class Postgres:
    """A connection; to be used by one thread, and with ``with``."""

    def __init__(self, host, port, *, user, password, database, ca, server_name, timeout=10):
        """Connect and log in; the server's certificate must be for ``server_name`` and come from ``ca`` (PEM)."""
        context = ssl.create_default_context(cadata=ca)
        plain = socket.create_connection((host, port), timeout)
        plain.sendall(struct.pack("!II", 8, _TLS_REQUEST))
        if plain.recv(1) != b"S":
            plain.close()
            raise PostgresError("the server does not speak TLS")
        self._socket = context.wrap_socket(plain, server_hostname=server_name)
        self._stream = self._socket.makefile("rb")
        words = _texts("user", user, "database", database) + b"\0"
        self._socket.sendall(struct.pack("!II", len(words) + 8, _VERSION) + words)
        self._log_in(password)
        self._until_ready()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._socket.close()

    def query(self, statement, *values):
        """Run one statement with ``$1``, ``$2``... as given; the rows that come back, of texts or None."""
        given = [None if value is None else str(value).encode() for value in values]
        bound = b"".join(b"\xff\xff\xff\xff" if one is None else struct.pack("!I", len(one)) + one for one in given)
        self._socket.sendall(
            _message(b"P", _texts("", statement) + struct.pack("!H", 0))
            + _message(b"B", _texts("", "") + struct.pack("!HH", 0, len(given)) + bound + struct.pack("!H", 0))
            + _message(b"E", _texts("") + struct.pack("!I", 0))
            + _message(b"S", b"")
        )
        return self._until_ready()

    def _log_in(self, password):
        nonce = base64.b64encode(secrets.token_bytes(18)).decode()
        first, salted, said = f"n=,r={nonce}", b"", ""
        while True:
            kind, body = self._read()
            if kind != b"R":
                continue
            asked, rest = struct.unpack("!I", body[:4])[0], body[4:]
            if asked == _OK:
                return
            if asked == _SASL:
                start = f"n,,{first}".encode()
                self._send_word(_texts("SCRAM-SHA-256") + struct.pack("!I", len(start)) + start)
            elif asked == _SASL_CONTINUE:
                server = dict(word.split("=", 1) for word in rest.decode().split(","))
                if not server["r"].startswith(nonce):
                    raise PostgresError("the server answers another login than this one")
                salt, rounds = base64.b64decode(server["s"]), int(server["i"])
                salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
                last = f"c=biws,r={server['r']}"
                said = f"{first},{rest.decode()},{last}"
                key = _signed(salted, "Client Key")
                seal = _signed(hashlib.sha256(key).digest(), said)
                proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, seal, strict=True))).decode()
                self._send_word(f"{last},p={proof}".encode())
            elif asked == _SASL_FINAL:
                seal = _signed(_signed(salted, "Server Key"), said)
                if not hmac.compare_digest(rest, b"v=" + base64.b64encode(seal)):
                    raise PostgresError("the server does not know the password itself")
            else:
                raise PostgresError("the server asks for another way to log in than SCRAM-SHA-256")

    def _send_word(self, word):
        self._socket.sendall(_message(b"p", word))

    def _until_ready(self):
        rows, refusal = [], None
        while True:
            kind, body = self._read()
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                refusal = _refusal(body)
            elif kind == b"Z":
                if refusal is not None:
                    raise refusal
                return rows

    def _read(self):
        head = self._stream.read(5)
        if len(head) < 5:
            raise PostgresError("the connection ended")
        kind, body = head[:1], self._stream.read(struct.unpack("!I", head[1:])[0] - 4)
        if kind == b"E" and body.startswith((b"SFATAL\0", b"SPANIC\0")):
            raise _refusal(body)
        return kind, body


def _texts(*texts):
    return b"".join(text.encode() + b"\0" for text in texts)


def _message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def _signed(key, text):
    return hmac.digest(key, text.encode(), "sha256")


def _row(body):
    values, place = [], 2
    for _ in range(struct.unpack("!H", body[:2])[0]):
        length = struct.unpack("!i", body[place : place + 4])[0]
        place += 4
        values.append(None if length < 0 else body[place : place + length].decode())
        place += max(0, length)
    return tuple(values)


def _refusal(body):
    fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
    return PostgresError(f"{fields.get(b'C', '')} {fields.get(b'M', '')}".strip())
