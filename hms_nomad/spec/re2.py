"""A regular expression -> what is wrong with it in the eyes of RE2, the engine of the sidecars.

No engine of that kind is at hand here, so Python's stands in: what only RE2 knows is put in Python's words first, and
what only Python knows is refused (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
import warnings

from hms_nomad.patterns import lazy_pattern

_MOST_REPEATS = 1000

_NOT_RE2 = (
    (lazy_pattern(r"\\(?:[1-9]|k|g)"), "uses a backreference"),
    (lazy_pattern(r"\(\?(?:[=!]|<[=!])"), "uses a lookaround"),
    (lazy_pattern(r"\(\?(?:>|#|\(|P=)"), "uses a group that RE2 does not know"),
    (lazy_pattern(r"\\Z"), r"uses \Z, which RE2 calls \z"),
    (lazy_pattern(r"[*+?}]\+"), "uses a possessive quantifier"),
)
_ONLY_RE2 = (
    (lazy_pattern(r"\\Q.*?(?:\\E|\Z)", re.DOTALL), "x"),
    (lazy_pattern(r"\\[pP](?:[A-Z]|\{\^?\w{1,40}\})"), r"\\w"),
    (lazy_pattern(r"\\z"), "$"),
    (lazy_pattern(r"\\C"), "."),
    (lazy_pattern(r"\\x\{[0-9A-Fa-f]{1,6}\}"), "x"),
    (lazy_pattern(r"\(\?<([A-Za-z_]\w*)>"), r"(?P<\1>"),
    (lazy_pattern(r"\(\?[imsU]*(?:-[imsU]+)?(?=[:)])"), "(?:"),
    (lazy_pattern(r"\(\?::"), "(?:"),
)


def regex_fault(pattern: str) -> str:
    """Why RE2 would refuse a pattern, as the rest of a sentence; "" when nothing is known against it."""
    plain = re.sub(r"\\\\", "x", pattern)
    for found, meaning in _ONLY_RE2:
        plain = found.sub(meaning, plain)
    for found, reason in _NOT_RE2:
        if found.search(plain):
            return reason
    if any(int(count) > _MOST_REPEATS for count in re.findall(r"\{(?:\d*,)?(\d{1,20})\}", plain)):
        return f"repeats more than {_MOST_REPEATS} times"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(plain)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is no regular expression: {getattr(error, 'msg', 'it is too complex')}"
    return ""
