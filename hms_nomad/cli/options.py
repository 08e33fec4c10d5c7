"""The options that commands share, each defined once."""

from __future__ import annotations

import datetime
import time
from enum import StrEnum
from typing import Annotated

import typer

from hms_nomad.cli.completion import complete_context, complete_service, complete_spec
from hms_nomad.output.printer import Color, Format
from hms_nomad.spec.duration import seconds

_SHARED = "Shared options"


class Strategy(StrEnum):
    """How traffic moves from one release to the next."""

    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    ROLLING = "rolling"


class Until(StrEnum):
    """Where a deploy may end with the rollout still under way."""

    CANARY_HEALTHY = "canary-healthy"


class Wave(StrEnum):
    """Which clusters are deployed to side by side."""

    CONTEXT = "context"
    REGION = "region"


def parse_names(text: str) -> list[str]:
    """Names of a list like "eu-1,us-1". Raises BadParameter."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise typer.BadParameter(f"{text!r} lists no names; write for example eu-1,us-1", param_hint="--contexts")
    return names


def parse_seconds(text: str) -> float:
    """Seconds of a duration as people type it: "90", "90s", "1.5m". Raises BadParameter."""
    try:
        value = float(text) if text.replace(".", "", 1).isdigit() else seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if value <= 0:
        raise typer.BadParameter("a time limit of nothing cannot be kept; write for example 90s or 5m")
    return value


def moment(text: str | None) -> float:
    """Seconds since 1970 of ``--since``: a time as ISO 8601 writes it, or a time span before now; or BadParameter."""
    if text is None:
        return 0.0
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_seconds(text)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{text!r} is no time; write for example 24h or 2026-11-24T20:00:00Z", param_hint="--since"
        ) from None


def parse_variables(given: list[str] | None) -> dict[str, str]:
    """Name to value of each ``--var NAME=VALUE``. Raises BadParameter."""
    values = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise typer.BadParameter(f"{text!r} gives no value; write --var NAME=VALUE", param_hint="--var")
        if name in values:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--var")
        values[name] = value
    return values


def headers_of(lines: list[str] | None) -> dict[str, str]:
    """Headers of lines like "X-Role: auditor". Raises BadParameter."""
    headers = {}
    for line in lines or ():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter(f"{line!r} is no header; write for example 'X-Role: auditor'")
        headers[name.strip()] = value.strip()
    return headers


ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="Cluster to talk to, by the name of its context.",
        autocompletion=complete_context,
        rich_help_panel=_SHARED,
    ),
]
ConfirmOption = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="NAME",
        help="Change the production cluster of this name, without a question for it.",
        autocompletion=complete_context,
        rich_help_panel=_SHARED,
    ),
]
ContextsOption = Annotated[
    str | None,
    typer.Option("--contexts", metavar="NAMES", help="Clusters to deploy to, by contexts, like eu-1,us-1."),
]
NamespaceOption = Annotated[str | None, typer.Option("--namespace", help="Nomad namespace.", rich_help_panel=_SHARED)]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="What stdout carries.", rich_help_panel=_SHARED)]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=_SHARED)]
ColorOption = Annotated[Color, typer.Option("--color", help="When text is coloured.", rich_help_panel=_SHARED)]
TraceOption = Annotated[bool, typer.Option("--trace", help="Show where an error comes from.", rich_help_panel=_SHARED)]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=parse_seconds,
        metavar="TIME",
        help="Longest time for the whole command, like 90s or 5m.",
        rich_help_panel=_SHARED,
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", parser=parse_seconds, metavar="TIME", help="Longest time to wait, like 90s or 5m."),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only what came after: 24h ago, or 2026-11-24T20:00:00Z."),
]
LockWaitOption = Annotated[
    float | None,
    typer.Option(
        "--lock-wait",
        parser=parse_seconds,
        metavar="TIME",
        help="Longest time to wait for another command on the same service, like 2m.",
        rich_help_panel=_SHARED,
    ),
]
EnvironmentOption = Annotated[
    str | None, typer.Option("--env", metavar="NAME", help="Environment of the specs to lay over them.")
]
VariablesOption = Annotated[
    list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Value of a variable that the specs leave open.")
]
SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help='File of the service, "-" for stdin.', autocompletion=complete_spec)
]
SpecsArgument = Annotated[
    list[str],
    typer.Argument(metavar="SPEC", help='Files or directories of specs, "-" for stdin.', autocompletion=complete_spec),
]
PlannedArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SPEC",
        help='Files or directories of specs, "-" for stdin; or a plan that "plan --out" kept.',
        autocompletion=complete_spec,
    ),
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Stop the services that left the directory since it was deployed.")
]
FleetOption = Annotated[
    str | None,
    typer.Option("--fleet", metavar="NAME", help="Name of the services as a whole; the directory's when absent."),
]
HeaderOption = Annotated[
    list[str] | None, typer.Option("--header", "-H", metavar="NAME: VALUE", help="Header of the request; repeatable.")
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="Service to speak for; your own name when absent.", autocompletion=complete_service
    ),
]
ReleaseOption = Annotated[str | None, typer.Option("--release", metavar="ID", help="Only instances of this release.")]
ServiceArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the service.", autocompletion=complete_service)
]
OptionalServiceArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Name of the service.", autocompletion=complete_service)
]
DetachSteering = Annotated[
    bool, typer.Option("--detach", help="Only leave word for whoever drives the rollout; do not wait.")
]
InClusterOption = Annotated[
    bool, typer.Option("--in-cluster", help="Let the cluster's own job drive the rollout; do not wait for its end.")
]
RolloutOption = Annotated[
    int | None,
    typer.Option("--rollout", min=0, metavar="NUMBER", help="Only this one, by its number as in the history."),
]
MessageOption = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="Why, for the history.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Deploy even a release that was taken back before; run a job again.")
]
SignOption = Annotated[
    str | None,
    typer.Option(
        "--sign",
        metavar="KEY",
        help="Sign the services' own images: a PEM file, or a key of cosign's; password: COSIGN_PASSWORD.",
    ),
]
StrategyOption = Annotated[
    Strategy | None, typer.Option("--strategy", help="How traffic moves; the spec's own when absent.")
]
