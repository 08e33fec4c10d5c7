"""Rules about files and their form, which the loader itself holds to (HMS0xx and HMS1xx)."""

from __future__ import annotations

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.registry import Rule

_SERVICE = "name: receipt-svc\nversion: 1.0.0\nimage: ghcr.io/gov/receipt:1.0\nport: 3000\n"


def _rule(code: str, title: str, cause: str, fix: str, example: str = "", level: Level = Level.ERROR) -> Rule:
    return Rule(code, level, title, cause, fix, example)


RULES = (
    _rule(
        "HMS001",
        "A path that holds no spec",
        "The file or directory is missing, cannot be read, or contains no file named `*.hms.yml`, `*.hms.yaml` or "
        "`*.hms.json`.",
        "check the path and its permissions",
    ),
    _rule(
        "HMS002",
        "No YAML or JSON",
        "The text does not follow the grammar of YAML, or of JSON in a file that ends with `.json`: mostly a tab, an "
        "open quote or bracket, or a line that is indented wrongly.",
        "mend the place that the message names",
        _SERVICE + "routes:\n\t- path: /receipt\n",
    ),
    _rule(
        "HMS003",
        "The file is too big",
        "At most 1 MiB is read: a spec is a page or two, so a larger file is another file.",
        "name the right file",
    ),
    _rule(
        "HMS004",
        "The file is not UTF-8",
        "Other encodings cannot be told apart with certainty, so none is guessed.",
        "save the file as UTF-8",
    ),
    _rule(
        "HMS005",
        "A character that cannot stand in a file",
        "Control characters and invisible line separators make a file look different from what it says.",
        "remove the character, or write it as an escape inside double quotes",
        _SERVICE + "owner: tax\x07team\n",
    ),
    _rule(
        "HMS006",
        "The file is empty",
        "There is nothing but white space and comments.",
        "start with name, version, image and port",
        "# receipt\n",
    ),
    _rule(
        "HMS007",
        "A key is given twice",
        "Which of the two values was meant cannot be known; most tools silently take the last one.",
        "keep one of the two",
        _SERVICE + "port: 3001\n",
    ),
    _rule(
        "HMS008",
        "Several documents in one file",
        "A file describes one service, so that its findings, its history and its plan are those of one service.",
        "keep one service per file; a directory of files is deployed together",
        _SERVICE + "---\n" + _SERVICE.replace("receipt", "tax"),
    ),
    _rule(
        "HMS009",
        "No usable number",
        "`.nan`, `.inf` and numbers beyond 64 bits mean nothing to the servers.",
        "write an ordinary number, or put text in quotes",
        _SERVICE + "scaling: {max: .inf}\n",
    ),
    _rule(
        "HMS010",
        "Nested too deep, or too many values",
        "Beyond 64 levels, 10,000 values or 100 problems reading stops, so that a file cannot exhaust the machine.",
        "mend the first problems first; a spec needs far less",
    ),
    _rule(
        "HMS011",
        "Anchors, aliases and merge keys",
        "They make a small file large and hide what a service really gets; variables say the same openly.",
        "write the value out",
        _SERVICE + "owner: &team tax-team\ndescription: *team\n",
    ),
    _rule(
        "HMS012",
        "A key that is no text",
        "Fields have names.",
        "write key: value",
        _SERVICE + "[owner]: tax-team\n",
    ),
    _rule(
        "HMS013",
        "YAML tags",
        "Tags such as `!!python/object` ask the reader to make other things than text, numbers, lists and mappings.",
        "put text in quotes instead",
        _SERVICE + "owner: !!binary dGF4\n",
    ),
    _rule(
        "HMS014",
        "Two files describe one service",
        "They would replace each other with every deploy.",
        "rename one of the services, or remove one of the files",
    ),
    _rule(
        "HMS101",
        "An unknown key",
        "A key that nobody reads is mostly a slip of the pen, and what it should have set keeps its default.",
        "write the name as the message suggests; hms-nomad explain lists all fields",
        _SERVICE.replace("port", "prot"),
    ),
    _rule(
        "HMS102",
        "A required key is missing",
        "The field has no default that would be right for every service.",
        "add the key",
        _SERVICE.replace("port: 3000\n", ""),
    ),
    _rule(
        "HMS103",
        "A value of the wrong type",
        "Text, numbers, true and false, lists and mappings are not turned into each other: YAML would read 1.20 as the "
        "number 1.2, and a version is not a number.",
        "write the value as the message says, mostly with or without quotes",
        _SERVICE.replace("1.0.0", "1.20"),
    ),
    _rule(
        "HMS104",
        "A value that is not among the choices",
        "The field knows a fixed list of values, with exactly these letters.",
        "write one of the choices",
        _SERVICE + "rollout: {strategy: bluegreen}\n",
    ),
    _rule(
        "HMS105",
        "A value out of bounds",
        "The number or the length is smaller or larger than the servers take.",
        "stay within the bounds that the message names",
        _SERVICE.replace("3000", "70000"),
    ),
    _rule(
        "HMS106",
        "A value of the wrong form",
        "Names are DNS labels, because they become host names; durations have a unit; paths start with a slash.",
        "write the value as the message says",
        _SERVICE + "scaling: {every: 1 minute}\n",
    ),
    _rule(
        "HMS110",
        "An environment that the file does not have",
        "Without it the values meant for that environment would be missing, and others would be deployed.",
        "mend the name given with `--env`, or declare it below `environments`",
    ),
    _rule(
        "HMS111",
        "A variable that is not declared",
        "Every variable is declared with its type, so that a slip in its name cannot leave a value empty.",
        "mend the name, or declare it below `variables`",
        _SERVICE.replace("receipt:1.0", "receipt:${var.tag}"),
    ),
    _rule(
        "HMS112",
        "A variable without a value",
        "It has no default, and neither the command line nor the environment gives it a value.",
        "give it one with `--var NAME=VALUE`",
        _SERVICE.replace("receipt:1.0", "receipt:${var.tag}") + "variables:\n  tag: {}\n",
    ),
    _rule(
        "HMS113",
        "A value that does not fit its variable",
        "The declared type and choices say which values make sense.",
        "give it another value, or declare another type",
        _SERVICE + "scaling: {min: '${var.least}', max: 9}\nvariables:\n  least: {type: integer, default: two}\n",
    ),
    _rule(
        "HMS115",
        "What an environment cannot change",
        "A service has one name everywhere, and environments do not contain environments.",
        "remove it",
    ),
    _rule(
        "HMS116",
        "A variable that no value names",
        "Whoever gives it a value expects something to change, but nothing does.",
        "use it or remove it",
        _SERVICE + "variables:\n  tag: {default: '1.0'}\n",
        Level.WARNING,
    ),
)
"""Every rule that has no check function: the loader looks for it while it reads."""
