"""Rules that need to know the cluster: nodes from Nomad, names of services from Consul (HMS40x)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.facts import Facts
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import Finding, Hit, Rule

NOMAD = "no Nomad"
CONSUL = "no Consul"

ClusterFunction = Callable[[Spec, Facts], Iterator[Hit]]


class ClusterCheck(Struct, frozen=True):
    """A rule with its function and what is missing when it cannot run."""

    rule: Rule
    missing: str
    run: ClusterFunction


def check_against(spec: Spec, facts: Facts, together: frozenset[str]) -> Iterator[Finding]:
    """Findings of the checks that ``facts`` suffice for; ``together`` names the services deployed with this one."""
    known = facts if facts.services is None else replace(facts, services=facts.services | together)
    for check in CLUSTER_CHECKS:
        if not _lacks(check, facts):
            for hit in check.run(spec, known):
                yield Finding(check.rule, hit.path, hit.message, hit.fix or check.rule.fix, hit.at_key)


def not_checked(facts: Facts) -> dict[str, tuple[str, ...]]:
    """What is missing, and the codes of the checks that cannot run for it."""
    lacking = [check for check in CLUSTER_CHECKS if _lacks(check, facts)]
    return {
        missing: codes
        for missing in (NOMAD, CONSUL)
        if (codes := tuple(check.rule.code for check in lacking if check.missing == missing))
    }


def _lacks(check: ClusterCheck, facts: Facts) -> bool:
    return (facts.nodes if check.missing == NOMAD else facts.services) is None


def _nobody_there(spec: Spec, facts: Facts) -> Iterator[Hit]:
    for index, name in enumerate(spec.uses):
        if name not in (facts.services or ()):
            yield Hit(("uses", index), f"no service is named {name}")


def _nobody_calls(spec: Spec, facts: Facts) -> Iterator[Hit]:
    for index, name in enumerate(spec.allow):
        if name not in (facts.services or ()):
            yield Hit(("allow", index), f"no service is named {name}")


def _too_large(spec: Spec, facts: Facts) -> Iterator[Hit]:
    nodes = facts.nodes or ()
    for name, unit in (("cpu", "MHz"), ("memory", "MiB")):
        wanted = getattr(spec.resources, name)
        largest = max((getattr(node, name) for node in nodes), default=0)
        if nodes and all(getattr(node, name) for node in nodes) and wanted > largest:
            yield Hit(
                ("resources", name), f"resources.{name} {wanted} {unit} is more than any node has ({largest} {unit})"
            )


def _no_driver(spec: Spec, facts: Facts) -> Iterator[Hit]:
    if spec.image is not None and not any("docker" in node.drivers for node in facts.nodes or ()):
        yield Hit(("image",), "no node runs containers (driver docker)")


def _crowded(spec: Spec, facts: Facts) -> Iterator[Hit]:
    nodes = facts.nodes or ()
    if spec.scaling.min > 1 and len(nodes) == 1:
        yield Hit(("scaling", "min"), f"all {spec.scaling.min} instances run on {nodes[0].name}, the only node")


CLUSTER_CHECKS = (
    ClusterCheck(
        Rule(
            "HMS401",
            Level.WARNING,
            "A dependency that nobody has",
            "Calls to it fail until a service of that name is registered in Consul or deployed in the same command.",
            "deploy it first, or mend the name",
        ),
        CONSUL,
        _nobody_there,
    ),
    ClusterCheck(
        Rule(
            "HMS402",
            Level.ERROR,
            "More resources than any node has",
            "No node can ever take an instance, so the deploy would wait until its deadline.",
            "reserve less, or add a larger node",
        ),
        NOMAD,
        _too_large,
    ),
    ClusterCheck(
        Rule(
            "HMS403",
            Level.ERROR,
            "No node can run the task",
            "Nomad places a task only on nodes whose agent has found the driver healthy.",
            "install a container engine on a node, or use command instead of image",
        ),
        NOMAD,
        _no_driver,
    ),
    ClusterCheck(
        Rule(
            "HMS404",
            Level.WARNING,
            "All instances share one node",
            "Several instances help against the failure of one of them, not against that of their node.",
            "add a node",
        ),
        NOMAD,
        _crowded,
    ),
    ClusterCheck(
        Rule(
            "HMS405",
            Level.INFO,
            "A caller that nobody has",
            "The right is given to a name that anybody may take later.",
            "remove it, or mend the name",
        ),
        CONSUL,
        _nobody_calls,
    ),
)
"""All checks of this kind, in the order of their codes."""
