"""What was asked of Nomad -> the right that it takes, because Nomad itself only says "Permission denied"."""

from __future__ import annotations

from hms_nomad.patterns import lazy_pattern

# Checked against a real server by the contract tests, each right alone.
_RIGHTS = (
    (r"list namespaces", "any right in a namespace"),
    (r"(list nodes|read node)\b", 'node { policy = "read" }'),
    (r"read the agent", 'agent { policy = "read" }'),
    (r"list jobs", "list-jobs"),
    (r"(validate|read) job\b|read (deployment|evaluation|use of|checks of)\b", "read-job"),
    (r"list (versions|allocations|deployments|evaluations)\b|follow events", "read-job"),
    (r"dispatch job\b", "dispatch-job"),
    (r"scale job\b", "scale-job"),
    (r"read scale\b", "read-job-scaling"),
    (r"list scaling policies", "list-scaling-policies and read-scaling-policy"),
    (r"(register|plan|stop|revert) job\b|(promote|fail|pause|resume) deployment\b", "submit-job"),
    (r"tag version\b|remove tag\b", "submit-job"),
    (r"(stop|restart) (task\b.* of )?allocation\b|send \w+ to\b", "alloc-lifecycle"),
    (r"read std(out|err)\b", "read-logs"),
    (r"run a command in\b", "alloc-exec and alloc-node-exec where its driver isolates nothing"),
)
_TABLE = tuple((lazy_pattern(operations), right) for operations, right in _RIGHTS)


def needed_right(operation: str) -> str:
    """The capability, or block of a policy, that an operation of NomadClient takes; "" for one that takes none.

    Source: https://developer.hashicorp.com/nomad/docs/secure/acl/policies
    """
    return next((right for pattern, right in _TABLE if pattern.match(operation)), "")
