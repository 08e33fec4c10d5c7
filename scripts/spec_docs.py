"""The spec language -> the files in docs/ that are made from it. Run it after a change in hms_nomad/spec."""

from __future__ import annotations

from pathlib import Path

from hms_nomad.spec.documentation import generated

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    for name, text in generated().items():
        (ROOT / name).write_text(text, encoding="utf-8")
        print(f"wrote {name}")
