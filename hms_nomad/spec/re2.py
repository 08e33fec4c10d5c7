"""A regular expression -> what is wrong with it in the eyes of RE2, the engine of the sidecars.

No engine of that kind is at hand here, so Python's stands in: what only RE2 knows is put in Python's words first, and
what only Python knows is refused (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
import warnings

_MOST_REPEATS = 1000

_NOT_RE2 = (
    (re.compile(r"\\(?:[1-9]|k|g)"), "uses a backreference"),
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "uses a lookaround"),
    (re.compile(r"\(\?(?:>|#|\(|P=)"), "uses a group that RE2 does not know"),
    (re.compile(r"\\Z"), r"uses \Z, which RE2 calls \z"),
    (re.compile(r"[*+?}]\+"), "uses a possessive quantifier"),
)
_ONLY_RE2 = (
    (re.compile(r"\\Q.*?(?:\\E|\Z)", re.DOTALL), "x"),
    (re.compile(r"\\[pP](?:[A-Z]|\{\^?\w{1,40}\})"), r"\\w"),
    (re.compile(r"\\z"), "$"),
    (re.compile(r"\\C"), "."),
    (re.compile(r"\\x\{[0-9A-Fa-f]{1,6}\}"), "x"),
    (re.compile(r"\(\?<([A-Za-z_]\w*)>"), r"(?P<\1>"),
    (re.compile(r"\(\?[imsU]*(?:-[imsU]+)?(?=[:)])"), "(?:"),
    (re.compile(r"\(\?::"), "(?:"),
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
