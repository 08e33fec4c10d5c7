"""Take each rule out of each shipped policy, one at a time, and name the command that stops working without it.

A secure stack of its own is brought up and taken down again (root, and the servers' programs on the PATH); it takes
some minutes. Roles of people, all servers, or only those that are named:

    python scripts/rules_one_by_one.py [viewer] [planner] [deployer] [publisher] [operator] [admin]

Exit code 1: a rule that no command of the table in docs/access.md needs. That the calls of each role need each of its
rules is what tests/live/mesh/test_each_rule.py holds, for the roles of jobs too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hms_nomad.dev.contexts import admin_context
from hms_nomad.dev.security import security_of
from hms_nomad.platform.jobspecs import list_policies, read_policy
from hms_nomad.workflows.platform.bootstrap import prepare
from tests.live.conftest import own_contexts, run_cli, running_stack
from tests.live.mesh.rules import NOTHING, says_something, without_each
from tests.live.secure.conftest import SecureStack
from tests.live.secure.test_roles import OTHER, OWN, ROLES, SETTINGS, Desk, documented, write_policy

PEOPLE = ("viewer", "planner", "deployer", "publisher", "operator", "admin")


def main(chosen: Sequence[str]) -> int:
    """Try every rule; answers the exit code."""
    unproven = []
    with running_stack("rules", secure=True, nomad="real") as stack, tempfile.TemporaryDirectory() as folder:
        admin = admin_context(stack.settings.name)
        with own_contexts(stack.config_dir):
            prepare(admin, lambda _: None)
        secure = SecureStack(stack, admin, security_of(stack.settings.state_dir))
        desk = Desk(secure, lambda *words: run_cli(stack, *words), Path(folder))
        desk.deployed(OWN, OTHER)
        for role in chosen or PEOPLE:
            # A role may stand on another one; only what it adds is its own.
            part = ROLES[role][-1]
            for server in [one.server for one in list_policies() if one.role == part]:
                unproven += tried(secure, desk, role, server, part)
    print("\nnothing needs:" if unproven else "\neach rule is needed")
    for line in unproven:
        print(f"  {line}")
    return 1 if unproven else 0


def tried(secure: SecureStack, desk: Desk, role: str, server: str, part: str) -> Iterator[str]:
    """The rules of one policy without which every command of its role works as before."""
    text = read_policy(server, part, SETTINGS).text
    for rule, less in without_each(text):
        with secure.as_admin() as session:
            write_policy(session, server, part, less if says_something(less) or server != "nomad" else NOTHING)
        broken = first_broken(desk, role)
        print(f"{role} on {server} without {rule}: {broken or 'nothing breaks'}", flush=True)
        with secure.as_admin() as session:
            write_policy(session, server, part, text)
        if not broken:
            yield f"{role} on {server}: {rule}"


def first_broken(desk: Desk, role: str) -> str:
    """The first command of a role that does not work, or ""."""
    table = documented()
    for name, one in desk.tries().items():
        if table[name][role] and not desk.works(role, one)[0]:
            return name
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
