"""Spec -> Policy: how fast one rollout moves and what it is judged by, without the spec being at hand any more."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.spec.duration import seconds
from hms_nomad.spec.model import Rollout, Spec

_KEEP_SECONDS = {"blue-green": 30.0}
_MINUTE = 60.0


class ProbeQuestion(Struct, frozen=True):
    """A named question to a new instance; any 2xx answer within ``timeout`` seconds passes."""

    name: str
    method: str
    path: str
    timeout: float


class Policy(Struct, frozen=True):
    """The rules of one rollout; all times are in seconds, shares in percent.

    ``steps`` rise to 100, and ``holds`` says how long each is held. ``success`` is the lowest share of successful
    requests, ``p99_ms`` the highest p99 latency, ``slower`` how many times the old release's p50 and p99 latency the
    new one's may be (None: not judged). ``longest_request`` bounds the waiting for requests that old instances still
    answer. ``splits`` is False where the protocol allows no weights: traffic then moves at once.
    """

    strategy: str
    steps: tuple[float, ...]
    holds: tuple[float, ...]
    success: float
    p99_ms: float | None
    min_requests: int
    on_no_traffic: str
    longest_request: float
    deadline: float
    probes: tuple[ProbeQuestion, ...] = ()
    health_path: str | None = None
    splits: bool = True
    slower: float | None = None


def policy_of(spec: Spec, strategy: str | None = None) -> Policy:
    """The rules for rolling out a spec; ``strategy`` overrules the spec's own."""
    rollout, chosen = spec.rollout, strategy or spec.rollout.strategy
    splits = spec.protocol != "tcp"
    steps = _steps(rollout.steps) if splits and chosen != "blue-green" else (100.0,)
    every = seconds(rollout.every) if chosen == "canary" else 0.0
    keep = _KEEP_SECONDS.get(chosen, 0.0) if rollout.keep is None else seconds(rollout.keep)
    timeouts = [spec.mesh.timeout, *(route.timeout for route in spec.routes if route.timeout)]
    return Policy(
        strategy=chosen,
        steps=steps,
        holds=(*(every for _ in steps[:-1]), every + keep),
        success=rollout.success,
        p99_ms=None if rollout.p99 is None else seconds(rollout.p99) * 1000,
        min_requests=rollout.min_requests,
        on_no_traffic=rollout.on_no_traffic,
        longest_request=max(map(seconds, timeouts)),
        deadline=seconds(rollout.deadline),
        probes=tuple(
            ProbeQuestion(name, probe.method, probe.path, seconds(probe.timeout))
            for name, probe in sorted(spec.probes.items())
        ),
        health_path=spec.health.path if spec.health and spec.health.kind == "http" else None,
        splits=splits,
        slower=rollout.slower,
    )


def with_strategy(policy: Policy, strategy: str | None) -> Policy:
    """The rules of an earlier rollout for another strategy (None: its own), as its spec is not at hand any more.

    Steps and times that the earlier one had no use for are those of a spec that does not name them.
    """
    if strategy is None or strategy == policy.strategy:
        return policy
    usual = Rollout()
    held = policy.strategy == "canary"
    # The only hold of a canary with one step is both times in one.
    every = policy.holds[0] if held and len(policy.holds) > 1 else seconds(usual.every)
    keep = max(0.0, policy.holds[-1] - (every if held else 0.0))
    if strategy == "blue-green":
        return replace(policy, strategy=strategy, steps=(100.0,), holds=(keep or _KEEP_SECONDS[strategy],))
    # What was blue-green had one step, and a time to keep the old release that is its own.
    keep = 0.0 if policy.strategy == "blue-green" else keep
    steps = _steps(usual.steps) if policy.splits and policy.strategy == "blue-green" else policy.steps
    every = every if strategy == "canary" else 0.0
    return replace(policy, strategy=strategy, steps=steps, holds=(*(every for _ in steps[:-1]), every + keep))


def patience(policy: Policy) -> float:
    """Seconds that a whole rollout may take: starting, every step with its acknowledgement, draining, the servers."""
    start = policy.deadline + _MINUTE
    return start + sum(policy.holds) + _MINUTE * len(policy.steps) + policy.longest_request + _MINUTE


def _steps(shares: tuple[float, ...]) -> tuple[float, ...]:
    """The shares in rising order, to the two decimals that Consul knows; the last one is always all of the traffic."""
    rounded = sorted({round(share, 2) for share in shares if 0 < round(share, 2) < 100})
    return (*rounded, 100.0)
