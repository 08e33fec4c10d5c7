"""Values of a plan -> the same values without secrets: what a plan shows, saves or sends to a pipeline's log.

By its name, by the form of its value, or by the option before it: whatever looks like a secret is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.rules_security import looks_secret

HIDDEN = "(hidden)"
_SECRET_WORD = lazy_pattern(r"pass(?!ive|thr|ing)|secret|token|credential|private|api_?key", re.IGNORECASE)
_OPTION = lazy_pattern(
    r"(?P<name>--?[\w-]*(?:password|passwd|passphrase|secret|token|api-?key|credential)[\w-]*)(?P<sign>=?)",
    re.IGNORECASE,
)
_LINE = lazy_pattern(
    r"^(?P<name>[^\S\n]*[\"']?[\w.-]*(?:pass(?!ive|thr|ing)|secret|token|credential|private|api_?key)[\w.-]*[\"']?"
    r"[^\S\n]*[:=][^\S\n]*)\S[^\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_FREE_TEXT = frozenset({"Env", "Meta", "Config", "Options", "Labels", "Templates"})
"""Maps of the job that the user fills: a name in them says something about its value."""


def without_secrets(path: str, value: Any) -> Any:
    """``value`` of the field at a dotted ``path`` with everything that looks like a secret replaced by ``HIDDEN``."""
    words = path.split(".")
    named = any(holder in _FREE_TEXT for holder in words[:-1])
    return _clean(words[-1] if named else "", value, named=bool(_FREE_TEXT & set(words)))


def _clean(name: str, value: Any, *, named: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _clean(str(key) if named or key in _FREE_TEXT else "", item, named=named or key in _FREE_TEXT)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return _clean_words(name, list(value), named=named)
    if value is None or isinstance(value, bool):
        return value
    text = str(value)
    secret = (name and text and _SECRET_WORD.search(name)) or looks_secret(name, text)
    if not secret and "\n" in text:
        # The content of a file: a line that sets a secret loses its value, the others tell what changes.
        return _LINE.sub(lambda line: f"{line.group('name')}{HIDDEN}", text)
    return HIDDEN if secret else value


def _clean_words(name: str, words: list[Any], *, named: bool) -> list[Any]:
    """A list, of arguments as it may be: ``--password=x`` and ``--password x`` keep the option and lose the value."""
    cleaned: list[Any] = []
    hide_next = False
    for word in words:
        option = _OPTION.match(word) if isinstance(word, str) else None
        if hide_next and isinstance(word, str) and not word.startswith("-"):
            cleaned.append(HIDDEN)
        elif option and option.group("sign"):
            cleaned.append(f"{option.group()}{HIDDEN}")
        else:
            cleaned.append(_clean(name, word, named=named))
        hide_next = bool(option and not option.group("sign"))
    return cleaned
