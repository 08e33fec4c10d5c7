"""Throw damaged and hostile files at the spec loader for some seconds, and fail on any exception or too much memory.

    scripts/fuzz_loader.py --seconds 600 --seed 7

Prints how many files were read and refused, the slowest one in seconds of processor time, and the peak of the process's
memory; ends with code 1 when something was wrong, after writing the file that caused it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hms_nomad.spec.checks import rules
from hms_nomad.spec.document import MAX_BYTES
from hms_nomad.spec.documentation import example_of
from hms_nomad.spec.loader import examine
from hms_nomad.spec.model import Source
from hms_nomad.spec.origins import origins
from hms_nomad.spec.selection import Selection

MEMORY_LIMIT_MIB = 200
TIME_LIMIT_SECONDS = 1.0

TOKENS = [
    *Source.__struct_fields__,
    *("&a ", "*a", "<<: ", "!!str ", "!!python/object:os.system ", "---\n", "...\n", "? ", "- ", "{", "}", "[", "]"),
    *(
        ": ",
        ",",
        "\t",
        '"',
        "'",
        "|\n",
        ">\n",
        "#",
        "%YAML 1.3\n",
        "@",
        "`",
        "${var.x}",
        "$${var.x}",
        "${env.X}",
        "{{ }}",
    ),
    *("\n", "\n  ", "\r\n", "\u2028", "\u00a0", "\ufeff", "\0", "\x07", "\ud800", "\U0001f600", "é", "\\u0000", "\\x"),
    *(
        "1.20",
        "017",
        "0x1F",
        "1e999",
        "-0",
        ".nan",
        ".inf",
        "9" * 60,
        "null",
        "~",
        "true",
        "yes",
        "12:30",
        "2026-01-01",
    ),
    *("../", "-rf", "a" * 300, "(?=a)", "(a+)+$", "sha256:", "http://", "1s", "0s", "99999999999999h", "*", "0", "-1"),
]


def seeds() -> list[str]:
    """Good and bad files to start from: the example of every rule, and what is in the project's examples."""
    files = sorted(Path(__file__).parents[1].glob("examples/**/*.hms.*"))
    return [text for rule in rules() if (text := example_of(rule))] + [path.read_text() for path in files]


def bombs() -> Iterator[bytes | str]:
    """Files of the largest size that is read, each hostile in its own way."""
    for unit in (
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "[[],",
        "- [],\n",
        "a",
        "'",
        '"',
        "&a ",
        "*a ",
        "!",
        "#\n",
        "\n",
        "|\n ",
        ",",
        "\\",
    ):
        yield unit * (MAX_BYTES // len(unit))
    lists = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))
    yield f"a0: &a0 [x]\n{lists}\n"
    yield "".join(f"k{number}: {number}\n" for number in range(60_000))[:MAX_BYTES]
    yield "".join(f"k{number}: {number}\n" for number in range(9_990))
    yield "env:\n" + "".join(f"  K{number}: v\n" for number in range(9_900))
    yield "name: a\nnomad: {job: " + "{a: " * 60 + "}" * 62
    yield json.dumps({"uses": ["a"] * 9_900})
    yield json.dumps({"routes": [{"path": f"/{number}"} for number in range(4_900)]})
    yield json.dumps({"environments": {f"e{number}": {"scaling": {"min": number}} for number in range(3_000)}})
    yield json.dumps({"environments": {f"e{n}": {"env": {f"A{m}": "" for m in range(980)}} for n in range(10)}})
    yield json.dumps({"variables": {f"v{number}": {"type": "integer", "default": 1} for number in range(3_000)}})
    many = {f"A{number}": "" for number in range(9_900)}
    yield json.dumps({"env": many, "environments": {f"e{number}": {} for number in range(10)}})
    yield 'env: {A: "' + "${var.x}" * 100_000 + '"}'
    yield "description: |\n" + "  line\n" * 100_000
    yield b"\xff" * MAX_BYTES


def mutate(text: str, source: random.Random) -> str:
    """The text with a few parts replaced, removed, repeated, or broken by a token."""
    for _ in range(source.randint(1, 6)):
        at = source.randint(0, len(text))
        until = min(len(text), at + source.choice((0, 0, 1, 3, 12, 60)))
        piece = source.choice(
            ("", source.choice(TOKENS), source.choice(TOKENS) * source.randint(1, 30), text[at:until] * 2)
        )
        text = text[:at] + piece + text[until:]
    return text


def read(content: bytes | str, name: str, selection: Selection) -> bool:
    """Examine one file; True when it is a spec. Any exception, and any finding on two lines, is a fault."""
    examined = examine(content, name, selection, every_environment=selection.environment is None)
    for found in examined.diagnostics:
        if not str(found).isprintable():
            raise ValueError(f"a finding that is not one line: {found!r}")
    origins(examined)
    return examined.spec is not None


def main() -> int:
    """Run until the time is over; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    source = random.Random(chosen.seed)
    corpus = seeds()
    hostile = list(bombs())
    end = time.monotonic() + chosen.seconds
    count, good, slowest = 0, 0, 0.0
    while time.monotonic() < end:
        content: bytes | str = hostile[count] if count < len(hostile) else mutate(source.choice(corpus), source)
        if isinstance(content, str) and source.random() < 0.3:
            content = content.encode(errors="surrogatepass")
        name = source.choice(("f.hms.yml", "f.hms.json", "-"))
        selection = Selection(
            source.choice((None, None, "staging")), {"x": source.choice(TOKENS)}, source.random() < 0.5
        )
        started = time.process_time()
        try:
            good += read(content, name, selection)
        except Exception as error:  # noqa: BLE001 any exception is the fault that is looked for
            return report(content, f"{type(error).__name__}: {error}")
        slowest = max(slowest, time.process_time() - started)
        if slowest > TIME_LIMIT_SECONDS:
            return report(content, f"took {slowest:.2f} s")
        count += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} files, {good} of them specs; slowest {slowest:.3f} s; peak memory {peak:.0f} MiB")
    return 0 if peak < MEMORY_LIMIT_MIB else 1


def report(content: bytes | str, reason: str) -> int:
    """Keep the file that was handled wrongly."""
    where = Path("fuzz-failure.bin")
    where.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    print(f"{reason}; the file is in {where}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
