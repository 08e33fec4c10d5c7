"""Whether the autoscaler does its work: dead, alive and idle, or alive with nothing to do."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.prometheus import Sample
from hms_nomad.platform.model import Autoscaler, Platform
from hms_nomad.workflows.platform import autoscaler as workflow

POLICY = {"evaluation_interval": "15s", "check": []}
HELD = {**POLICY, "schedule": [{"start": "0 0 * * *", "end": "0 1 * * *"}]}


def world(monkeypatch: pytest.MonkeyPatch, evaluations: Any, *, healthy: int = 1, policy: Any = POLICY) -> Any:
    def query(expression: str) -> tuple[Sample, ...]:
        if isinstance(evaluations, Exception):
            raise evaluations
        return () if evaluations is None else (Sample({}, evaluations),)

    group = {"Name": "app", "Scaling": {"Enabled": True, "Policy": policy}}
    job = SimpleNamespace(body={"TaskGroups": [group]})
    monkeypatch.setattr(workflow, "prometheus", lambda _: contextlib.nullcontext(SimpleNamespace(query=query)))
    monkeypatch.setattr(workflow, "service_names", lambda _: ("receipt-svc",) if policy else ())
    monkeypatch.setattr(workflow, "held_until", lambda scaling, now: now if scaling["Policy"] is HELD else None)
    return SimpleNamespace(
        platform=Platform(autoscaler=Autoscaler()),
        consul=SimpleNamespace(instances=lambda *_, **__: SimpleNamespace(value=(1,) * healthy)),
        nomad=SimpleNamespace(read_job=lambda _: job),
    )


def test_one_that_evaluates_is_well(monkeypatch):
    assert workflow.autoscaler_trouble(world(monkeypatch, 40.0)) == ""


def test_a_dead_one_is_named_with_its_cure(monkeypatch):
    assert "platform install autoscaler" in workflow.autoscaler_trouble(world(monkeypatch, 40.0, healthy=0))


def test_one_that_lives_and_evaluates_nothing_is_seen(monkeypatch):
    assert "nothing for five minutes" in workflow.autoscaler_trouble(world(monkeypatch, 0.0))


@pytest.mark.parametrize("policy", [HELD, None, {"evaluation_interval": "10m"}], ids=["held", "no service", "seldom"])
def test_one_that_has_nothing_to_do_is_well(monkeypatch, policy):
    assert workflow.autoscaler_trouble(world(monkeypatch, 0.0, policy=policy)) == ""


@pytest.mark.parametrize("answer", [None, UnavailableError("prometheus", "ask", "x", "down")], ids=["absent", "down"])
def test_what_nobody_counts_is_no_trouble(monkeypatch, answer):
    assert workflow.autoscaler_trouble(world(monkeypatch, answer)) == ""
