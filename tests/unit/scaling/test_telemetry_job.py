"""Prometheus as a job of the platform: its files are whole, hold no placeholder, and Prometheus itself takes them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from hms_nomad.compile.platform_job import TELEMETRY_FILES, compile_telemetry
from hms_nomad.compile.scaling import LATENCY_METRIC, REQUESTS_METRIC
from hms_nomad.platform.jobspecs import read_job, read_text
from hms_nomad.platform.model import Platform, PlatformError, ServerAddress, Telemetry
from tests.binaries import binary

RUNBOOKS = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text(encoding="utf-8")


def compiled(telemetry=None, **fields):
    files = {name: read_text(f"telemetry/{name}") for name in TELEMETRY_FILES}
    return compile_telemetry(read_job("telemetry"), files, Platform(**fields), telemetry or Telemetry())


def task_of(result):
    return result.job["TaskGroups"][0]["Tasks"][0]


def files_of(result):
    return {one["DestPath"].removeprefix("local/"): one["EmbeddedTmpl"] for one in task_of(result)["Templates"]}


def rules_of(result):
    return [rule for group in yaml.safe_load(files_of(result)["rules.yml"])["groups"] for rule in group["rules"]]


def test_prometheus_runs_by_its_name_or_in_an_image():
    task = task_of(compiled())
    assert (task["Driver"], task["Config"]["command"]) == ("exec", "prometheus")
    assert "--web.listen-address=${NOMAD_ADDR_http}" in task["Config"]["args"]
    container = task_of(compiled(Telemetry(image="prometheus:2")))
    assert (container["Driver"], container["Config"]["entrypoint"]) == ("docker", ["prometheus"])


def test_rates_are_taken_over_four_measurements():
    text = files_of(compiled(Telemetry(every="10s")))["rules.yml"]
    assert "[40s]" in text
    assert "scrape_interval: 10s" in files_of(compiled(Telemetry(every="10s")))["prometheus.yml"]


def test_servers_with_tls_and_tokens_are_asked_with_them():
    consul = ServerAddress(address="https://consul.gov:8501")
    files = files_of(compiled(Telemetry(ca_file="/etc/ca.pem", consul_token=True), consul=consul))
    scraping = yaml.safe_load(files["prometheus.yml"].replace("<<<", "").replace(">>>", "").replace('"', ""))
    jobs = {job["job_name"]: job for job in scraping["scrape_configs"]}
    assert jobs["consul"]["scheme"] == "https"
    assert jobs["consul"]["tls_config"] == {"ca_file": "/etc/ca.pem"}
    assert jobs["consul"]["authorization"]["credentials_file"].endswith("/consul_token")
    assert jobs["nomad"]["authorization"]["credentials_file"].endswith("/nomad_token")
    assert ":8501" in files["consul.yml"]
    assert task_of(compiled(Telemetry(consul_token=True)))["Consul"] == {"Cluster": "default"}


def test_an_address_that_is_no_url_is_refused_in_words():
    with pytest.raises(PlatformError, match=r"telemetry\.consul"):
        compiled(consul=ServerAddress(address="consul:8500"))


def test_a_foreign_registration_cannot_write_rules_or_targets():
    for name in ("sidecars.yml", "platform.yml", "nomad.yml", "consul.yml"):
        for expression in re.findall(r"<<<(.*?)>>>", files_of(compiled())[name]):
            words = expression.split()
            assert words[0] in ("range", "if", "end") or words[-1] == "toJSON", expression
    assert files_of(compiled())["bounds.yml"].count("regexMatch") == 3


def test_the_rules_record_what_the_scaling_policies_ask_for():
    recorded = {rule.get("record") for rule in rules_of(compiled())}
    assert {REQUESTS_METRIC, LATENCY_METRIC} <= recorded


def test_every_alert_says_what_is_wrong_and_has_a_runbook():
    alerts = [rule for rule in rules_of(compiled()) if "alert" in rule]
    assert len(alerts) == 13
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/telemetry.md"
        assert f"### {rule['alert']}" in RUNBOOKS
        assert anchor == rule["alert"].lower()


def test_prometheus_takes_its_configuration(tmp_path):
    promtool = binary("promtool")
    for name, text in files_of(compiled()).items():
        (tmp_path / name).write_text(
            re.sub(r"<<<.*?>>>", "x", text) if name == "prometheus.yml" else "", encoding="utf-8"
        )
    (tmp_path / "rules.yml").write_text(files_of(compiled())["rules.yml"], encoding="utf-8")
    (tmp_path / "bounds.yml").write_text("groups: []\n", encoding="utf-8")
    checked = [promtool, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")]
    result = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    ruled = subprocess.run(
        [promtool, "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )
    assert ruled.returncode == 0, ruled.stdout + ruled.stderr


def test_the_digest_follows_the_rules_and_not_the_count():
    assert compiled(Telemetry(instances=2)).digest == compiled().digest
    assert compiled(Telemetry(every="30s")).digest != compiled().digest
    assert json.dumps(compiled().job).count("{templates}") == 0
