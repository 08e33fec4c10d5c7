"""SIGINT and SIGTERM end a command in the middle of a call with code 130 and one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_command(number, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = {**os.environ, "NOMAD_ADDR": address, "HMS_NOMAD_CONFIG_DIR": str(tmp_path)}
        command = subprocess.Popen(
            [sys.executable, "-m", "hms_nomad", "status"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Once it asks, it waits for an answer that never comes.
        connection, _ = server.accept()
        command.send_signal(number)
        out, err = command.communicate(timeout=60)
        connection.close()
    assert command.returncode == 130
    assert out == ""
    assert err in ("interrupted\n", "terminated\n")
