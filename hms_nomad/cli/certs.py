"""``hms-nomad certs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import OptionalServiceArgument, TimeoutOption
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.mesh import sidecar_document, span
from hms_nomad.output.printer import Printer, inert, is_terminal
from hms_nomad.output.progress import shown
from hms_nomad.output.table import table
from hms_nomad.workflows.certs import issue as certs_issue
from hms_nomad.workflows.certs import overview as looking
from hms_nomad.workflows.certs import rotate as certs_rotate
from hms_nomad.workflows.certs.overview import CertsView, Held, Leaf, Problem

app = new_app("See, check and renew certificates: of the mesh, of its services, and of the servers.")

_USUAL_TIMEOUT_SECONDS = 300.0
_HELD = ("FOR", "KIND", "STATE", "AGE", "EXPIRES IN", "RENEWED IN", "SUBJECT")
_LEAVES = ("SERVICE", "INSTANCE", "SIGNED BY", "AGE", "EXPIRES IN", "RENEWED IN")
_COLORS = {"in use": ("green",), "earlier": ("dim",), "unread": ("red",)}


@command(app, "status", "hms-nomad certs status", "hms-nomad certs status receipt-svc --output json")
def status(run: Run, name: OptionalServiceArgument = None) -> None:
    """Show who signs certificates, how old each is, when it ends, and when it is renewed by itself.

    Those of servers and sidecars are read in handshakes: what is shown is what callers really get.
    """
    with run.session() as session:
        view = looking.certs_status(session, name)
    run.printer.show("certs", _document(view), lambda: _lines(run.printer, view, datetime.now(UTC)))


@command(app, "verify", "hms-nomad certs verify", "hms-nomad certs verify receipt-svc --output json")
def verify(run: Run, name: OptionalServiceArgument = None) -> int:
    """Check each certificate: who signed it, for whom it is, whether it holds, and whether it was renewed in time.

    Exit code 1: something is wrong.
    """
    with run.session() as session:
        view, problems = looking.certs_verify(session, datetime.now(UTC), name)
    body = _document(view) | {"problems": problems}
    run.printer.show("certs", body, lambda: _problem_lines(run.printer, view, problems))
    return ExitCode.CHANGES if problems else ExitCode.OK


@command(
    app,
    "rotate",
    "hms-nomad certs rotate root",
    "hms-nomad certs rotate intermediate --timeout 10m",
    "hms-nomad certs rotate root --yes --output json",
    writes=True,
)
def rotate(
    run: Run,
    level: Annotated[
        certs_rotate.Level,
        typer.Argument(
            metavar="LEVEL",
            help="root: all certificates of the mesh. intermediate: the one between root and leaves, and the leaves.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: TimeoutOption = None,
) -> int:
    """Make the mesh's authority anew, and wait until every sidecar shows a certificate of it.

    Calls go on: the earlier root stays trusted, and it signs the new one. Needs the rights of an administrator in
    Consul and, where Vault signs, in Vault.
    """
    if not yes and is_terminal(sys.stdin) and not typer.confirm(f"Make a new {level} certificate?", err=True):
        run.printer.warn("nothing was changed")
        return ExitCode.INTERRUPTED
    with run.session() as session, shown(run.printer, "Renewing the mesh's certificates") as report:
        done = certs_rotate.rotate(session, level, timeout or _USUAL_TIMEOUT_SECONDS, report)
    run.printer.show("rotation", {"rotation": done}, lambda: _rotation_lines(run.printer, done))
    return ExitCode.OK


@command(
    app,
    "issue",
    "hms-nomad certs issue receipt-svc --out receipt",
    "hms-nomad certs issue files.agency.gov --pki staff --also files --ttl 24h --out files",
)
def issue(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A service of the mesh; with --pki the name of a host.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory that the files are written to.")],
    pki: Annotated[
        str, typer.Option("--pki", metavar="ROLE", help="Ask Vault's authority for applications, by this role of it.")
    ] = "",
    also: Annotated[
        list[str] | None, typer.Option("--also", metavar="NAME", help="A further name, with --pki; repeatable.")
    ] = None,
    ttl: Annotated[str, typer.Option("--ttl", metavar="TIME", help="How long it holds, with --pki, like 24h.")] = "",
) -> None:
    """Write a certificate with its key (0600) and what to trust: certificate.pem, key.pem and ca.pem.

    Without --pki it is the identity of a service in the mesh, for a program that runs outside of it; that takes
    service:write on the name.
    """
    if not pki and (also or ttl):
        raise typer.BadParameter("names and times of the mesh's certificates are Consul's choice", param_hint="--pki")
    wish = certs_issue.Wish(pki, tuple(also or ()), ttl) if pki else None
    with run.session() as session:
        made = certs_issue.issue(session, name, wish, out)
    body = {"certificate": looking.certificate_document(made.certificate), "files": [str(one) for one in made.files]}
    run.printer.show("certificate", body, lambda: _issued_lines(run.printer, made))


def _document(view: CertsView) -> dict[str, Any]:
    held = [
        {
            "use": one.use,
            "kind": one.kind,
            "active": one.active,
            "certificate": looking.certificate_document(one.certificate) if one.certificate else None,
            "renewal": one.renewal.isoformat() if one.renewal else None,
            "problem": one.problem,
        }
        for one in view.held
    ]
    leaves = [
        sidecar_document(one.sidecar)
        | {
            "serial": one.sidecar.serial,
            "signer": one.sidecar.signer,
            "current": one.current,
            "renewal": one.renewal.isoformat() if one.renewal else None,
            "renewal_until": one.renewal_until.isoformat() if one.renewal_until else None,
        }
        for one in view.leaves
    ]
    return {"provider": view.provider, "held": held, "leaves": leaves}


def _lines(printer: Printer, view: CertsView, now: datetime) -> Iterator[str]:
    if view.provider:
        yield f"The mesh's certificates are signed by {inert(view.provider)}"
        yield ""
    yield from table(printer, _HELD, [_held_row(one, now) for one in view.held], _COLORS)
    yield ""
    if view.leaves:
        yield from table(printer, _LEAVES, [_leaf_row(one, now) for one in view.leaves], _COLORS)
    else:
        yield "no service is in the mesh"
    for held in view.held:
        if held.problem:
            yield f"{held.use} {held.kind}: {inert(held.problem)}"
    for leaf in view.leaves:
        for problem in leaf.sidecar.problems:
            yield f"{leaf.sidecar.service} {leaf.sidecar.allocation[:8] or leaf.sidecar.address}: {inert(problem)}"


def _held_row(one: Held, now: datetime) -> tuple[str, ...]:
    found = one.certificate
    if found is None:
        return (one.use, one.kind, "unread", "", "", "", "")
    state = "in use" if one.active else "earlier"
    renewal = span(one.renewal - now) if one.renewal else ""
    return (one.use, one.kind, state, span(now - found.issued), span(found.expires - now), renewal, found.subject)


def _leaf_row(one: Leaf, now: datetime) -> tuple[str, ...]:
    state = one.sidecar
    signed = {True: "in use", False: "earlier", None: ""}[one.current]
    renewal = ""
    if one.renewal and one.renewal_until:
        renewal = f"{span(one.renewal - now)} to {span(one.renewal_until - now)}"
    return (
        state.service,
        state.allocation[:8],
        signed,
        span(now - state.issued) if state.issued else "",
        span(state.expires - now) if state.expires else "",
        renewal,
    )


def _problem_lines(printer: Printer, view: CertsView, problems: Sequence[Problem]) -> Iterator[str]:
    if not problems:
        checked = len(view.held) + len(view.leaves)
        yield f"{printer.style('✓', 'green')} {checked} certificates: signatures, names and times are right"
    for one in problems:
        yield f"{printer.style('✗', 'red')} {inert(one.what)}: {inert(one.detail)}"
        yield f"    {inert(one.fix)}"


def _rotation_lines(printer: Printer, done: certs_rotate.Rotation) -> Iterator[str]:
    tick = printer.style("✓", "green")
    yield f"{tick} the {done.level} certificate is new; {done.leaves} sidecars show leaves of it"
    if done.unread:
        yield f"did not answer, and were not checked: {', '.join(map(inert, done.unread))}"


def _issued_lines(printer: Printer, made: certs_issue.Issued) -> Iterator[str]:
    names = ", ".join(made.certificate.names) or made.certificate.subject
    yield f"{printer.style('✓', 'green')} {inert(names)}, until {made.certificate.expires:%Y-%m-%d %H:%M} UTC"
    yield from (str(file) for file in made.files)
