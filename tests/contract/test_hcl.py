"""A job as HCL is the job as JSON, whatever field of Nomad's API the escape hatch brings into it."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Mapping
from typing import Any

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.compile.hcl import job_to_hcl
from hms_nomad.platform.model import Platform
from hms_nomad.spec.loader import examine
from hms_nomad.spec.nomad_fields import nomad_fields
from tests.contract.nomad_server import Nomad

pytestmark = pytest.mark.contract

_SAMPLES: Mapping[str, Any] = {
    "s": 'some ${text} "here"',
    "i": 3,
    "b": True,
    "d": 90_000_000_001,
    "l": ["a", "b"],
    "n": [1, 2],
    "m": {"some": "text", "other-one": "%{x}"},
    "h": {"X-Some": ["a", "b"]},
    "a": {"some": "text", "more": {"deep": [1, 2]}},
    "#": "label",
}
_FROM_THE_SPEC = {
    "job": ("ID", "Name", "Namespace", "Region", "Type", "TaskGroups"),
    "group": ("Name", "Count", "Services", "Tasks", "Scaling"),
    "task": ("Name",),
}
_SPELT = {("JobUIConfig", "Description"): "plain"}


def sample(section: str, deep: tuple[str, ...] = ()) -> dict[str, Any]:
    """A section with every field that it has."""
    found: dict[str, Any] = {}
    for name, field in nomad_fields(section).items():
        if field.section:
            if field.section in deep:
                continue
            inner = sample(field.section, (*deep, section))
            if name == "DynamicPorts":
                del inner["Value"]
            found[name] = {">": inner, "*": [inner], "%": {"label": inner}}[field.kind]
        else:
            found[name] = _SPELT.get((section, name), _SAMPLES[field.kind])
    return found


def differences(path: str, sent: Any, parsed: Any) -> list[str]:
    """Where what was parsed lacks something that was sent."""
    if isinstance(sent, Mapping) and isinstance(parsed, list):
        # Drivers take a mapping within their configuration in both forms, and Nomad's parser gives a list of one.
        return differences(path, [sent], parsed)
    if isinstance(sent, Mapping):
        # Nomad writes some names in another case than it stores them, and reads both.
        stored = {key.lower(): value for key, value in parsed.items()} if isinstance(parsed, Mapping) else {}
        pairs = ((f"{path}.{key}", value, stored.get(key.lower())) for key, value in sent.items())
        return [line for pair in pairs for line in differences(*pair)]
    if isinstance(sent, list) and isinstance(parsed, list) and len(sent) == len(parsed):
        pairs = enumerate(zip(sent, parsed, strict=True))
        return [line for index, (a, b) in pairs for line in differences(f"{path}[{index}]", a, b)]
    return [] if sent == parsed or (not sent and not parsed) else [f"{path}: {sent!r} became {parsed!r}"]


def parsed_by_nomad(nomad: Nomad, hcl: str) -> Mapping[str, Any]:
    """The job that Nomad reads from HCL text."""
    try:
        parsed: Mapping[str, Any] = nomad.http("POST", "/v1/jobs/parse", {"JobHCL": hcl, "Canonicalize": False})
    except urllib.error.HTTPError as refusal:
        pytest.fail(f"{refusal.read().decode()} of\n{hcl}")
    return parsed


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (part, field)
        for part, section in (("job", "Job"), ("group", "TaskGroup"), ("task", "Task"))
        for field in nomad_fields(section)
        if field not in _FROM_THE_SPEC[part]
    ],
)
def test_every_field_of_the_escape_hatch_is_the_same_in_hcl(nomad: Nomad, part: str, field: str) -> None:
    section = {"job": "Job", "group": "TaskGroup", "task": "Task"}[part]
    value = sample(section)[field]
    spec = examine(
        json.dumps({"name": "any", "version": "1", "image": "a/b:1", "port": 80, "nomad": {part: {field: value}}}),
        "any.json",
    )
    assert spec.spec is not None, spec.diagnostics
    job = compile_spec(spec.spec, Platform()).job
    assert differences("job", job, parsed_by_nomad(nomad, job_to_hcl(job))) == []


def test_names_that_are_no_identifiers_arrive_too(nomad: Nomad) -> None:
    names = {"a b": "1", "a.b": "2", "ä": "${x}", "plain": "3"}
    parts = {"job": {"Meta": names}, "group": {"Meta": names}, "task": {"Meta": names, "Env": names}}
    fields = {"name": "any", "version": "1", "image": "a/b:1", "port": 80, "nomad": parts}
    spec = examine(json.dumps(fields), "any.json")
    assert spec.spec is not None, spec.diagnostics
    job = compile_spec(spec.spec, Platform()).job
    assert differences("job", job, parsed_by_nomad(nomad, job_to_hcl(job))) == []
