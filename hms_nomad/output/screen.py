"""Lines -> a view on the terminal that is drawn again and again in the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def screen() -> Iterator[Callable[[Sequence[str]], None]]:
    """A view on stdout: what is called with new lines replaces the old ones. The last ones stay at the end."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda lines: live.update(Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)
