"""A gRPC service is asked for its health through its sidecar, by the name that the spec gives."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live.conftest import Cli

# As much of HTTP/2 as one unary answer takes: it is healthy for whoever asks for gov.Ledger, and for nobody else.
_SERVER = r"""
import os, socket, struct, threading

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data

HEAD = b"\x88" + b"\x0f\x10" + bytes([16]) + b"application/grpc"
TAIL = b"\x00" + bytes([11]) + b"grpc-status" + bytes([1]) + b"0"

def serve(connection):
    try:
        exactly(connection, 24)
        connection.sendall(frame(4, 0, 0))
        asked = {}
        while True:
            head = exactly(connection, 9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
            payload = exactly(connection, length)
            if kind == 4 and not flags & 1:
                connection.sendall(frame(4, 1, 0))
            elif kind == 6 and not flags & 1:
                connection.sendall(frame(6, 1, 0, payload))
            elif kind in (0, 1):
                asked[stream] = asked.get(stream, b"") + (payload if kind == 0 else b"")
                if flags & 1:
                    status = 1 if b"gov.Ledger" in asked.pop(stream) else 2
                    message = b"\x00" + struct.pack(">I", 2) + bytes([8, status])
                    answer = frame(1, 4, stream, HEAD) + frame(0, 0, stream, message) + frame(1, 5, stream, TAIL)
                    connection.sendall(answer)
    except (EOFError, OSError):
        connection.close()

server = socket.create_server(("", int(os.environ["PORT"])))
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def spec_of(directory: Path, name: str, service: str) -> Path:
    fields = {
        "name": name,
        "version": "1.0.0",
        "command": ["python3", "local/server.py"],
        "files": {"server.py": {"content": _SERVER}},
        "port": 9000,
        "protocol": "grpc",
        "health": {"kind": "grpc", "service": service},
        "rollout": {"deadline": "20s"},
    }
    path = directory / f"{service}.hms.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def test_a_grpc_service_is_healthy_by_its_own_word(cli: Cli, tmp_path: Path, service: str):
    healthy = cli("deploy", spec_of(tmp_path, service, "gov.Ledger"))
    assert healthy.exit_code == 0, healthy.stderr
    assert cli("plan", spec_of(tmp_path, service, "gov.Ledger")).exit_code == 0


def test_a_grpc_service_that_does_not_serve_is_not_deployed(cli: Cli, tmp_path: Path, service: str):
    sick = cli("deploy", spec_of(tmp_path, service, "gov.Other"))
    assert sick.exit_code == 5, sick.stdout
    assert "checks:\n    health:" in sick.stderr
