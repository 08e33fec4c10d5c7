"""A job that is not registered yet -> what Nomad's own scheduler says it would do with the instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.nomad import NomadClient
from hms_nomad.plan.foresight import Foresight, counts


def foresee(nomad: NomadClient, body: Mapping[str, Any]) -> Foresight:
    """Nomad's annotations of a registration; nothing is registered. Raises the errors of ``hms_nomad.clients.errors``.

    API: https://developer.hashicorp.com/nomad/api-docs/jobs#create-job-plan
    """
    answer = nomad.plan_job(body)
    return Foresight(
        groups={group: counts(updates) for group, updates in answer.updates.items()},
        unplaced={group: failure.reason() for group, failure in answer.failed.items()},
        warnings=answer.warnings,
    )
