"""Prometheus' text format, version 0.0.4 -> metrics. Comments are left out; a line that is none of both is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

_LINE = lazy_pattern(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL = lazy_pattern(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|$)')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_ESCAPE = lazy_pattern(r"\\.")


class Metric(Struct, frozen=True):
    """One sample; ``text`` is its value as written, because a float cannot hold every count."""

    name: str
    labels: Mapping[str, str]
    text: str

    @property
    def value(self) -> float:
        """The value; NaN and the infinities are such. Raises ValueError for what is no number."""
        return float(self.text)

    @property
    def count(self) -> int:
        """The value as a whole number, exact however large. Raises ValueError when it is none."""
        return int(self.text) if self.text.isdigit() else int(float(self.text))


def parse_metrics(page: str) -> Iterator[Metric]:
    """The metrics of a page, in its order. Raises ValueError for a line that is neither metric nor comment.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    """
    for number, line in enumerate(page.split("\n"), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _LINE.fullmatch(text)
        if found is None:
            raise ValueError(f"line {number} is no metric")
        name, labels, value = found.groups()
        yield Metric(name, _labels(labels or "", number), value)


def _labels(text: str, number: int) -> dict[str, str]:
    labels: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _LABEL.match(text, position)
        if found is None:
            raise ValueError(f"line {number} has labels that cannot be read")
        labels[found[1]] = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape.group(), escape.group()), found[2])
        position = found.end()
    return labels
