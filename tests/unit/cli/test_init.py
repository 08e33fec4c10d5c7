"""A first spec: written once, valid, with comments; and what it was made from that it does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.plan.normal import job_differences
from hms_nomad.spec.loader import load_spec
from hms_nomad.workflows.init.compose import drafts_of_compose
from hms_nomad.workflows.init.draft import Draft, drafted, label_of
from hms_nomad.workflows.init.job import CannotConvertError, draft_of_job
from hms_nomad.workflows.specs import read_spec
from tests.unit.cli.running import json_of, run
from tests.unit.compile.test_golden import PLATFORM, SPECS, WITH_JOB

ANSWERS = ("receipt-svc", "--image", "ghcr.io/gov/receipt:1.0", "--port", "3000", "--path", "/receipt")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_the_answers_become_a_valid_file_with_comments_and_a_schema_beside_it():
    ended = run("init", *ANSWERS, "--instances", "2-10")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines() == [
        "✓ receipt-svc.hms.yml written",
        "Next: hms-nomad validate receipt-svc.hms.yml",
    ]
    text = Path("receipt-svc.hms.yml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=hms.schema.json\n")
    assert "# Container image.\nimage: ghcr.io/gov/receipt:1.0\n" in text
    assert json.loads(Path("hms.schema.json").read_text(encoding="utf-8"))["title"] == "hms-nomad service"
    spec = read_spec("receipt-svc.hms.yml")
    assert (spec.port, spec.routes[0].path, spec.scaling.min, spec.scaling.max) == (3000, "/receipt", 2, 10)


def test_a_file_that_is_there_is_replaced_only_by_force():
    Path("receipt-svc.hms.yml").write_text("mine", encoding="utf-8")
    refused = run("init", *ANSWERS)
    assert refused.exit_code == 2
    assert "receipt-svc.hms.yml is there already; --force replaces it" in refused.stderr
    assert Path("receipt-svc.hms.yml").read_text(encoding="utf-8") == "mine"
    assert run("init", *ANSWERS, "--force").exit_code == 0


def test_a_process_instead_of_an_image():
    assert run("init", "a-svc", "--command", "python3 'my app.py'", "--port", "80").exit_code == 0
    assert read_spec("a-svc.hms.yml").command == ("python3", "my app.py")


def test_on_a_terminal_what_no_option_says_is_asked_for(monkeypatch):
    monkeypatch.setattr("hms_nomad.cli.init.is_terminal", lambda stream: True)
    ended = run("init", "--image", "a/b:1", answer="asked-svc\n\n/ask\n2-3\n")
    assert ended.exit_code == 0, ended.output
    spec = read_spec("asked-svc.hms.yml")
    assert (spec.image, spec.port, spec.routes[0].path) == ("a/b:1", 8080, "/ask")
    assert (spec.scaling.min, spec.scaling.max) == (2, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a name"),
        (("a-svc",), "give --image or --command"),
        (("a-svc", "--image", "a/b:1"), "give --port"),
        (("a-svc", "--image", "a/b:1", "--port", "80", "--instances", "many"), "'many' is no number of instances"),
        (("a-svc", "--image", "a/b:1", "--port", "80", "--instances", "10-2"), "the smaller number first"),
        (("a-svc", "--image", "a/b:1", "--port", "80", "--path", "a"), "must start with a slash; write /a"),
        (("--from-compose", "missing.yml"), "missing.yml cannot be read: no such file"),
        (
            ("a", "--image", "a/b:1", "--port", "80", "--file", "no/a.hms.yml"),
            "no/a.hms.yml cannot be written: no such",
        ),
        (("--from-compose", "."), "cannot be read: is a directory"),
        (("a-svc", "--image", "a/b:1", "--command", "x", "--port", "80"), "an image or a command"),
        (("A_svc", "--image", "a/b:1", "--port", "80"), "HMS106"),
        (("a-svc", "--from-job", "b"), "take one of"),
        (("--group", "web", "--from-compose", "x.yml"), "a group belongs to --from-job"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(words, said):
    refused = run("init", *words)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", WITH_JOB)
def test_a_job_of_ours_becomes_a_spec_of_the_same_job(name):
    job = compile_spec(read_spec(str(SPECS[name])), PLATFORM).job
    text, _ = drafted(draft_of_job(json.loads(json.dumps(job))), "s.hms.yml")
    again = compile_spec(load_spec(text, "s.hms.yml"), PLATFORM).job
    # What stands in Consul alone is not in the job: routes, and which rule scales.
    changed = {change.path.rpartition(".")[2] for change in job_differences(job, again)}
    assert changed <= {"url", "check", "digest"}


JOB = {
    "ID": "Old_Job",
    "Type": "service",
    "Datacenters": ["dc1"],
    "Multiregion": {"Regions": []} | {"Strategy": {"MaxParallel": 1}},
    "TaskGroups": [
        {
            "Name": "web",
            "Count": 2,
            "MaxRunDuration": 5,
            "Networks": [{"DynamicPorts": [{"Label": "http", "To": 8000}, {"Label": "admin", "To": 9000}]}],
            "Services": [{"Name": "old", "PortLabel": "http", "Checks": [{"Type": "tcp", "Name": "up"}]}],
            "Volumes": {"d": {"Type": "host", "Source": "d"}},
            "Tasks": [
                {
                    "Name": "main",
                    "Driver": "docker",
                    "Config": {"image": "a/b:2.1", "auth": {"password": "x"}, "force_pull": True, "ports": ["http"]},
                    "Env": {"A": "${var.x} {{ y }}", "1B": "x"},
                    "Vault": {"Role": "r"},
                    "Artifacts": [{"GetterSource": "git::https://x/y"}],
                }
            ],
        },
        {"Name": "other", "Tasks": []},
    ],
}


def test_what_a_spec_cannot_hold_of_a_job_is_listed():
    text, draft = drafted(draft_of_job(JOB), "s.hms.yml")
    spec = load_spec(text, "s.hms.yml")
    assert (spec.name, spec.version, spec.port, spec.env) == ("old-job", "2.1", 8000, {"A": "${var.x} {{ y }}"})
    assert spec.nomad["task"]["Config"] == {"force_pull": True}
    listed = " | ".join(draft.left)
    for left in (
        *(
            "group other",
            "Old_Job",
            "auth",
            "Vault",
            "git::https",
            "1B",
            "tcp check up",
            "the volume d",
            "MaxRunDuration",
        ),
        *("Multiregion", "service's name old", "port admin"),
    ):
        assert left in listed
        assert left in text
    assert "password" not in text


def test_a_job_that_no_spec_describes_is_refused():
    with pytest.raises(CannotConvertError, match="runs on every node"):
        draft_of_job({**JOB, "Type": "system"})
    with pytest.raises(CannotConvertError, match="there is web, other"):
        draft_of_job(JOB, "nope")


COMPOSE = """
services:
  web:
    image: a/web:${TAG:-1.2}
    command: serve "a b"
    ports: ["80:8080"]
    environment: {LOG: info, PRICE: "5$$", KEY: null}
    depends_on: [api, db]
    privileged: true
    deploy: {replicas: 2, resources: {limits: {memory: 256M}}}
    healthcheck: {test: curl localhost, interval: 10s, timeout: 20s, retries: 3}
    volumes: ["data:/data:ro", "./conf:/etc/conf"]
  api:
    build: .
    expose: [9000]
  db: {image: "postgres:16"}
configs: {}
"""


def test_a_compose_file_becomes_a_spec_for_each_service():
    Path("compose.yml").write_text(COMPOSE, encoding="utf-8")
    ended = run("init", "--from-compose", "compose.yml", "--output", "json")
    assert ended.exit_code == 0, ended.output
    written = {one["service"]: one for one in json_of(ended)["written"]}
    assert list(written) == ["web", "api", "db"]
    web = read_spec("web.hms.yml", None, {"key": "k"})
    assert (web.image, web.args, web.port) == ("a/web:1.2", ("serve", "a b"), 8080)
    assert web.env == {"LOG": "info", "PRICE": "5$", "KEY": "k"}
    assert (web.uses, web.scaling.min, web.resources.memory) == (("api",), 2, 256)
    assert web.health is not None
    assert (web.health.command, web.health.timeout) == (("sh", "-c", "curl localhost"), "9s")
    assert (web.volumes["data"].path, web.volumes["data"].read_only) == ("/data", True)
    listed = " | ".join(written["web"]["left"])
    for left in ("privileged", "80:8080", "./conf", "depends_on db", "healthcheck.retries", "configs"):
        assert left in listed
    assert "build" in " ".join(written["api"]["left"])


def test_all_files_are_written_or_none():
    Path("compose.yml").write_text(COMPOSE, encoding="utf-8")
    Path("db.hms.yml").write_text("mine", encoding="utf-8")
    assert run("init", "--from-compose", "compose.yml").exit_code == 2
    assert not Path("web.hms.yml").exists()


@pytest.mark.parametrize("text", ["", "[]", "services: []", "services: {a: b}", "a: [", "services: {}"])
def test_what_is_no_compose_file_is_one_line(text):
    Path("compose.yml").write_text(text, encoding="utf-8")
    refused = run("init", "--from-compose", "compose.yml")
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1


def test_one_service_of_a_compose_file():
    Path("compose.yml").write_text(COMPOSE, encoding="utf-8")
    (draft,) = drafts_of_compose(Path("compose.yml"), "db")
    assert draft.fields["image"] == "postgres:16"
    assert run("init", "--from-compose", "compose.yml", "--service", "x").exit_code == 2


def test_a_field_that_no_spec_may_have_is_left_out_and_named():
    _, draft = drafted(Draft({"name": "a", "version": "1", "image": "a/b:1", "port": 80, "env": {"A-B": "x"}}), "s.yml")
    assert "env" not in draft.fields
    assert 'env: "A-B" is no name of an environment variable' in draft.left


@pytest.mark.parametrize(
    ("name", "label"),
    [("svc-3a4", "svc-3a4"), ("2fast", "fast"), ("A_b.c-", "a-b-c"), ("x" * 80, "x" * 63), ("9", "service")],
)
def test_a_name_from_elsewhere_stays_as_near_as_a_label_can_be(name, label):
    assert label_of(name) == label


_CHAPTERS = """\
import fastify from 'fastify';
const app = fastify();

app.get('/health', () => ({ ok: true }));
app.post('/receipt', (req, res) => {
  res.send({ ok:true, ref:'R-' + Date.now() });
});

app.listen({ port: process.env.PORT || 3000, host: '0.0.0.0' });
"""


def test_in_a_directory_with_sources_the_spec_builds_them():
    Path("index.js").write_text(_CHAPTERS, encoding="utf-8")
    ended = run("init", "receipt-svc")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines() == [
        "✓ receipt-svc.hms.yml written",
        "Next: hms-nomad deploy receipt-svc.hms.yml",
    ]
    spec = read_spec("receipt-svc.hms.yml")
    assert (spec.image, spec.port, spec.build is not None) == ("receipt-svc", 3000, True)
    assert [(route.path, route.methods) for route in spec.routes] == [("/receipt", ("POST",))]
    assert spec.health is not None
    assert spec.health.path == "/health"
    assert run("validate", "receipt-svc.hms.yml").exit_code == 0
    assert run("build", "receipt-svc.hms.yml", "--eject").exit_code == 0
    assert 'ENTRYPOINT ["node", "index.js"]' in Path("Dockerfile").read_text(encoding="utf-8")
    again = run("build", "receipt-svc.hms.yml", "--eject")
    assert (again.exit_code, "has a Dockerfile already" in again.stderr) == (2, True)


def test_what_the_sources_do_not_tell_is_listed_and_the_name_is_the_directorys():
    Path("app.py").write_text("print()", encoding="utf-8")
    ended = run("init")
    assert ended.exit_code == 0, ended.output
    assert "Not found in the sources:" in ended.stdout
    assert "GET /health" in ended.stdout
    text = Path("here.hms.yml").read_text(encoding="utf-8")
    assert "# Not found in the sources:" in text
    assert read_spec("here.hms.yml").port == 8080


def test_an_option_that_says_what_runs_goes_before_the_sources():
    Path("app.py").write_text("print()", encoding="utf-8")
    assert run("init", *ANSWERS).exit_code == 0
    assert read_spec("receipt-svc.hms.yml").build is None


def test_who_may_call_is_written_too():
    Path("app.py").write_text("print()", encoding="utf-8")
    assert run("init", "--allow", "payment-svc").exit_code == 0
    assert read_spec("here.hms.yml").allow == ("payment-svc",)
    refused = run("init", "--allow", "payment-svc", "--from-job", "x")
    assert (refused.exit_code, "--allow" in refused.stderr) == (2, True)
