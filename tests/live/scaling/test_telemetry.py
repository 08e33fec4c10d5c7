"""The real Prometheus on a live platform: everything is found, every panel, rule and alert has something to look at."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from hms_nomad.platform.jobspecs import dashboards, read_text
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.platform.telemetry import prometheus
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.live.scaling.conftest import GATEWAY_PORT
from tests.waiting import eventually

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def expressions() -> dict[str, str]:
    """The expression of each panel, with the variables of its dashboard filled in."""
    found = {}
    for name, text in dashboards().items():
        for panel in json.loads(text)["panels"]:
            for number, target in enumerate(panel["targets"]):
                expression = target["expr"].replace("$__rate_interval", "20s")
                found[f"{name}: {panel['title']} {number}"] = re.sub(r"\$(service|gateway)", ".*", expression)
    return found


def alert_figures() -> set[str]:
    """The series that alerts look at."""
    groups = yaml.safe_load(read_text("telemetry/rules.yml"))["groups"]
    alerts = [rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule]
    names = re.compile(r"\b(?:hms:\w+|(?:envoy|nomad|consul)_\w+|up)\b")
    return {name for expression in alerts for name in names.findall(expression)}


def through_the_gateway(path: str) -> None:
    try:
        _DIRECT.open(f"http://127.0.0.1:{GATEWAY_PORT}{path}", timeout=10).read()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass


@pytest.mark.real_nomad("a page of metrics")
def test_every_panel_rule_and_alert_has_data_while_a_service_is_used(
    platform: Platform, session: Session, deployed: Callable[..., str], load: Callable[..., Any], cli: Cli
):
    name = deployed(scaling={"min": 1, "max": 4, "every": "5s", "cooldown": "30s", "requests_per_instance": 1000})
    steady = load(f"{name}/", "--rate", "5", "--for", "75s")

    def row() -> dict[str, Any]:
        rows = json.loads(cli("top", "--output", "json").stdout)["services"]
        return next(one for one in rows if one["service"] == name)

    # Without requests there is no latency, so it is asked for first, while they surely still come.
    measured = ("cpu", "memory", "errors", "p99")
    top = eventually(row, lambda one: one["requests"] and None not in [one[key] for key in measured], 60)
    assert (top["minimum"], top["maximum"]) == (1, 4)
    with prometheus(session) as metrics:
        assert metrics is not None

        def silent() -> list[str]:
            through_the_gateway("/")
            questions = expressions() | {figure: figure for figure in alert_figures()}
            return [title for title, expression in questions.items() if not metrics.query(expression)]

        eventually(silent, lambda titles: not titles, 70)
        assert {name: error for name, error in metrics.rules().items() if error} == {}
        jobs = {target.job for target in metrics.targets() if target.health == "up"}
        assert jobs == {"sidecars", "platform", "nomad", "consul"}
        maximum = metrics.query(f'hms:instances_max{{service="{name}"}}')
        assert [sample.value for sample in maximum] == [4.0]
    why = json.loads(cli("scale", "explain", name, "--output", "json").stdout)["scaling"]
    assert {one["rule"]["name"]: one["value"] is not None for one in why["voices"]} == {"cpu": True, "requests": True}
    assert steady.result()["failed"] == 0


def test_a_load_of_somebody_who_is_not_let_in_is_refused_by_the_mesh(
    platform: Platform, deployed: Callable[..., str], cli: Cli
):
    name = deployed(scaling={"min": 1, "max": 1})
    ran = cli("load", f"{name}/", "--rate", "10", "--for", "1s", "--as", "stranger", "--output", "json")
    assert json.loads(ran.stdout)["load"]["statuses"] == {"403": 10}
    assert cli("load", "https://example.gov/", "--rate", "1", "--for", "1s").exit_code == 2


def test_the_state_of_the_platforms_jobs_is_shown(platform: Platform, cli: Cli):
    jobs = json.loads(cli("platform", "status", "--output", "json").stdout)["jobs"]
    states = {job["kind"]: job["state"] for job in jobs}
    assert (states["autoscaler"], states["telemetry"]) == ("running", "running")
