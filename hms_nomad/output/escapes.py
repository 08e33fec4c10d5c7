"""Keys on their way to a program elsewhere -> the same keys, and whether ``~.`` was typed where a line begins.

In a terminal that hands on every key, Ctrl-C too, this is the way out where the other side answers no more. As in
OpenSSH, ``~~`` there types one tilde.
"""

from __future__ import annotations

_MARK, _LEAVE, _LINE_ENDS = ord("~"), ord("."), frozenset(b"\r\n")


class Escapes:
    """Remembers what was typed last, since keys come one by one."""

    def __init__(self) -> None:
        self._begins_line = True
        self._held = False
        self.left = False
        """True once ``~.`` was typed; what comes after it counts no more."""

    def feed(self, keys: bytes) -> bytes:
        """What goes on of these keys; a tilde at the beginning of a line waits for the next key."""
        passed = bytearray()
        for key in keys:
            if self._held:
                self._held = False
                if key == _LEAVE:
                    self.left = True
                    break
                passed.append(_MARK)
                if key == _MARK:
                    self._begins_line = False
                    continue
            elif self._begins_line and key == _MARK:
                self._held = True
                continue
            passed.append(key)
            self._begins_line = key in _LINE_ENDS
        return bytes(passed)
