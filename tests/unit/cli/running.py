"""Words of a command line -> what a user sees of it: the exit code and both streams."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from hms_nomad.cli.app import app


def run(*words: str, answer: str | None = None) -> Result:
    """Run ``hms-nomad WORDS`` in this process."""
    return CliRunner().invoke(app, list(words), input=answer)


def json_of(result: Result) -> Any:
    """The one JSON document that stdout holds."""
    return json.loads(result.stdout)


def raising(error: BaseException) -> Any:
    """A workflow that ends with ``error``."""

    def workflow(*_: Any, **__: Any) -> Any:
        raise error

    return workflow
