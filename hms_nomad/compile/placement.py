"""Spec -> where instances may run: datacenters, node pool, constraints and spreads of the job."""

from __future__ import annotations

from typing import Any

from hms_nomad.platform.model import Platform
from hms_nomad.spec.model import Constraint, Spec, Spread


def placement(spec: Spec, platform: Platform) -> dict[str, Any]:
    """The job's fields for placement (Nomad API, job JSON); what the spec leaves open is the platform's.

    Constraints and spreads stand at the job, not at the group: there Nomad adds constraints of its own.
    """
    wanted = spec.placement
    fields: dict[str, Any] = {
        "Datacenters": list(wanted.datacenters or platform.datacenters),
        "NodePool": wanted.node_pool or platform.node_pool,
    }
    constraints = [_constraint(constraint) for constraint in wanted.constraints]
    if wanted.distinct_hosts:
        constraints.append({"Operand": "distinct_hosts", "RTarget": "true"})
    if constraints:
        fields["Constraints"] = constraints
    if wanted.spread:
        fields["Spreads"] = [_spread(spread) for spread in wanted.spread]
    return fields


def actions(spec: Spec) -> list[dict[str, Any]]:
    """The task's predefined commands (Nomad API, ``Actions``), by name."""
    return [
        {"Name": name, "Command": action.command[0], "Args": list(action.command[1:])}
        for name, action in sorted(spec.actions.items())
    ]


def _constraint(constraint: Constraint) -> dict[str, Any]:
    fields = {"LTarget": _target(constraint.attribute), "Operand": constraint.operator}
    return fields if constraint.value is None else {**fields, "RTarget": constraint.value}


def _spread(spread: Spread) -> dict[str, Any]:
    fields: dict[str, Any] = {"Attribute": _target(spread.attribute), "Weight": spread.weight}
    if spread.targets:
        fields["SpreadTarget"] = [
            {"Value": value, "Percent": int(share)} for value, share in sorted(spread.targets.items())
        ]
    return fields


def _target(attribute: str) -> str:
    return f"${{{attribute}}}"
