"""A built image -> a registry: blobs first, the manifest by its digest, its names last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hms_nomad.apply.progress import Event, Report
from hms_nomad.build.image import BuiltImage, index_of
from hms_nomad.clients.oci import OCI_INDEX, OCI_MANIFEST, RegistryClient, digest_of

_SHOWN_STEPS = 4


def push_image(
    client: RegistryClient,
    repository: str,
    images: Sequence[tuple[str, BuiltImage]],
    tags: Iterable[str],
    annotations: dict[str, str],
    report: Report,
    attach: Callable[[str], None] = lambda _: None,
) -> str:
    """Push an image of one or several platforms under ``tags``; answers its digest.

    Nobody can pull anything of a push that was broken off: the tags are moved when everything is there, also what
    ``attach`` puts beside the image's digest. Raises the errors of ``hms_nomad.clients.errors``.
    """
    for _, image in images:
        _blobs(client, repository, image, report)
        client.put_manifest(repository, image.digest, image.manifest, OCI_MANIFEST)
    if len(images) == 1:
        data, media_type = images[0][1].manifest, OCI_MANIFEST
    else:
        data, media_type = index_of(images, annotations), OCI_INDEX
        client.put_manifest(repository, digest_of(data), data, media_type)
    attach(digest_of(data))
    for tag in dict.fromkeys(tags):
        client.put_manifest(repository, tag, data, media_type)
        report(Event("push", f"{repository}:{tag} is {digest_of(data)}", {"tag": tag, "digest": digest_of(data)}))
    return digest_of(data)


def _blobs(client: RegistryClient, repository: str, image: BuiltImage, report: Report) -> None:
    total = sum(blob.size for blob in image.blobs)
    before = 0
    told = 0

    for blob in image.blobs:

        def sent(done: int, size: int, before: int = before) -> None:
            nonlocal told
            del size
            step = (before + done) * _SHOWN_STEPS // max(total, 1)
            if step > told:
                told = step
                share = (before + done) * 100 // max(total, 1)
                text = f"pushing {repository}: {share} % of {total / 1024 / 1024:.1f} MiB"
                report(Event("push", text, {"bytes": before + done, "of": total}))

        pushed = client.push_blob(repository, blob.digest, blob.file, sent)
        before += blob.size
        if not pushed:
            report(Event("push", f"{repository} holds {blob.digest[:19]} already", {"digest": blob.digest}))
