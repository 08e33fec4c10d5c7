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


def test_a_command_ends_when_its_time_is_over(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "hms_nomad", "status", "--timeout", "0.5s"],
            env={**os.environ, "NOMAD_ADDR": address, "HMS_NOMAD_CONFIG_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 124
    assert done.stderr == "error: not done within 0.5 s, as --timeout says\n"


def test_the_second_signal_ends_a_command_at_once():
    program = (
        "import time\n"
        "from hms_nomad.apply.interrupts import handle_signals\n"
        "handle_signals()\n"
        "try:\n"
        "    print('waits', flush=True)\n"
        "    time.sleep(60)\n"
        "finally:\n"
        "    print('ends', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "ends\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        assert "left at once" in process.stderr.read()
