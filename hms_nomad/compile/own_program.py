"""Platform -> what each job that runs this very program is told: its context as nodes see it, and its own token."""

from __future__ import annotations

import json
from typing import Any

from hms_nomad.compile.platform_job import consul_block
from hms_nomad.platform.model import OwnProgram, Platform, ServerAddress
from hms_nomad.sections.section import as_data


def own_values(platform: Platform, program: OwnProgram, nomad: ServerAddress | None = None) -> dict[str, Any]:
    """What the shipped jobs of this program have in common: the context's name, templates, and Consul's block.

    The job gets the platform's context, with the servers as nodes reach them (``nomad`` where that is another way than
    the platform's), and no token: Nomad gives it those of its own identity.
    """
    context = _as_nodes_see_it(platform, nomad, program.consul)
    body = as_data(context, defaults=False)
    templates = [_template(json.dumps(body, sort_keys=True), f"local/contexts/{context.name}.yml")]
    if program.consul_token:
        own = _template('CONSUL_HTTP_TOKEN=<<< env "CONSUL_TOKEN" >>>\n', "secrets/consul.env")
        templates.append({**own, "Envvars": True})
    return {"context": context.name, "consul_block": consul_block(program.consul_token), "templates": templates}


def _as_nodes_see_it(platform: Platform, nomad: ServerAddress | None, consul: ServerAddress | None) -> Platform:
    """The platform for a process on a node: files of the operator's machine, tokens among them, are not there."""

    def seen(own: ServerAddress | None, usual: ServerAddress) -> ServerAddress:
        return own or usual.changed(token_file=None, token_helper=())

    update = {"nomad": seen(nomad, platform.nomad), "consul": seen(consul, platform.consul), "vault": None}
    return platform.changed(**update)


def _template(text: str, path: str) -> dict[str, Any]:
    return {
        "EmbeddedTmpl": text,
        "DestPath": path,
        "LeftDelim": "<<<",
        "RightDelim": ">>>",
        "ChangeMode": "noop",
    }
