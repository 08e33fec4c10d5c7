"""A strategy for specs: every field of the language, with values that its type allows, many of them awkward."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from hms_nomad.sections.shape import Shape, members
from hms_nomad.spec.forms import ABSOLUTE_PATH, FILE_PATH, MODE
from hms_nomad.spec.model import Health, Spec
from hms_nomad.spec.model_job import UNKNOWN_TO, ZONE, Schedule
from hms_nomad.spec.model_scaling import TIME_OF_DAY
from hms_nomad.spec.model_secret import Secret
from hms_nomad.spec.model_task import CHECKSUM, SIGNAL, URL, VOLUME, File, SideTask, Template, Volume

AWKWARD = st.sampled_from(
    [
        *("a", "../x", "-rf", 'say "hi"', "it's", "${NOMAD_JOB_NAME}", "${var}", "%{if}", "{{ key }}", "$(id)", "`id`"),
        *(
            "a\nb",
            "\u00e4\u00f6",
            "\u65e5\u672c",
            "\U0001f600",
            "\u202e",
            " ",
            "",
            "\\",
            "\\n",
            "0",
            "true",
            "#",
            "a" * 300,
        ),
    ]
)
TEXTS = st.one_of(AWKWARD, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
FORMS = {
    "^/": st.one_of(
        st.sampled_from(["/", "/a", "/a/b", "/a/", "/a.b/c-d", "/%20", "/\u00e4", "/.*", "/[0-9]+"]),
        TEXTS.map("/".__add__),
    ),
    r"^(attr|meta|node|device)\.[A-Za-z0-9_.-]+$": st.sampled_from(
        ["attr.cpu.arch", "attr.kernel.name", "node.datacenter", "node.class", "meta.rack", "node.unique.name"]
    ),
    r"^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$": st.sampled_from(["nobody", "10001", "app", "app:app"]),
    r"^[A-Za-z0-9_.*-]+$": st.sampled_from(["dc1", "*", "eu-*", "a.b"]),
    r"^[A-Za-z0-9_-]{1,128}$": st.sampled_from(["default", "all"]),
    FILE_PATH: st.sampled_from(["app.py", "conf/app.conf", ".env", "a-b/.c/d@1+2", "x"]),
    ABSOLUTE_PATH: st.sampled_from(["/data", "/var/lib/app", "/.cache"]),
    TIME_OF_DAY: st.sampled_from(["00:00", "07:30", "23:59"]),
    MODE: st.sampled_from(["0644", "0600", "0755", "0444"]),
    ZONE: st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]),
    URL: st.sampled_from(["https://files.gov/a.tar.gz", "http://f:8080/b?x=${y}"]),
    CHECKSUM: st.sampled_from(["sha256:" + "0a" * 32, "sha512:" + "0a" * 64]),
    SIGNAL: st.sampled_from(["SIGHUP", "SIGUSR1"]),
    VOLUME: st.sampled_from(["receipts", "/srv/data", "a_b"]),
}
DURATIONS = st.sampled_from(["0s", "100ms", "1s", "1.5s", "2s", "5s", "30s", "1m", "10m", "1h", "720h"])
IMAGES = st.sampled_from(["a", "a:1", "ghcr.io/gov/receipt:1.0", "a@sha256:" + "0" * 64, "localhost:5000/a/b:x_y"])
KEYS = {
    "env": st.sampled_from(["A", "LOG_LEVEL", "_x"]),
    "files": FORMS[FILE_PATH],
    "secrets": st.sampled_from(["S", "DB_PASSWORD", "_y"]),
    "templates": st.sampled_from(["t.conf", "conf/t.conf"]),
}


def content_alone(file: dict[str, Any]) -> dict[str, Any]:
    """A file with one of content and source, most of the time."""
    rest = {key: value for key, value in file.items() if key != "source" or len(file) % 3 == 0}
    if rest.get("content") is None and "source" not in rest:
        rest["content"] = "{{ nothing }} ${x}\n"
    if rest.get("change") == "signal":
        rest["signal"] = "SIGHUP"
    elif "change" in rest or "mode" in rest:
        rest.pop("signal", None)
    if rest.get("base64"):
        rest["content"] = "aGVsbG8="
    return rest


REFERENCES = ("vault:secret/a#b", "vault:secret/a/b-c", "vault:db/creds/a#username", "nomad:var/a/b#c", "nomad:var/a")


def kept_somewhere(secret: dict[str, Any]) -> dict[str, Any]:
    """A secret whose fields belong together."""
    rest = {key: value for key, value in secret.items() if key not in {"signal", "names", "ttl"}}
    if rest.get("file") is None:
        rest = {key: value for key, value in rest.items() if key not in {"mode", "change"}}
    elif rest.get("change") == "signal":
        rest["signal"] = "SIGHUP"
    if rest.get("file") is not None and len(secret) % 3 == 0:
        return {**rest, "ref": "pki", "names": ["a.gov", "b.mesh"], "ttl": "24h"}
    return {**rest, "ref": REFERENCES[len(secret["ref"]) % len(REFERENCES)]}


def fitting(volume: dict[str, Any]) -> dict[str, Any]:
    """A volume whose fields belong together, most of the time."""
    kind = volume.get("kind", "host")
    rest = {key: value for key, value in volume.items() if key not in {"access", "attachment"} or kind != "bind"}
    if (rest.get("access") or "").endswith("reader-only"):
        rest["read_only"] = True
    if kind == "csi":
        rest.setdefault("access", "multi-node-multi-writer")
        rest["access"] = rest["access"] or "single-node-writer"
    return {**rest, "source": "/srv/data" if kind == "bind" else "receipts"}


def asked(health: dict[str, Any]) -> dict[str, Any]:
    """A check with the fields of its kind, of a kind that can be made."""
    kind = health.get("kind", "http")
    if kind == "tcp":
        return {}
    own = {"http": "path", "grpc": "service", "command": "command"}
    rest = {key: value for key, value in health.items() if key == own[kind] or key not in own.values()}
    return {**rest, "command": ["bin/ready"], "interval": "10s", "timeout": "1s"} if kind == "command" else rest


def one_program(task: dict[str, Any]) -> dict[str, Any]:
    """A helper that runs one thing."""
    rest = {key: value for key, value in task.items() if key not in {"image", "command", "driver", "mounts"}}
    if task.get("image"):
        return {**rest, "image": task["image"]}
    return {**rest, "command": ["bin/run", *(task.get("command") or ())], "user": "nobody"}


CRONS = ("0 3 * * *", "*/15 8-18 * * mon-fri", "5,35 0 1 jan,jul 0", "1-59/7 * * * *")


def at_a_time(schedule: dict[str, Any]) -> dict[str, Any]:
    """A schedule that says a time."""
    return {**schedule, "cron": CRONS[len(schedule["cron"]) % len(CRONS)]}


MENDED: dict[Any, Any] = {
    Schedule: at_a_time,
    Health: asked,
    File: content_alone,
    Template: content_alone,
    Secret: kept_somewhere,
    Volume: fitting,
    SideTask: one_program,
}


def value_of(shape: Shape, name: str = "") -> st.SearchStrategy[Any]:
    """Values that a field's type allows."""
    simple: dict[str, st.SearchStrategy[Any]] = {
        "name": NAMES,
        "duration": DURATIONS,
        "integer": st.one_of(st.integers(0, 5), st.integers(1, 10_000)),
        "number": st.one_of(st.sampled_from([0, 0.01, 1, 30, 70, 99.9, 100]), st.floats(0, 100)),
        "boolean": st.booleans(),
        "choice": st.sampled_from(shape.choices or ("",)),
    }
    if name == "image":
        return IMAGES
    if shape.kind == "text":
        return FORMS.get(shape.pattern or "", TEXTS)
    if shape.kind == "list" and shape.item:
        return st.lists(value_of(shape.item), max_size=4)
    if shape.kind == "mapping" and shape.item:
        return st.dictionaries(KEYS.get(name, NAMES), value_of(shape.item), max_size=3)
    if shape.kind == "section" and shape.model:
        return section_of(shape.model)
    return simple.get(shape.kind, st.just({}))


def section_of(model: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with the required fields of a section and any of the others."""
    needed = {n: value_of(one.shape, n) for n, one in members(model).items() if one.required}
    others = {n: value_of(one.shape, n) for n, one in members(model).items() if not one.required}
    return st.fixed_dictionaries(needed, optional=others).map(MENDED.get(model, dict))


def any_spec() -> st.SearchStrategy[dict[str, Any]]:
    """A whole spec as data; one in a few is free of contradictions."""
    return section_of(Spec).map(_of_its_kind)


def _of_its_kind(fields: dict[str, Any]) -> dict[str, Any]:
    kind = fields.get("kind", "service")
    rest = {name: value for name, value in fields.items() if name not in UNKNOWN_TO[kind]}
    if kind == "service":
        rest.setdefault("port", 3000)
    return {**rest, "nomad": {}}
