"""``--sign`` and the rule ``require_signature``: digests are signed, and checked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hms_nomad.apply.progress import Event, Report
from hms_nomad.build.cosign import cosign_key, is_cosigns
from hms_nomad.build.errors import KeyFileError
from hms_nomad.build.signatures import attach, signatures
from hms_nomad.build.signing import PublicKey, Signer, private_key, public_key
from hms_nomad.compile import compile_spec
from hms_nomad.compile.images import own_image
from hms_nomad.plan.rules import DeployDeniedError, DeployRule, Violation, held_to_signatures
from hms_nomad.spec.image import Reference, is_image_id, parse_image
from hms_nomad.workflows.building.registries import Registries, open_registries
from hms_nomad.workflows.planning.rules import diagnostic_of, load_rules, today
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile

PASSWORD_VARIABLE = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable
_FIX = "sign it: hms-nomad deploy --sign KEY, or cosign sign --key KEY"


def read_signing_key(reference: str) -> Signer:
    """The key of a file, with the password in COSIGN_PASSWORD where it has one. Raises KeyFileError.

    A file that cosign wrote, and a place of keys that it knows (hashivault://NAME), go through cosign.
    """
    content = b"" if "://" in reference else _bytes(Path(reference))
    if is_cosigns(reference, content):
        return cosign_key(reference)
    password = os.environ.get(PASSWORD_VARIABLE)
    return private_key(content, reference, password.encode() if password else None)


def read_public_keys(names: Sequence[Path]) -> tuple[PublicKey, ...]:
    """The keys of PEM files that signatures are checked with. Raises KeyFileError."""
    return tuple(public_key(_bytes(file), str(file)) for file in names)


def trusted_keys(session: Session) -> tuple[PublicKey, ...]:
    """The keys that the platform's rules trust, each once. Raises RuleError and KeyFileError."""
    rules = load_rules(session.platform.rules)
    found = (key for rule in rules.rules if rule.body.require_signature for key in _trusted(rule))
    return tuple({key.fingerprint: key for key in found}.values())


def sign_images(session: Session, files: Sequence[SpecFile], key: Signer, report: Report) -> None:
    """Sign the services' own images, as they are pinned. Raises KeyFileError for one that is in no registry."""
    with open_registries(session) as registries:
        for file in files:
            image = own_image(file.spec, session.platform)
            if image is None:
                continue
            pin = session.pins.get(image, image)
            reference = digested(pin)
            if reference is None:
                raise KeyFileError(f"{pin} cannot be signed: it lies in no registry, or has no digest")
            client = registries.client(reference.registry)
            new = attach(client, reference.repository, reference.name, reference.digest, key)
            word = "signed" if new else "was signed already"
            text = f"{reference.name} {word} by {key.public.fingerprint}"
            report(Event("sign", text, {"image": pin, "key": key.public.fingerprint, "new": new}))


def refuse_unsigned(session: Session, files: Sequence[SpecFile], unbuilt: Sequence[str]) -> None:
    """Raise DeployDeniedError for images of the jobs that the platform's rules want signed, and that are not.

    ``unbuilt`` are images that a plan foresees. What the escape hatch brings counts as well. Raises RuleError for a key
    that cannot be used, and the errors of ``hms_nomad.clients.errors``, which name the registry.
    """
    rules = load_rules(session.platform.rules)
    if not any(rule.body.require_signature for rule in rules.rules):
        return
    found: list[tuple[SpecFile, Violation]] = []
    with open_registries(session) as registries:
        for file in files:
            for rule in held_to_signatures(file.spec, session.platform, rules, today()):
                keys = _trusted(rule)
                job = compile_spec(file.spec, session.platform, session.pins).job
                for task, image in _images(job):
                    cause = "" if image in unbuilt else _fault(registries, image, keys)
                    if cause:
                        path = ("image",) if task == "app" else ("tasks", task, "image")
                        found.append((file, Violation(file.spec.name, rule, path, cause, _FIX)))
    if found:
        raise DeployDeniedError(tuple(diagnostic_of(one, file.file, file.document) for file, one in found))


def _fault(registries: Registries, image: str, keys: Sequence[PublicKey]) -> str:
    reference = digested(image)
    if reference is None:
        return f"the image {image} has no digest in a registry, so nobody can have signed it"
    client = registries.client(reference.registry)
    if client.manifest(reference.repository, reference.digest) is None:
        return f"the image {image} is not in its registry"
    if signatures(client, reference.repository, reference.digest, keys).by is None:
        names = ", ".join(f"{Path(key.name).name} ({key.fingerprint})" for key in keys)
        return f"the image {image} is not signed by {names}"
    return ""


def _trusted(rule: DeployRule) -> tuple[PublicKey, ...]:
    """The keys of a rule; their paths are relative to the rule's own file."""
    folder = Path(rule.file).expanduser().parent
    return tuple(public_key(_bytes(folder / name), name) for name in rule.body.require_signature or ())


def _images(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    tasks = job["TaskGroups"][0]["Tasks"] if job else []
    found = [(str(task["Name"]), (task.get("Config") or {}).get("image")) for task in tasks]
    return [(name, image) for name, image in found if isinstance(image, str)]


def digested(image: str) -> Reference | None:
    """The parts of an image's name that has a digest in a registry; None for any other one."""
    if is_image_id(image):
        return None
    try:
        reference = parse_image(image)
    except ValueError:
        return None
    return reference if reference.digest else None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeyFileError(f"the key {file} cannot be read: {error.strerror}") from None
