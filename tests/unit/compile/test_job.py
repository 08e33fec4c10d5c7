"""A spec becomes the Nomad job that an operator would have written by hand."""

from __future__ import annotations

import pytest

from hms_nomad.compile.batch import compile_batch
from hms_nomad.compile.job import compile_job, with_count
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.platform.model_proxies import Dns, Sidecar
from tests.unit.specs import spec

PLATFORM = Platform()


def group_of(**changes):
    return compile_job(spec(**changes), PLATFORM).body["TaskGroups"][0]


def test_the_chapters_file_runs_between_two_and_ten_instances_by_the_rule_of_70_and_30_every_15_seconds():
    group = group_of()
    assert group["Count"] == 2
    scaling = group["Scaling"]
    assert (scaling["Min"], scaling["Max"], scaling["Policy"]["evaluation_interval"]) == (2, 10, "15s")
    high, low = scaling["Policy"]["check"]
    assert high["cpu_high"][0]["strategy"][0]["threshold"][0]["lower_bound"] == 70
    assert low["cpu_low"][0]["strategy"][0]["threshold"][0]["upper_bound"] == 30


def test_both_cpu_checks_share_a_group_and_fire_on_one_data_point():
    checks = [body[0] for check in group_of()["Scaling"]["Policy"]["check"] for body in check.values()]
    assert {check["group"] for check in checks} == {"cpu"}
    assert all(check["strategy"][0]["threshold"][0]["within_bounds_trigger"] == 1 for check in checks)


def test_a_failed_update_goes_back_by_itself_and_new_instances_stand_beside_the_old_ones():
    update = group_of()["Update"]
    assert update["AutoRevert"] is True
    assert update["Canary"] == 2
    assert update["MinHealthyTime"] < update["HealthyDeadline"] < update["ProgressDeadline"]


def test_instances_are_deregistered_before_they_are_stopped():
    assert group_of()["ShutdownDelay"] == 5_000_000_000


def test_the_sidecars_own_meta_stays_empty_so_that_consul_copies_the_services_meta():
    sidecar = group_of()["Services"][0]["Connect"]["SidecarService"]
    assert "Meta" not in sidecar
    assert "Tags" not in sidecar


def test_a_health_path_is_asked_through_an_exposed_listener():
    group = group_of(health={"path": "/up", "interval": "3s"})
    service = group["Services"][0]
    assert {"Label": "health"} in group["Networks"][0]["DynamicPorts"]
    assert service["Checks"][0]["Path"] == "/up"
    assert service["Checks"][0]["PortLabel"] == "health"
    assert service["Connect"]["SidecarService"]["Proxy"]["Expose"]["Paths"] == [
        {"Path": "/up", "Protocol": "http", "LocalPathPort": 3000, "ListenerPort": "health"}
    ]


def test_a_health_check_through_the_sidecar_stands_in_for_the_slow_one_of_its_listener():
    def sidecar(**changes):
        return group_of(**changes)["Services"][0]["Connect"]["SidecarService"]

    assert sidecar(health={"path": "/up"})["DisableDefaultTCPCheck"] is True
    assert "DisableDefaultTCPCheck" not in sidecar()
    assert "DisableDefaultTCPCheck" not in sidecar(health={"kind": "command", "command": ["true"]})


def test_a_grpc_check_asks_for_the_service_that_is_named():
    check = group_of(protocol="grpc", health={"kind": "grpc", "service": "gov.Receipt"})["Services"][0]["Checks"][0]
    assert (check["Type"], check["GRPCService"], check["PortLabel"]) == ("grpc", "gov.Receipt", "health")


def test_each_named_probe_has_a_listener_that_passes_nothing_but_its_path():
    group = group_of(probes={"gve": {"path": "/gve?deep=1"}})
    assert {"Label": "probe-gve"} in group["Networks"][0]["DynamicPorts"]
    paths = group["Services"][0]["Connect"]["SidecarService"]["Proxy"]["Expose"]["Paths"]
    assert [(path["Path"], path["ListenerPort"]) for path in paths] == [("/gve", "probe-gve")]


def test_a_sidecar_shows_what_it_counted_at_a_port_that_the_registry_names():
    group = group_of()
    service = group["Services"][0]
    assert group["Networks"][0]["DynamicPorts"][0] == {"Label": "metrics", "To": 9102}
    assert service["Connect"]["SidecarService"]["Proxy"]["Config"]["envoy_prometheus_bind_addr"] == "0.0.0.0:9102"
    assert service["Meta"]["metrics_port"] == "${NOMAD_HOST_PORT_metrics}"


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "rolling"])
def test_new_instances_stand_beside_the_old_ones_whatever_the_strategy(strategy):
    assert group_of(rollout={"strategy": strategy})["Update"]["Canary"] == 2


def test_each_dependency_answers_on_port_80_of_its_own_loopback_address_under_its_mesh_name():
    group = group_of(uses=["tax-svc", "audit-svc"])
    service, task = group["Services"][0], group["Tasks"][0]
    upstreams = service["Connect"]["SidecarService"]["Proxy"]["Upstreams"]
    assert [(u["DestinationName"], u["LocalBindAddress"], u["LocalBindPort"]) for u in upstreams] == [
        ("audit-svc", "127.0.1.1", 80),
        ("tax-svc", "127.0.1.2", 80),
    ]
    hosts = ["audit-svc.mesh:127.0.1.1", "tax-svc.mesh:127.0.1.2"]
    assert task["Config"]["extra_hosts"] == hosts
    assert service["Connect"]["SidecarTask"]["Config"]["extra_hosts"] == hosts
    assert task["Env"]["HMS_TAX_SVC_URL"] == "http://tax-svc.mesh"


def test_callers_leave_out_an_instance_that_keeps_failing_but_never_all_of_them():
    proxy = group_of(uses=["tax-svc"])["Services"][0]["Connect"]["SidecarService"]["Proxy"]
    check = proxy["Upstreams"][0]["Config"]["passive_health_check"]
    assert check["max_failures"] == 3
    assert check["max_ejection_percent"] == 50


def test_a_command_runs_without_a_container_and_gets_addresses_instead_of_names():
    task = group_of(image=None, command=["python3", "app.py"], uses=["tax-svc"])["Tasks"][0]
    assert task["Driver"] == "exec"
    assert task["Config"] == {"command": "python3", "args": ["app.py"]}
    assert task["Env"]["HMS_TAX_SVC_URL"] == "http://127.0.1.1"


@pytest.mark.parametrize("driver", ["exec", "raw_exec"])
def test_a_sidecar_without_containers_finds_its_bootstrap(driver):
    platform = Platform(sidecar=Sidecar(driver=driver))
    sidecar = compile_job(spec(), platform).body["TaskGroups"][0]["Services"][0]["Connect"]["SidecarTask"]
    assert any(argument.endswith("/envoy_bootstrap.json") for argument in sidecar["Config"]["args"])
    assert ("Env" in sidecar) == (driver == "raw_exec")


@pytest.mark.parametrize(
    "change",
    [
        {"image": "ghcr.io/gov/receipt:1.1"},
        {"env": {"LOG_LEVEL": "debug"}},
        {"resources": {"cpu": 200}},
        {"uses": ["tax-svc"]},
        {"port": 3001},
    ],
)
def test_whatever_replaces_instances_is_a_new_release(change):
    assert compile_job(spec(**change), PLATFORM).release != compile_job(spec(), PLATFORM).release


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.0.1"},
        {"scaling": {"min": 3, "max": 10}},
        {"owner": "tax-team"},
        {"routes": [{"path": "/receipt"}]},
        {"rollout": {"strategy": "blue-green"}},
    ],
)
def test_what_runs_on_with_the_same_instances_is_the_same_release(change):
    assert compile_job(spec(**change), PLATFORM).release == compile_job(spec(), PLATFORM).release


def test_the_digest_covers_everything_but_the_count():
    job = compile_job(spec(), PLATFORM)
    assert compile_job(spec(version="1.0.1"), PLATFORM).digest != job.digest
    assert with_count(job.body, 7, 7)["TaskGroups"][0]["Services"][0]["Meta"]["digest"] == job.digest


def test_operators_see_owner_description_and_links_in_the_nomad_ui():
    job = compile_job(
        spec(owner="tax-team", description="Sends receipts.", links={"Runbook": "https://wiki/r"}), PLATFORM
    )
    assert job.body["UI"] == {
        "Description": "Sends receipts.\n\nOwner: tax-team",
        "Links": [{"Label": "Runbook", "Url": "https://wiki/r"}],
    }


def test_the_escape_hatch_is_laid_over_the_job_last():
    job = compile_job(spec(nomad={"job": {"Priority": 70}, "task": {"Config": {"force_pull": True}}}), PLATFORM).body
    assert job["Priority"] == 70
    assert job["TaskGroups"][0]["Tasks"][0]["Config"]["image"] == "ghcr.io/gov/receipt:1.0"
    assert job["TaskGroups"][0]["Tasks"][0]["Config"]["force_pull"] is True


def test_a_transparent_proxy_leads_everything_through_the_sidecar_and_is_another_release():
    plain = compile_job(spec(uses=["db"]), Platform(sidecar=Sidecar(driver="exec")))
    through = compile_job(spec(uses=["db"]), Platform(sidecar=Sidecar(driver="exec", transparent_proxy=True)))
    proxy = through.body["TaskGroups"][0]["Services"][0]["Connect"]["SidecarService"]["Proxy"]
    assert proxy["TransparentProxy"] == {
        "UID": "1",
        "ExcludeInboundPorts": ["9102"],
        "ExcludeOutboundCIDRs": ["127.0.0.0/8"],
        "NoDNS": True,
    }
    assert [one["LocalBindAddress"] for one in proxy["Upstreams"]] == ["127.0.1.1"]
    # Services of exec are nobody, so a sidecar that the kernel leaves alone is somebody else.
    assert through.body["TaskGroups"][0]["Services"][0]["Connect"]["SidecarTask"]["User"] == "daemon"
    assert through.release != plain.release


def test_a_transparent_proxy_must_be_told_from_services_that_are_root():
    with pytest.raises(PlatformError, match="run as root under raw_exec"):
        compile_job(spec(), Platform(sidecar=Sidecar(driver="raw_exec", transparent_proxy=True)))
    for user in ("daemon", "1:1"):
        with pytest.raises(PlatformError, match="account of its sidecar, and so past it; give it another user"):
            compile_job(spec(user=user), Platform(sidecar=Sidecar(driver="exec", transparent_proxy=True)))


@pytest.mark.parametrize("driver", ["docker", "exec", "raw_exec"])
def test_only_a_sidecar_with_a_script_for_it_lets_its_runtime_be_changed(driver):
    def words(**fields):
        group = compile_job(spec(**fields), Platform(sidecar=Sidecar(driver=driver))).body["TaskGroups"][0]
        return group["Services"][0]["Connect"]["SidecarTask"]["Config"]["args"]

    assert "--config-yaml" not in words()
    assert words(uses=["tax-svc"])[-2:] == [
        "--config-yaml",
        '{"layered_runtime":{"layers":[{"name":"admin","admin_layer":{}}]}}',
    ]
    # A job that runs to its end has no entry in the mesh that could carry the script.
    ends = compile_batch(spec(kind="job", uses=["tax-svc"], routes=[], port=None), PLATFORM).body
    config = ends["TaskGroups"][0]["Services"][0]["Connect"]["SidecarTask"]["Config"]
    assert "--config-yaml" not in config["args"]


def test_instances_ask_the_platforms_name_servers_where_it_names_some():
    dns = Dns(servers=["10.0.0.2", "fd00::2"], searches=["agency.gov"], options=["ndots:2"])
    named = compile_job(spec(), Platform(dns=dns))
    plain = compile_job(spec(), PLATFORM)
    assert named.body["TaskGroups"][0]["Networks"][0]["DNS"] == {
        "Servers": ["10.0.0.2", "fd00::2"],
        "Searches": ["agency.gov"],
        "Options": ["ndots:2"],
    }
    assert "DNS" not in plain.body["TaskGroups"][0]["Networks"][0]
    assert named.release != plain.release
