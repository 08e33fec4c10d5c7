"""``build``: the sources beside a spec become an image in a registry, or an archive in a store."""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.build.context import IGNORE_FILE, Sources, sources_in, write_archive
from hms_nomad.build.dockerfile import bases_of, made_dockerfile
from hms_nomad.build.engine import ContainerEngine, Order, need_engine
from hms_nomad.build.errors import BuildError, KeyFileError
from hms_nomad.build.image import BuiltImage, from_saved
from hms_nomad.build.language import detect, entry_of
from hms_nomad.build.push import push_image
from hms_nomad.clients.credentials import Credentials
from hms_nomad.compile.desired import Evidence
from hms_nomad.compile.images import own_image
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.image import Reference, parse_image, tag_of
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_build import Build
from hms_nomad.workflows.building.making import Making, seal, sha256_of
from hms_nomad.workflows.building.registries import Registries, open_registries
from hms_nomad.workflows.planning.pins import belongs_to
from hms_nomad.workflows.revision import Revision, revision_of
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile

if TYPE_CHECKING:
    from hms_nomad.build.signing import Signer

_DOCKERFILE = "Dockerfile"
_MADE = ".hms-nomad.Dockerfile"
_LOCAL = "hms-nomad-build"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a build is done: ``push`` sends it to the registry, ``cache`` allows steps that ran before.

    ``key`` signs what was pushed, and the statement of how it was built.
    """

    push: bool = True
    cache: bool = True
    key: Signer | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a build is made of: the sources, the Dockerfile's text and whether we made it, and the revision."""

    sources: Sources
    dockerfile: str = field(repr=False)
    made: bool
    revision: Revision


class Built(Struct, frozen=True):
    """An image that was built. ``pin`` is the name of exactly these bytes; ``tags`` are its names in the registry.

    ``pushed`` is False for an image that only the engine of this machine has, and ``evidence`` is empty then.
    """

    service: str
    image: str
    pin: str
    tags: tuple[str, ...]
    pushed: bool
    made_dockerfile: bool
    commit: str
    evidence: Evidence = msgspec.field(default_factory=Evidence)

    @property
    def digest(self) -> str:
        """The digest, or the id in the engine."""
        return self.pin.rpartition("@")[2]


def directory_of(file: SpecFile) -> Path:
    """The directory with the sources of a spec."""
    context = file.spec.build.context if file.spec.build else None
    beside = Path() if file.file.startswith("<") else Path(file.file).parent
    return beside / context if context else beside


def recipe_of(file: SpecFile, platform: Platform) -> Recipe:
    """What an image will be built from; nothing is built. Raises BuildError where that cannot be told."""
    build = file.spec.build or Build()
    directory = directory_of(file)
    revision = revision_of(directory)
    sources = sources_in(directory, build.exclude, revision.time)
    named = build.dockerfile or (None if build.language else _DOCKERFILE)
    given = directory / named if named else None
    if given is not None and (build.dockerfile or given.is_file()):
        return Recipe(sources, _text(given), made=False, revision=revision)

    def read(name: str) -> bytes:
        path = sources.root / name
        return path.read_bytes() if path.is_file() else b""

    found = entry_of(build.language, sources.files, read) if build.language else detect(sources.files, read)
    if found is None:
        raise BuildError(
            f"{directory} has no Dockerfile, and nothing tells its language; write a Dockerfile, or say build: "
            "{language: python}"
        )
    text = made_dockerfile(found, build.entry, sources.files, platform.images.bases)
    return Recipe(sources, text, made=True, revision=revision)


def build_image(session: Session, file: SpecFile, options: BuildOptions, report: Report) -> Built:
    """Build the image of a spec, and push it. The engine's own copy stays, as its cache.

    Raises NoEngineError, BuildError, PlatformError for an image that has no registry to go to, and the errors of
    ``hms_nomad.clients.errors``, which name the registry. With a key also KeyFileError where nothing is pushed, and
    SigningError.
    """
    started = time.time()
    spec, platform = file.spec, session.platform
    image = own_image(spec, platform)
    if spec.build is None or image is None:
        raise BuildError(f"{spec.name} has nothing to build: its spec has no build and no image")
    reference = parse_image(image)
    push = options.push and _has_place(reference, platform)
    if options.key is not None and not push:
        raise KeyFileError(f"{image} cannot be signed: it goes to no registry")
    recipe = recipe_of(file, platform)
    engine = need_engine()
    how = "a Dockerfile made for its language" if recipe.made else "its Dockerfile"
    count = len(recipe.sources.files)
    text = f"building {image} from {count} {'file' if count == 1 else 'files'} by {how}"
    report(Event("build", text, {"image": image, "made": recipe.made, "commit": recipe.revision.commit}))
    with open_registries(session) as registries, tempfile.TemporaryDirectory(prefix="hms-nomad-build-") as folder:
        context = Path(folder, "context.tar")
        _write_context(recipe, context, ignoring=not engine.buildkit)
        orders = _orders(spec, spec.build, recipe, reference, registries, options, local=not push)
        ids = [engine.build(order, context, lambda line: report(Event("build", line, {}))) for order in orders]
        sources = sha256_of(context)
        context.unlink()
        if not push:
            report(Event("build", f"{image} is built; only the engine of this machine has it", {"image": image}))
            return Built(spec.name, image, ids[0], (), False, recipe.made, recipe.revision.name)
        annotations = annotations_of(spec, recipe.revision)
        images = [
            _taken_out(engine, order, Path(folder, str(number)), recipe, annotations)
            for number, order in enumerate(orders)
        ]
        tags = _tags(reference, recipe.revision)
        client = registries.client(reference.registry)
        making = _making(spec, recipe, orders, engine, sources, started)
        sealed: list[Evidence] = []

        def attach(digest: str) -> None:
            built = [one for _, one in images]
            sealed.append(seal(client, reference, digest, built, making, options.key, time.time(), report))

        digest = push_image(client, reference.repository, images, tags, annotations, report, attach)
    return Built(spec.name, image, reference.pinned(digest), tags, True, recipe.made, recipe.revision.name, *sealed)


def annotations_of(spec: Spec, revision: Revision) -> dict[str, str]:
    """Annotations and labels that are the same for the same sources.

    https://github.com/opencontainers/image-spec/blob/main/annotations.md
    """
    told = {
        "title": spec.name,
        "version": spec.version,
        "description": spec.description or "",
        "vendor": spec.owner or "",
        "revision": revision.name,
        "source": revision.source,
    }
    return {f"org.opencontainers.image.{key}": value for key, value in told.items() if value}


def _making(
    spec: Spec, recipe: Recipe, orders: list[Order], engine: ContainerEngine, sources: str, started: float
) -> Making:
    """What a statement of the build says besides the image itself."""
    first = orders[0]
    dockerfile = {"sha256": hashlib.sha256(recipe.dockerfile.encode()).hexdigest(), "made": recipe.made}
    parameters = {
        "service": spec.name,
        "version": spec.version,
        "dockerfile": dockerfile,
        "target": first.target,
        "args": dict(first.args),
        "platforms": [one.platform for one in orders if one.platform],
    }
    bases = {name: digest for name in bases_of(recipe.dockerfile) if (digest := _base_digest(engine, name))}
    return Making(spec, recipe.revision, sources, engine.title, started, parameters, bases)


def _base_digest(engine: ContainerEngine, name: str) -> str:
    """The digest by which a registry knows a base, else the engine's id; "" for one that a build argument names."""
    try:
        parse_image(name)
    except ValueError:
        return ""
    found = engine.image(name)
    return (found.digests[0].rpartition("@")[2] if found.digests else found.id) if found else ""


def _has_place(reference: Reference, platform: Platform) -> bool:
    """A development stack pushes nowhere but to its own registry; without one its engine has the image already."""
    if belongs_to(platform, reference):
        return True
    if platform.development:
        return False
    if not reference.named_registry:
        raise PlatformError(
            f"the image {reference.name} names no registry to push it to; write image: REGISTRY/NAME, or let the "
            "platform's configuration say images: {registry: HOST}"
        )
    return True


def _tags(reference: Reference, revision: Revision) -> tuple[str, ...]:
    """The version's tag, and that of the commit where the files are just those."""
    commit = f"git-{revision.commit[:12]}" if revision.commit and not revision.changed else ""
    return tuple(filter(None, (commit, reference.tag or tag_of("latest"))))


def _orders(
    spec: Spec,
    build: Build,
    recipe: Recipe,
    reference: Reference,
    registries: Registries,
    options: BuildOptions,
    *,
    local: bool,
) -> list[Order]:
    """One for each platform. What is pushed gets a name of its own in the engine: its digest there is another one."""
    if local and len(build.platforms) > 1:
        raise BuildError("an image for several platforms needs a registry: the engine keeps one for itself alone")
    bases: dict[str, Credentials | None] = {}
    for base in bases_of(recipe.dockerfile):
        try:
            host = parse_image(base).registry
        except ValueError:
            # A base that a build argument names is the engine's to find.
            continue
        bases[base] = registries.credentials(host)
    orders = []
    for platform in build.platforms or ("",):
        suffix = f"-{platform.replace('/', '-')}" if platform else ""
        name = f"{reference.name}:{reference.tag}" if local else f"{_LOCAL}/{spec.name}:{tag_of(spec.version)}{suffix}"
        orders.append(
            Order(
                image=name,
                dockerfile=_MADE,
                args=build.args,
                labels=annotations_of(spec, recipe.revision),
                target=build.target or "",
                platform=platform,
                cache=build.cache and options.cache,
                bases=bases,
            )
        )
    return orders


def _taken_out(
    engine: ContainerEngine, order: Order, folder: Path, recipe: Recipe, annotations: dict[str, str]
) -> tuple[str, BuiltImage]:
    folder.mkdir()
    saved = folder / "saved.tar"
    engine.save(order.image, saved)
    image = from_saved(saved, folder, recipe.revision.time, annotations, _MADE)
    saved.unlink()
    built = f"{image.system}/{image.architecture}"
    if order.platform and "/".join(order.platform.split("/")[:2]) != built:
        raise BuildError(
            f"{engine.title} built {order.image} for {built}, and {order.platform} was asked for; BuildKit builds for "
            "other platforms (DOCKER_BUILDKIT=1), or leave build.platforms out"
        )
    return order.platform or built, image


def _write_context(recipe: Recipe, file: Path, *, ignoring: bool) -> None:
    """Write what the engine gets. One that minds .dockerignore leaves our own two files out by it; BuildKit minds none
    in an archive, so that ``from_saved`` takes the Dockerfile out.
    """
    ours = {_MADE: recipe.dockerfile.encode()}
    ours |= {IGNORE_FILE: f"{IGNORE_FILE}\n{_MADE}\n".encode()} if ignoring else {}
    with file.open("wb") as stream:
        write_archive(recipe.sources, stream, ours)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
