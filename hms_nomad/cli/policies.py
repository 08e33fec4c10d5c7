"""``hms-nomad policies``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.output.printer import Printer
from hms_nomad.output.table import table
from hms_nomad.platform.jobspecs import Policy, list_policies, policies_of_role

app = new_app("Show the least-privilege policies that ship with the program.")


class Server(StrEnum):
    """The servers that have policies."""

    NOMAD = "nomad"
    CONSUL = "consul"
    VAULT = "vault"


@command(app, "list", "hms-nomad policies list", "hms-nomad policies list --output json", cluster=False)
def list_all(run: Run) -> None:
    """List the roles, the servers that each has a policy for, and what it is for."""
    found = list_policies()
    body = {"policies": [{"server": one.server, "role": one.role, "purpose": one.purpose} for one in found]}
    run.printer.show("policies", body, lambda: _overview(run.printer, found))


@command(
    app,
    "show",
    "hms-nomad policies show viewer",
    "hms-nomad policies show deployer --server nomad --namespace agency | nomad acl policy apply hms-deployer -",
    "hms-nomad policies show deployer --server consul --services tax- > deployer.hcl",
    cluster=False,
)
def show(
    run: Run,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Name of the role, see policies list.")],
    server: Annotated[Server | None, typer.Option("--server", help="Only the policy for this server.")] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Nomad namespace that the role works in.")] = "default",
    services: Annotated[
        str, typer.Option("--services", help="How the names of the services begin that the role may write.")
    ] = "",
    gateway: Annotated[str, typer.Option("--gateway", help="Name of the platform's gateway.")] = "hms-gateway",
    egress: Annotated[str, typer.Option("--egress", help="Name of the platform's egress.")] = "hms-egress",
) -> None:
    """Print the policies of a role, ready for the servers' own commands."""
    settings = {"namespace": namespace, "services": services, "gateway": gateway, "egress": egress}
    found = policies_of_role(role, server, settings)
    body = {"policies": [{"server": one.server, "role": one.role, "policy": one.text} for one in found]}
    run.printer.show("policies", body, lambda: _texts(found))


def _overview(printer: Printer, found: Sequence[Policy]) -> Iterator[str]:
    rows = [(one.role, one.server, one.purpose) for one in sorted(found, key=lambda one: (one.role, one.server))]
    yield from table(printer, ("ROLE", "SERVER", "WHAT FOR"), rows)


def _texts(found: Sequence[Policy]) -> Iterator[str]:
    for number, policy in enumerate(found):
        if len(found) > 1:
            yield f"{'' if number == 0 else chr(10)}# --- {policy.server} ---"
        yield policy.text.rstrip("\n")
