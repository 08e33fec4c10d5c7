"""``provenance``: what runs now -> the chain back to a commit: release, job, image, signature, statement, packages.

Of each link it is said whether it was verified, and nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.build.referrers import documents
from hms_nomad.build.sbom import MEDIA_TYPE
from hms_nomad.build.signatures import signatures
from hms_nomad.build.signing import PublicKey
from hms_nomad.build.statement import Provenance, provenance_of
from hms_nomad.build.statements import SignedStatement, statements
from hms_nomad.clients.errors import InvalidRequestError, NotFoundError
from hms_nomad.clients.nomad_types import Job
from hms_nomad.clients.oci import RegistryClient, digest_of
from hms_nomad.compile.desired import Evidence
from hms_nomad.plan.observed import ObservedJob
from hms_nomad.rollout.release import Release
from hms_nomad.spec.image import Reference
from hms_nomad.workflows.building.making import revision_in
from hms_nomad.workflows.building.registries import Registries, open_registries
from hms_nomad.workflows.building.signatures import digested
from hms_nomad.workflows.rollouts.history import history
from hms_nomad.workflows.session import Session

_NO_EVIDENCE = Evidence()


class LinkState(StrEnum):
    """What came of checking one link."""

    VERIFIED = "verified"
    UNVERIFIED = "not verified"
    MISMATCH = "mismatch"


class Link(Struct, frozen=True):
    """One link of a chain: what was found, and what came of checking it."""

    name: str
    state: LinkState
    text: str
    facts: Mapping[str, str] = msgspec.field(default_factory=dict)


class Chain(Struct, frozen=True):
    """The chain of one image, or of the archive of a process, in one version of a job.

    ``runs`` is the image's name as the job has it, or the archive's checksum; ``instances`` run it now.
    """

    task: str
    runs: str
    job_version: int
    instances: int
    links: tuple[Link, ...]

    @property
    def state(self) -> LinkState:
        """The worst of its links."""
        order = (LinkState.MISMATCH, LinkState.UNVERIFIED)
        return next((one for one in order if any(link.state is one for link in self.links)), LinkState.VERIFIED)


def provenance(session: Session, name: str, keys: Sequence[PublicKey]) -> tuple[Chain, ...]:
    """The chains of everything that runs of a service; ``keys`` are those that are trusted.

    Raises NotFoundError for a service without a job, JournalError, and the errors of ``hms_nomad.clients.errors``,
    which name the server or the registry.
    """
    versions = {job.version: job for job in session.nomad.job_versions(name)}
    if not versions:
        what = f"look for the provenance of {name}"
        raise NotFoundError("nomad", what, session.nomad.address, f"there is no job {name}, so nothing of it runs")
    living = Counter(one.job_version for one in session.nomad.job_allocations(name).value if not one.done)
    releases = history(session, name).releases
    with open_registries(session) as registries:
        return tuple(
            chain
            for version in sorted(living or {max(versions): 0}, reverse=True)
            for chain in _of_version(registries, versions, version, living[version], releases, keys)
        )


def _of_version(
    registries: Registries,
    versions: Mapping[int, Job],
    version: int,
    instances: int,
    releases: Sequence[Release],
    keys: Sequence[PublicKey],
) -> Iterator[Chain]:
    job = versions.get(version)
    if job is None:
        text = f"Nomad has forgotten version {version} of the job, which {instances} instances still run"
        yield Chain("", "", version, instances, (Link("job", LinkState.UNVERIFIED, text),))
        return
    release = _release(job, releases)
    kept = versions.get(release.job_version) if release and release.job_version is not None else None
    for task in _tasks(job.body):
        image = (task.get("Config") or {}).get("image")
        told = [_release_link(release), _job_link(str(task["Name"]), task, version, instances, release, kept)]
        if isinstance(image, str):
            links = (*told, *_image_links(registries, image, release, keys))
            yield Chain(str(task["Name"]), image, version, instances, links)
        elif checksums := _checksums(task):
            yield Chain(str(task["Name"]), checksums[0], version, instances, tuple(told))


def _release(job: Job, releases: Sequence[Release]) -> Release | None:
    """The newest record of what a version of the job is: that of the version, else that of the same digest."""
    if exact := next((one for one in releases if one.job_version == job.version), None):
        return exact
    meta = ObservedJob(job.body, job.version, job.modify_index, job.stop, settled=True).service_meta
    return next((one for one in releases if one.digest == meta.get("digest")), None)


def _tasks(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tasks that specs describe; Nomad's own, such as the sidecar, come with the node."""
    groups = body.get("TaskGroups") or [{}]
    return [task for task in groups[0].get("Tasks") or () if not str(task.get("Kind") or "").startswith("connect-")]


def _release_link(release: Release | None) -> Link:
    if release is None:
        return Link("release", LinkState.UNVERIFIED, "no deploy of it is on record")
    when = datetime.fromtimestamp(int(release.started), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    text = f"{release.number} of version {release.version}, by {release.author.who} at {when}"
    facts = {"number": str(release.number), "who": release.author.who, "version": release.version}
    return Link("release", LinkState.VERIFIED, text, facts)


def _job_link(
    task_name: str, task: Mapping[str, Any], version: int, instances: int, release: Release | None, kept: Job | None
) -> Link:
    """What the job runs, against what its release stood for."""
    image = (task.get("Config") or {}).get("image")
    what = str(image) if image else ", ".join(_checksums(task))
    where = f"version {version} runs {what} in {instances} {'instance' if instances == 1 else 'instances'}"
    if release is None:
        return Link("job", LinkState.UNVERIFIED, where, {"version": str(version)})
    if image and image in release.images.values():
        return Link("job", LinkState.VERIFIED, where, {"version": str(version)})
    other = next((one for one in _tasks(kept.body) if one.get("Name") == task_name), None) if kept else None
    if other is not None and not release.images:
        same = (other.get("Config") or {}).get("image") == image and _checksums(other) == _checksums(task)
        if same and (not image or digested(str(image)) is not None):
            return Link("job", LinkState.VERIFIED, where, {"version": str(version)})
        if same:
            return Link("job", LinkState.UNVERIFIED, f"{where}; the release names no digest", {"version": str(version)})
    elif not release.images:
        return Link("job", LinkState.UNVERIFIED, f"{where}; the release names no digest", {"version": str(version)})
    was = ", ".join(sorted(release.images.values())) or "something else"
    return Link("job", LinkState.MISMATCH, f"{where}, and release {release.number} stood for {was}")


def _checksums(task: Mapping[str, Any]) -> tuple[str, ...]:
    rows = ((one.get("GetterOptions") or {}).get("checksum") for one in task.get("Artifacts") or ())
    return tuple(str(one) for one in rows if one)


def _image_links(
    registries: Registries, image: str, release: Release | None, keys: Sequence[PublicKey]
) -> Iterator[Link]:
    reference = digested(image)
    if reference is None:
        yield Link("image", LinkState.UNVERIFIED, f"{image} names no digest in a registry, so nobody vouches for it")
        return
    client = registries.client(reference.registry)
    try:
        found = client.manifest(reference.repository, reference.digest)
    except InvalidRequestError as error:
        yield Link("image", LinkState.MISMATCH, str(error))
        return
    if found is None:
        yield Link("image", LinkState.UNVERIFIED, f"the registry {client.address} does not have it any more")
        return
    text = f"the registry's bytes come to {reference.digest}"
    yield Link("image", LinkState.VERIFIED, text, {"digest": reference.digest})
    yield _signature_link(client, reference, keys)
    known = release.evidence.get(image, _NO_EVIDENCE) if release else _NO_EVIDENCE
    link, statement = _statement_link(client, reference, keys, known)
    yield link
    said = _said(statement)
    yield _bill_link(client, reference, said, known)
    yield _commit_link(revision_in(client, reference), said)


def _signature_link(client: RegistryClient, reference: Reference, keys: Sequence[PublicKey]) -> Link:
    found = signatures(client, reference.repository, reference.digest, keys)
    if found.by is not None:
        text = f"by {found.by.name} ({found.by.fingerprint})"
        return Link("signature", LinkState.VERIFIED, text, {"key": found.by.fingerprint})
    if not found.count:
        return Link("signature", LinkState.UNVERIFIED, "nobody signed it")
    if not keys:
        text = "somebody signed it, and no key is trusted here: name one with --key, or in a rule (require_signature)"
        return Link("signature", LinkState.UNVERIFIED, text)
    return Link("signature", LinkState.MISMATCH, f"none of its signatures holds for {_names(keys)}")


def _statement_link(
    client: RegistryClient, reference: Reference, keys: Sequence[PublicKey], known: Evidence
) -> tuple[Link, SignedStatement | None]:
    """The statement that the release kept, or else the newest that a trusted key signed."""
    found = statements(client, reference.repository, reference.digest, keys)
    chosen = next((one for one in (*found.trusted, None) if one is None or one.digest == known.statement), None)
    chosen = chosen or next(iter(found.trusted), None)
    if chosen is not None and (said := _said(chosen)) is not None:
        text = (
            f"built by {said.who or said.builder} at {said.finished or 'an unknown time'}, signed by {chosen.by.name}"
        )
        facts = {"digest": chosen.digest, "builder": said.builder, "who": said.who, "finished": said.finished}
        return Link("statement", LinkState.VERIFIED, text, facts), chosen
    if not found.count and known.statement:
        text = f"the statement {known.statement}, which the release kept, is not beside the image any more"
        return Link("statement", LinkState.MISMATCH, text), None
    if not found.count:
        return Link("statement", LinkState.UNVERIFIED, "nobody states how it was built"), None
    if not keys:
        return Link("statement", LinkState.UNVERIFIED, "there is one, and no key is trusted here"), None
    return Link("statement", LinkState.MISMATCH, f"none of its statements is signed by {_names(keys)}"), None


def _said(statement: SignedStatement | None) -> Provenance | None:
    try:
        return provenance_of(statement.text) if statement is not None else None
    except (ValueError, AttributeError):
        return None


def _bill_link(client: RegistryClient, reference: Reference, said: Provenance | None, known: Evidence) -> Link:
    wanted = said.bill if said and said.bill else known.bill
    if said and said.bill and known.bill and said.bill != known.bill:
        text = f"the statement names {said.bill}, and the release kept {known.bill}"
        return Link("packages", LinkState.MISMATCH, text)
    there = [digest_of(one) for one in documents(client, reference.repository, reference.digest, MEDIA_TYPE)]
    if not wanted:
        text = "there is a bill of materials, and nothing vouches for it" if there else "no bill of materials is there"
        return Link("packages", LinkState.UNVERIFIED, text)
    if wanted not in there:
        return Link("packages", LinkState.MISMATCH, f"the bill of materials {wanted} is not beside the image")
    return Link("packages", LinkState.VERIFIED, f"bill of materials {wanted}", {"bill": wanted})


def _commit_link(revision: str, said: Provenance | None) -> Link:
    plain = revision.removesuffix("-changed")
    if said is None:
        text = f"the image names {revision}, and nothing that is signed says so" if revision else "none is named"
        return Link("commit", LinkState.UNVERIFIED, text)
    if not said.commit:
        return Link("commit", LinkState.UNVERIFIED, "the statement names no commit: the sources were in none")
    if plain and plain != said.commit:
        return Link("commit", LinkState.MISMATCH, f"the statement names {said.commit}, and the image {plain}")
    where = f" of {said.source}" if said.source else ""
    facts = {"commit": said.commit, "source": said.source}
    if said.changed:
        text = f"{said.commit}{where}, with changes that are in no commit"
        return Link("commit", LinkState.UNVERIFIED, text, facts)
    return Link("commit", LinkState.VERIFIED, f"{said.commit}{where}", facts)


def _names(keys: Sequence[PublicKey]) -> str:
    return ", ".join(f"{key.name} ({key.fingerprint})" for key in keys)
