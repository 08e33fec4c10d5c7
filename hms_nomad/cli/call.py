"""``hms-nomad call``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_service
from hms_nomad.cli.options import AsOption, HeaderOption, ReleaseOption, TimeoutOption, headers_of
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import inert
from hms_nomad.workflows.mesh import call as workflow

app = new_app()

_LOWEST_FAILURE = 400
_PATIENCE_SECONDS = 15.0


@command(
    app,
    "call",
    "hms-nomad call GET http://receipt-svc.mesh/health",
    """hms-nomad call POST http://receipt-svc.mesh/receipt -d '{"email": "jane@example.gov"}' --as payment-svc -v""",
    "hms-nomad call POST receipt-svc/receipt -d @request.json --output json",
)
def call(
    run: Run,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Method of the request.")],
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="http://NAME.mesh/PATH, or just NAME/PATH.", autocompletion=complete_service
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help='Body of the request; "@FILE" reads it, "@-" from stdin.')
    ] = None,
    header: HeaderOption = None,
    identity: AsOption = None,
    release: ReleaseOption = None,
    timeout: TimeoutOption = None,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 5 for an answer of 400 and above.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show identities and headers on stderr.")] = False,
) -> int:
    """Make one request to a service in the mesh, from this machine.

    The request goes to the sidecar of a healthy instance by mutual TLS, with a certificate that Consul gives you for a
    name of your own; the other side's identity is checked. Whether it may is decided by the mesh's rules, as for any
    caller: an owner lets you in with "allow", or you speak for a caller that is let in, with --as. Exit code 8: the
    mesh refused it.
    """
    headers = headers_of(header)
    body = None if data is None else _body(data)
    if body is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    options = workflow.CallOptions(identity, release, timeout or _PATIENCE_SECONDS)
    with run.session() as session:
        answer = workflow.call(session, method.upper(), url, headers, body, options)
    if verbose:
        for line in _about(answer):
            run.printer.warn(line)
    text = answer.body.decode("utf-8", "replace")
    run.printer.show("call", _document(answer, text), lambda: [text.removesuffix("\n")] if text else [])
    if answer.refused:
        who = answer.caller.rpartition("/")[2]
        let_in = f"it lets in: {', '.join(answer.callers)}" if answer.callers else "it lets nobody in"
        run.printer.warn(f"error: the mesh refused it: {answer.service} does not allow this to {who}; {let_in}")
        return ExitCode.DENIED
    return ExitCode.FAILED if fail and answer.status >= _LOWEST_FAILURE else ExitCode.OK


def _body(data: str) -> bytes:
    if data == "@-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{data[1:]} cannot be read: {error.strerror}") from None


def _document(answer: workflow.Called, text: str) -> dict[str, Any]:
    """An answer for machines; what is no UTF-8 in its body is replaced."""
    return {
        "service": answer.service,
        "instance": answer.instance,
        "caller": answer.caller,
        "peer": answer.peer,
        "status": answer.status,
        "reason": answer.reason,
        "headers": [{"name": name, "value": value} for name, value in answer.headers],
        "body": text,
        "refused": answer.refused,
        "callers": answer.callers,
    }


def _about(answer: workflow.Called) -> Iterator[str]:
    yield f"caller    {answer.caller}"
    yield f"instance  {answer.peer} at {answer.instance}, by mutual TLS"
    yield f"answer    {answer.status} {inert(answer.reason)}"
    for name, value in answer.headers:
        yield f"          {inert(name)}: {inert(value)}"
