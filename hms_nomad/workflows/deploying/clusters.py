"""``deploy`` to several clusters: contexts in waves, and no wave is begun after one in which something failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.progress import Event, Report
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.deploying.as_they_end import as_they_end
from hms_nomad.workflows.deploying.outcome import DeployOptions
from hms_nomad.workflows.deploying.waves import Result, deploy_all
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.session import Session, open_session
from hms_nomad.workflows.specs import SpecFile

_ONE_CLUSTER_FOR_ALL = ("NOMAD_ADDR", "NOMAD_REGION", "CONSUL_HTTP_ADDR", "VAULT_ADDR")


class Target(Struct, frozen=True):
    """A cluster to deploy to: the name of its context, and the platform that stands in it."""

    context: str
    platform: Platform

    @property
    def region(self) -> str:
        """The region of its Nomad."""
        return self.platform.region


class ClusterResult(Struct, frozen=True):
    """How a cluster's services ended; ``error`` when its servers could not even be asked, ``tried`` False when an
    earlier wave failed.
    """

    target: Target
    results: tuple[Result, ...] = ()
    error: Exception | None = None
    tried: bool = True

    @property
    def good(self) -> bool:
        """True when every service of this cluster is what its spec says."""
        return self.tried and self.error is None and all(result.good for result in self.results)


def targets(names: Sequence[str], load: Callable[[str], Platform]) -> tuple[Target, ...]:
    """The clusters of contexts, in their order. Raises ContextError for one that is unknown, twice, or not its own."""
    if fixed := [name for name in _ONE_CLUSTER_FOR_ALL if os.environ.get(name)]:
        raise ContextError(
            f"{' and '.join(fixed)} in the environment would make all contexts one cluster; unset what is set"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ContextError(f"context {twice[0]!r} is named twice; each cluster is deployed to once")
    return tuple(Target(name, load(name)) for name in names)


def waves_of(clusters: Sequence[Target], *, by_region: bool) -> tuple[tuple[Target, ...], ...]:
    """One wave a cluster, or with ``by_region`` one a region, in the order in which they are named."""
    if not by_region:
        return tuple((target,) for target in clusters)
    regions = dict.fromkeys(target.region for target in clusters)
    return tuple(tuple(target for target in clusters if target.region == region) for region in regions)


def deploy_to(
    clusters: Sequence[Sequence[Target]],
    files: Sequence[SpecFile],
    options: Callable[[SpecFile], DeployOptions],
    report: Report,
    told: Callable[[Target, Result], None],
    after: Callable[[Session], None],
    *,
    lock_wait: float = 0.0,
    fail_fast: bool = False,
) -> tuple[ClusterResult, ...]:
    """Deploy the same specs to waves of clusters; the clusters of a wave side by side, the waves one after the other.

    ``told`` hears each result of each cluster as it comes, ``after`` gets the session of one in which all is done, and
    ``lock_wait`` is in seconds. The first wave in which anything fails is the last one: what is wrong in one region
    stays there. Each cluster's own order and ``fail_fast`` are those of ``waves.deploy_all``.
    """

    def work(target: Target) -> ClusterResult:
        try:
            with open_session(target.platform, lock_wait) as session:
                ready = prepare(session, files, _of(target, report), build=True)
                results = deploy_all(
                    ready.session,
                    ready.files,
                    options,
                    _of(target, report),
                    lambda result: told(target, result),
                    fail_fast=fail_fast,
                )
                after(session)
        except Exception as error:  # noqa: BLE001 - a cluster that cannot be asked is its result, not the others'
            return ClusterResult(target, error=error)
        return ClusterResult(target, results)

    ended: list[ClusterResult] = []
    for wave in clusters:
        if all(result.good for result in ended):
            found = {result.target.context: result for result in as_they_end(work, wave, len(wave))}
            ended += [found[target.context] for target in wave]
        else:
            ended += [ClusterResult(target, tried=False) for target in wave]
    return tuple(ended)


def _of(target: Target, report: Report) -> Report:
    """A report whose events say which cluster they are of."""

    def told(event: Event) -> None:
        data = dict(event.data, context=target.context)
        if "allocation" in data:
            data["allocation"] = f"{target.context}/{data['allocation']}"
        report(replace(event, message=f"{target.context}: {event.message}", data=data))

    return told
