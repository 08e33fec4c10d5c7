"""Words of a command line -> its answer where that needs no command line library: the version, and commands by Tab.

A shell asks for completions at every Tab, so loading Typer first would be felt. What is not answered here, such as
options and names from the cluster, Typer answers.
"""

from __future__ import annotations

from hms_nomad import __version__
from hms_nomad.cli.table import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def version_line() -> str:
    """What ``--version`` prints."""
    return f"hms-nomad {__version__}"


def quick_answer(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The whole standard output of this run, or None when it takes the real command line.

    ``program`` is the name that was called. Shells ask by the variables of Typer's completion scripts:
    https://typer.tiangolo.com/tutorial/options-autocompletion/.
    """
    if list(arguments) == ["--version"]:
        return version_line()
    shell = environment.get(f"_{program.replace('-', '_').upper()}_COMPLETE")
    if shell == "complete_bash":
        begun = _first_word(environment.get("COMP_WORDS", ""), typing=environment.get("COMP_CWORD") == "1")
        return None if begun is None else "\n".join(_commands(begun))
    if shell == "complete_zsh":
        line = environment.get("_TYPER_COMPLETE_ARGS", "")
        begun = _first_word(line, typing=line.endswith(" ") == (len(line.split()) == 1))
        found = () if begun is None else _commands(begun)
        listed = "\n".join(f'"{name}":"{COMMANDS[name].about}"' for name in found)
        return f"_arguments '*: :(({listed}))'" if found else None
    return None


def _first_word(line: str, *, typing: bool) -> str | None:
    """What was typed of the command's name; None when something else is typed, or a shell's quotes are in it."""
    words = line.split()
    if not typing or len(words) not in (1, 2) or any(mark in line for mark in "'\"\\$"):
        return None
    begun = words[1] if len(words) == 2 else ""
    return None if begun.startswith("-") else begun


def _commands(begun: str) -> list[str]:
    return [name for name in COMMANDS if name.startswith(begun)]
