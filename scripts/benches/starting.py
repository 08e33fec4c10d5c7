"""B1 and B20: how soon the program is there, and how large it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .figures import ROOT, Figure, Goal, command, in_turns, milliseconds, ours, peak_mib, plain_environment

_SCRIPT = "import sys; from hms_nomad.__main__ import main; sys.argv[0] = 'hms-nomad'; sys.exit(main())"
"""What pip writes as the program's file; so a checkout is measured as well as what is installed."""


def start(blocks: int) -> list[Figure]:
    """B1: the version, a completion, the help."""
    environment = plain_environment()
    completing = environment | {
        "_HMS_NOMAD_COMPLETE": "complete_bash",
        "COMP_WORDS": "hms-nomad de",
        "COMP_CWORD": "1",
    }
    nomad_completing = environment | {"COMP_LINE": "nomad jo", "COMP_POINT": "8"}
    bare = [sys.executable, "-c", "pass"]
    figures = []
    for what, words, own, peer, peer_environment, goals in (
        ("--version", ["--version"], environment, ["nomad", "version"], environment, [Goal("ours/peer", at_most=1.0)]),
        ("completion of a command", [], completing, ["nomad"], nomad_completing, [Goal("ours/peer", at_most=1.0)]),
        ("--help", ["--help"], environment, ["nomad", "--help"], environment, [Goal("ours", at_most=100)]),
    ):
        found = in_turns(
            blocks * 5,
            {
                "ours": lambda words=words, own=own: command([sys.executable, "-c", _SCRIPT, *words], own),
                "peer": lambda peer=peer, own=peer_environment: command(peer, own, codes=(0, 127)),
                "limit": lambda: command(bare, environment),
            },
        )
        name = " ".join(peer)
        figures.append(Figure("B1", what, "ms", milliseconds(found), f"{name}", "the interpreter alone", goals=goals))
    return figures


def size() -> list[Figure]:
    """B20: the wheel, and the memory of a command."""
    folder = Path(tempfile.mkdtemp(prefix="bench-size-"))
    try:
        command(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), "."], plain_environment()
        )
        wheel = next(folder.glob("hms_nomad-*.whl")).stat().st_size / 1024
        spec = ROOT / "examples" / "receipt" / "receipt.hms.yml"
        memory = peak_mib([sys.executable, "-m", "hms_nomad", "render", str(spec)], plain_environment())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Figure("B20", "size of the wheel", "KiB", {"ours": [wheel]}, goals=[Goal("ours", at_most=500)]),
        Figure("B20", "memory of render, one service", "MiB", {"ours": [memory]}, goals=[Goal("ours", at_most=80)]),
    ]


def versions() -> list[str]:
    """What was measured, by each program's own word."""
    found = [ours(plain_environment(), "--version").strip(), f"Python {sys.version.split()[0]}"]
    for program in ("nomad", "consul", "envoy"):
        if shutil.which(program):
            flag = "--version" if program == "envoy" else "version"
            said = subprocess.run([program, flag], capture_output=True, text=True, check=False).stdout
            number = re.search(r"\d+\.\d+\.\d+", said)
            found.append(f"{program} {number.group() if number else 'of an unknown version'}")
    return found
