"""Spec -> the ``Scaling`` block of a group: the bounds and the CPU rule in nomad-autoscaler's policy language."""

from __future__ import annotations

from typing import Any

from hms_nomad.spec.model import Spec


def scaling_block(spec: Spec) -> dict[str, Any]:
    """The group's horizontal scaling policy (Nomad API, job JSON, ``Scaling``).

    ``within_bounds_trigger`` must be 1: Nomad's metric source answers with one data point, while the strategy waits
    for five. Both checks carry one group: ungrouped, "nothing to do" of the high check outweighs "one fewer" of the low
    one.
    """
    scaling = spec.scaling
    return {
        "Type": "horizontal",
        "Min": scaling.min,
        "Max": scaling.max,
        "Enabled": True,
        "Policy": {
            "cooldown": scaling.cooldown,
            "evaluation_interval": scaling.every,
            "on_check_error": "ignore",
            "check": [
                {"cpu_high": [_cpu_check({"lower_bound": scaling.cpu.high, "delta": 1})]},
                {"cpu_low": [_cpu_check({"upper_bound": scaling.cpu.low, "delta": -1})]},
            ],
        },
    }


def _cpu_check(bound: dict[str, float]) -> dict[str, Any]:
    return {
        "group": "cpu",
        "source": "nomad-apm",
        "query": "avg_cpu-allocated",
        "query_window": "1m",
        "strategy": [{"threshold": [{**bound, "within_bounds_trigger": 1}]}],
    }
