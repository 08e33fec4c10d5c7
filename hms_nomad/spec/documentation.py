"""Rules and models -> the pages of the documentation that are made from them."""

from __future__ import annotations

from typing import Any

from hms_nomad.spec.checks import rules
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.explain import FieldDoc, every_field
from hms_nomad.spec.loader import examine
from hms_nomad.spec.registry import Rule
from hms_nomad.spec.schema import schema_text

_FILE = "receipt.hms.yml"
_BASE = {
    "name": "name: receipt-svc",
    "version": "version: 1.0.0",
    "image": "image: ghcr.io/gov/receipt:1.0",
    "port": "port: 3000",
}
_LONGEST_LINE = 110
_GROUPS = (
    ("HMS0", "Reading a file"),
    ("HMS1", "Fields and their values"),
    ("HMS20", "Fields that contradict each other"),
    ("HMS21", ""),
    ("HMS22", "Values that a server or a shell would misread"),
    ("HMS23", ""),
    ("HMS24", "Placement, user and actions"),
    ("HMS25", "Files, artifacts, volumes and tasks"),
    ("HMS26", "What moves the count of instances"),
    ("HMS27", "Kinds of specs"),
    ("HMS28", "Dependencies over TCP, and services outside the mesh"),
    ("HMS29", "Images and archives that are built"),
    ("HMS30", "Health and scaling"),
    ("HMS31", "Images, commands and responsibility"),
    ("HMS32", "Routes and the mesh"),
    ("HMS33", "Rollouts"),
    ("HMS34", "Secrets and isolation"),
    ("HMS35", ""),
    ("HMS40", "Checks that need the cluster"),
    ("HMS41", "Several specs together"),
    ("HMS6", "Deploy rules"),
)
_LEVELS = {
    Level.ERROR: "Error: no command goes on.",
    Level.WARNING: "Warning.",
    Level.INFO: "Note.",
}


def example_of(rule: Rule) -> str:
    """A whole file that breaks a rule: its example, completed to a spec where the example is a part of one."""
    if not rule.example or rule.code < "HMS2":
        return rule.example
    own = {line.partition(":")[0] for line in rule.example.splitlines() if line[:1].isalpha()}
    if "command" in own:
        own.add("image")
    return "\n".join([*(line for key, line in _BASE.items() if key not in own), rule.example, ""])


def diagnostics_page() -> str:
    """The text of ``docs/diagnostics.md``: every rule with cause, mend, an example, and what is printed for it."""
    parts = [_INTRODUCTION]
    headings = dict(_GROUPS)
    seen: set[str] = set()
    for rule in rules():
        group = next(prefix for prefix, _ in reversed(_GROUPS) if rule.code.startswith(prefix))
        if group not in seen and headings[group]:
            parts.append(f"## {headings[group]}\n")
        seen.add(group)
        parts.append(_section(rule))
    return "\n".join(parts)


_INTRODUCTION = """\
# Diagnostics

<!-- Made from the rules in hms_nomad/spec by scripts/spec_docs.py; change the rules, then run it again. -->

Every finding has a stable code, a level, a place, a cause and a mend, on one line:

    receipt.hms.yml:4:1: error [HMS101] unknown key "prot"; did you mean port?

Errors stop every command before anything is written (exit code 2). Warnings and notes are shown by
`hms-nomad validate`; `--fail-on warning` or `--fail-on info` makes them count like errors.
"""


def _section(rule: Rule) -> str:
    lines = [f"### {rule.code}", "", f"**{rule.title}.** {_LEVELS[rule.level]} {rule.cause}", ""]
    lines += [f"What to do: {rule.fix}.", ""]
    example = example_of(rule)
    if example:
        printed = [str(one) for one in examine(example, _FILE).diagnostics if one.code == rule.code]
        language = "text" if "\x07" in example or "\t" in example else "yaml"
        shown = rule.example.replace("\t", "→").replace("\x07", "␇").strip("\n").splitlines()
        lines += [f"```{language}", *(_short(line) for line in shown), "```", ""]
        lines += ["```text", *(_short(line) for line in printed[:3]), "```", ""]
    return "\n".join(lines)


def _short(line: str) -> str:
    return line if len(line) <= 4 * _LONGEST_LINE else line[:_LONGEST_LINE] + "..."


_SPEC_INTRODUCTION = """\
# The spec: `*.hms.yml`

<!-- Made from the models in hms_nomad/spec/model.py by scripts/spec_docs.py; change the models, then run it again. -->

One file describes one service. This is a whole one:

```yaml
# yaml-language-server: $schema=docs/hms.schema.json
name: receipt-svc
version: 1.0.0
image: ghcr.io/gov/receipt:1.0
port: 3000
routes:
  - path: /receipt
    methods: [POST]
scaling:
  min: 2        # keep two pods alive
  max: 10
```

- `hms-nomad validate` checks files without a cluster; [diagnostics](diagnostics.md) explains the code of each finding.
- `hms-nomad explain scaling.cpu.high` prints what stands below in the terminal.
- The [JSON Schema](hms.schema.json) lets editors complete and check while you write.
- The same as JSON, in a file that ends with `.json`, means the same.

How YAML is read: `true` and `false` are the only booleans, numbers are decimal, and everything else is the text that
stands there (`yes`, `017`, `12:30`). A version that looks like a number needs quotes (`"1.20"`). Anchors, aliases,
merge keys and tags are refused, and so is a key given twice. Durations are a number with `ms`, `s`, `m` or `h`.

## Values that a file leaves open

```yaml
name: receipt-svc
version: 1.0.0
image: ghcr.io/gov/receipt:${var.tag}
port: 3000
scaling: {min: "${var.least}", max: 10}
variables:
  tag: {description: Tag of the image.}         # no default: it must be given
  least: {type: integer, default: 2}
environments:
  staging:
    variables: {tag: edge, least: 1}
    scaling: {max: 3}
    env: {LOG_LEVEL: debug}
```

`--env staging` lays the fields of that environment over the others: mappings are merged, lists and values are replaced,
and a key without a value goes back to its default. `--var tag=1.2` gives a value to a variable; it goes before the
environment's, and that before the default. Variables are declared with a type (`text`, `integer`, `number`, `boolean`),
and `choices` where only some values make sense. `$${var.tag}` stands for the characters `${var.tag}` themselves; other
expressions in `${...}` are left to Nomad. `hms-nomad validate` checks a file in all of its environments.

## What a service carries along

```yaml
name: archive-svc
version: 2.1.0
command: [python3, local/app.py]
port: 8080
files:                                    # below local/, byte for byte: nothing in them is replaced
  app.py: {source: app.py}                # a file beside the spec, never one outside of its directory
  motd: {content: "{{ no template }}"}
templates:                                # rendered by Nomad
  where.conf:
    content: |
      node = "{{ env "node.unique.name" }}"
    change: signal
    signal: SIGHUP
artifacts:                                # fetched by the node; nothing comes without its checksum
  - source: https://files.gov/rules-7.tar.gz
    checksum: sha256:0000000000000000000000000000000000000000000000000000000000000000
    destination: rules
volumes:
  data: {source: archive, path: /data, access: single-node-multi-writer}
tasks:                                    # helpers in the same instance
  migrate: {hook: prestart, command: [bin/migrate, up]}
  shipper: {hook: sidecar, command: [bin/ship, /alloc/logs], mounts: {data: /data}}
```

A container and a process of `exec` see `local/` as `/local`; for a process of `raw_exec` it is a directory of the
node, and the program's working directory is the one above it, so `local/app.py` is right for both kinds of processes.
`hms-nomad logs NAME --task migrate` shows a helper's output.

`health` asks over `http`, `grpc` or by a `command` in the instance. There is no tcp check: the port can be reached by
the sidecar alone, and one that is open to plain connections from the node would be open past every rule of the mesh.

## Jobs

```yaml
name: nightly-report
kind: job
version: 1.2.0
image: ghcr.io/gov/report:1.2.0
schedule: {cron: "0 3 * * *", timezone: Europe/Berlin}
attempts: {most: 3, delay: 1m}
uses: [receipt-svc]
```

A job runs to its end, at the times of its `schedule`, or once at its deploy, which then waits for it (`deploy
--force` runs it again, and so does the next deploy after a run that failed). While it runs it has a sidecar where it
`uses` services, and calls them as every service does. Nobody calls it, so it has no port, routes or health. The
sidecar starts a moment before the program: a first call that is refused should be tried again.

`hms-nomad history`, `drift` and `rollback` know jobs as they know services. A run that failed is in the history as
failed, and is no drift: the job stands as it was deployed.

## Volumes

`host` volumes are declared by the nodes or made by `nomad volume create`, and have been written to and read again on
real servers. `bind` needs a platform that allows it. For `csi` the job that is made is one that Nomad accepts and
stores unchanged, which is tested against a real server; no CSI plugin has been run beneath it.

## The escape hatch

`nomad` is laid over the compiled job last and shown in the plan. Its keys are `job`, `group` and `task`, their fields
are named as in the API of Nomad; what identifies the job and its number of instances stays with the spec. A field
that Nomad does not know, or a value that it does not take there, is refused where it stands: Nomad itself would drop
such a field without a word. `render --format hcl` writes all of them.

```yaml
nomad:
  job: {Priority: 70}
  task: {Config: {force_pull: true}}
```
"""


def spec_page() -> str:
    """The text of ``docs/spec.md``: every field with its type, default and meaning, a table for each section."""
    table = {doc.path: doc for doc in every_field()}
    parts = [_SPEC_INTRODUCTION]
    for doc in table.values():
        if doc.children:
            heading = f"## `{doc.path}`" if doc.path else "## All fields"
            rows = [_row(table[child]) for child in doc.children]
            parts.append("\n".join([heading, "", doc.description, "", *_HEAD, *rows, ""]))
    return "\n".join(parts)


_HEAD = ("| field | type | default | meaning |", "|---|---|---|---|")


def _row(doc: FieldDoc) -> str:
    name = doc.path.rpartition(".")[2]
    default = "**required**" if doc.required else _as_written(doc.default)
    meaning = doc.description if not doc.children else doc.description.partition(". ")[0].rstrip(".") + "."
    limits = [limit for limit in doc.limits if doc.type != "duration" and limit not in meaning.lower()]
    meaning += f" Must be {_joined(limits)}." if limits else ""
    if doc.examples:
        meaning += f" Example: {_as_written(doc.examples[0])}."
    shown = f"[`{name}`](#{_anchor(doc.path)})" if doc.children else f"`{name}`"
    return f"| {shown} | {doc.type} | {default} | {meaning} |"


def _joined(limits: list[str]) -> str:
    return ", ".join(limits)


def _anchor(path: str) -> str:
    return "".join(char for char in path.lower() if char.isalnum() or char in "-_")


def _as_written(value: Any) -> str:
    if value in (None, [], {}):
        return ""
    if isinstance(value, list):
        return "`[" + ", ".join(str(entry) for entry in value) + "]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def generated() -> dict[str, str]:
    """Every generated file of the documentation by its path in the project."""
    return {
        "docs/diagnostics.md": diagnostics_page(),
        "docs/hms.schema.json": schema_text(),
        "docs/spec.md": spec_page(),
    }
