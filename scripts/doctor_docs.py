"""hms_nomad/doctor -> docs/doctor.md: the table of codes in the page is made from the one that the program has."""

from __future__ import annotations

from pathlib import Path

from hms_nomad.doctor.finding import CODES, Section

PAGE = Path(__file__).parents[1] / "docs" / "doctor.md"
BEGIN = "<!-- the table of codes, made by scripts/doctor_docs.py -->"


def page() -> str:
    """The page with its table made anew."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[0] + "\n".join([BEGIN, *_table()]) + "\n"


def _table() -> list[str]:
    lines = []
    for section in Section:
        lines += ["", f"### {section.value.capitalize()}", "", "| code | level | what is wrong | what would be right |"]
        lines += ["|---|---|---|---|"]
        for code, row in CODES.items():
            if row.section is section:
                lines.append(f"| {code} | {row.level} | {_cell(row.means)} | {_cell(row.hint)} |")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
