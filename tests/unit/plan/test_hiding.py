"""Whatever looks like a secret never leaves a plan: by its name, by its form, or by the option before it."""

from __future__ import annotations

import json

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.output.plans import plan_document
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.hiding import HIDDEN, without_secrets
from hms_nomad.platform.model import Platform
from tests.unit.plan.test_plan import NOTHING, deployed
from tests.unit.specs import spec

TASK = "TaskGroups.app.Tasks.app"


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (f"{TASK}.Env.DB_PASSWORD", "hunter2", HIDDEN),
        (f"{TASK}.Env.dbpass", "hunter2", HIDDEN),
        (f"{TASK}.Env.URL", "postgres://me:hunter2@db/x", HIDDEN),
        (f"{TASK}.Env.GREETING", "hello", "hello"),
        (f"{TASK}.Env.PASSIVE_MODE", "on", "on"),
        (f"{TASK}.Config.args", ["--password", "hunter2", "-v"], ["--password", HIDDEN, "-v"]),
        (f"{TASK}.Config.args", ["--token=hunter2"], [f"--token={HIDDEN}"]),
        (
            f"{TASK}.Config",
            {"auth": {"password": "hunter2", "user": "me"}},
            {"auth": {"password": HIDDEN, "user": "me"}},
        ),
        (f"{TASK}", {"Env": {"API_KEY": "hunter2"}, "Name": "app"}, {"Env": {"API_KEY": HIDDEN}, "Name": "app"}),
        (f"{TASK}.Env.DB_PASSWORD", None, None),
        ("TaskGroups.app.Services.token-svc.PortLabel", "8000", "8000"),
    ],
)
def test_a_value_is_hidden_where_it_looks_like_a_secret(path, value, shown):
    assert without_secrets(path, value) == shown


def test_no_secret_is_in_the_document_of_a_plan():
    first = compile_spec(spec(env={"DB_PASSWORD": "hunter2"}, args=["--token", "hunter2"]), Platform())
    other = compile_spec(spec(env={"DB_PASSWORD": "hunter3"}, args=["--token=hunter3"]), Platform())
    for plan in (make_plan(first, NOTHING), make_plan(other, deployed(first))):
        text = json.dumps(plan_document(plan))
        assert "hunter" not in text
        assert "DB_PASSWORD" in text


def test_a_line_of_a_file_that_sets_a_secret_loses_its_value_and_the_others_stay():
    path = "TaskGroups.app.Tasks.app.Templates.local/app.conf.EmbeddedTmpl"
    text = 'host = db\n  password: hunter2\n"api_key" = "abc"\npassive = yes\n# the token is elsewhere\n'
    assert without_secrets(path, text) == (
        'host = db\n  password: (hidden)\n"api_key" = (hidden)\npassive = yes\n# the token is elsewhere\n'
    )
