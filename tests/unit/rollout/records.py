"""Records of releases for tests, in as few words as possible."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.rollout.begin import record
from hms_nomad.rollout.journal import Author
from hms_nomad.rollout.policy import policy_of
from hms_nomad.rollout.release import Release, ReleaseOutcome
from tests.unit.specs import spec


def release(number: int, **changes: Any) -> Release:
    """The record of a good deploy of the receipt service in version NUMBER.0.0."""
    what = spec(version=f"{number}.0.0", **changes)
    made = record(compile_spec(what, Platform()), policy_of(what), Author("somebody@somewhere"), 1_700_000_000.0, None)
    fields = {"number": number, "release": f"r{number}", "outcome": ReleaseOutcome.SUCCEEDED, "job_version": number}
    return Release(**{name: fields.get(name, getattr(made, name)) for name in Release.__struct_fields__})
