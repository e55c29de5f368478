"""Uploads a folder of categories as one image batch to raw/ingest_date=<day>/, its marker last.

Typing the same command again resumes: what is there already, with the same size and content, is not sent again. The
ETag tells the content, unless the object was sent in parts or is encrypted with SSE-KMS. So each image is sent with its
MD5 as metadata, which costs one HEAD to read. Before the marker is written the bucket is listed: every image must be
there under its name, with its size and the ETag that its PUT was answered with.

A batch whose marker is there is complete. So a delivery that changes such a date takes the marker away first and writes
it again last: nobody can mistake half of a re-delivery for a batch. A delivery adds and replaces; images that are there
and not in the folder stay.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import InvalidPathError
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import s3_client
from fruit_cli.lake.delivery_plan import DeliveryPlan, DeliveryRefusedError, PlannedImage, files_named, plan_delivery
from fruit_cli.lake.store import explained, open_store, put_last, read_object
from fruit_contract import lake
from local_cloud.keys import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from obstore.store import S3Store

    from fruit_cli.lake.connection import LakeConnection
    from fruit_cli.lake.delivery_plan import LeftOut

UPLOADS_AT_ONCE: Final = 32
_NAMED: Final = 8
# From this size on a file is never held in memory whole. obstore sends in parts what has more than 5 MiB, either way.
_STREAMED_FROM_BYTES: Final = 16 * 1024 * 1024
# The name of the metadata of an image: x-amz-meta-md5.
_MD5_METADATA: Final = "md5"

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class DeliveryNotVerifiedError(CommandError):
    """Raised if the bucket does not list what was sent. The message names the keys, and says what to do."""


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """Describes an object as a listing shows it. `etag` is without quotes."""

    size_bytes: int
    etag: str


@dataclass(frozen=True)
class DeliveryReceipt:
    """Says what a delivery did. `kept_images` counts the images of the date that are not in the folder."""

    address: str
    images: int
    total_bytes: int
    sent_images: int
    kept_images: int
    left_out: tuple[LeftOut, ...]
    empty_folders: tuple[str, ...]
    seconds: float


def deliver(
    connection: LakeConnection,
    directory: Path,
    ingest_date: str,
    *,
    as_is: bool = False,
    console: Console | None = None,
) -> DeliveryReceipt:
    """Delivers every image of `directory` under `ingest_date` and returns what was done. `as_is`: see `plan_delivery`.

    Raises:
        DeliveryRefusedError: the folder can't be an image batch; nothing was sent.
        DeliveryNotVerifiedError: the bucket doesn't list what was sent; there is no marker.
        LakeUnreachableError: the bucket is missing, refuses us or doesn't answer.
    """
    return deliver_plan(connection, plan_delivery(directory, ingest_date, as_is=as_is), console=console)


def deliver_plan(connection: LakeConnection, plan: DeliveryPlan, *, console: Console | None = None) -> DeliveryReceipt:
    """Delivers what `plan` names, and returns what was done. See `deliver` for what it raises."""
    connection = connection.acting_as(Role.DELIVERER)
    console = console or Console(highlight=False)
    started = time.monotonic()
    address = lake.uri(connection.bucket, lake.raw_prefix(plan.ingest_date))
    _say(
        console,
        f"Delivering {len(plan.images):,} images of {len(plan.categories):,} categories ({decimal(plan.total_bytes)}) "
        f"to {address}",
    )
    for note in plan.notes:
        _say(console, f"Note: {note}")
    with explained(connection):
        store = open_store(connection)
        existing = list_batch(connection, store, plan.ingest_date)
        manifest = _read_manifest(plan, store)
        to_send = _images_to_send(store, plan, existing, console)
        etags = _send(store, plan, to_send, manifest, existing, console)
        there = list_batch(connection, store, plan.ingest_date) if etags else existing
        verify(plan, etags, there, address)
        batch = [remote.size_bytes for key, remote in there.items() if lake.parse_image_key(key)]
        # From here the batch is complete.
        totals = {"images": len(batch), "bytes": sum(batch)}
        put_last(connection, store, lake.success_marker_key(plan.ingest_date), json.dumps(totals).encode())
    receipt = DeliveryReceipt(
        address=address,
        images=len(plan.images),
        total_bytes=plan.total_bytes,
        sent_images=len(to_send),
        kept_images=len(batch) - len(plan.images),
        left_out=plan.left_out,
        empty_folders=plan.empty_folders,
        seconds=time.monotonic() - started,
    )
    _say(console, closing_line(receipt))
    return receipt


def closing_line(receipt: DeliveryReceipt) -> str:
    skipped = receipt.images - receipt.sent_images
    parts = [
        (
            f"Delivered {receipt.images:,} images, {decimal(receipt.total_bytes)}, in {receipt.seconds:.1f} s: "
            f"{receipt.address}"
        )
    ]
    if skipped:
        parts.append(f"{skipped:,} were there already.")
    if receipt.kept_images:
        parts.append(f"{receipt.kept_images:,} other images of that date were left as they are.")
    parts += [f"Left out: {left_out}" for left_out in receipt.left_out]
    if receipt.empty_folders:
        n_folders, named = len(receipt.empty_folders), ", ".join(map(repr, receipt.empty_folders[:_NAMED]))
        parts.append(f"Without a single image: {n_folders:,} folder{'s' if n_folders > 1 else ''} ({named}).")
    return "\n".join(parts)


def list_batch(connection: LakeConnection, store: S3Store, ingest_date: str) -> dict[str, RemoteObject]:
    """Returns every object below raw/ingest_date=<day>/, by key."""
    prefix = lake.raw_prefix(ingest_date)
    try:
        return {
            meta["path"]: RemoteObject(size_bytes=meta["size"], etag=(meta["e_tag"] or "").strip('"'))
            for chunk in obstore.list(store, prefix=prefix.rstrip("/"), chunk_size=1000)
            for meta in chunk
        }
    except InvalidPathError:
        # Somebody else has put keys there that the fast store can't name: control characters, empty path segments.
        pages = s3_client(connection).get_paginator("list_objects_v2").paginate(Bucket=connection.bucket, Prefix=prefix)
        return {
            entry["Key"]: RemoteObject(size_bytes=entry["Size"], etag=entry["ETag"].strip('"'))
            for page in pages
            for entry in page.get("Contents", ())
        }


def verify(plan: DeliveryPlan, etags: Mapping[str, str], there: Mapping[str, RemoteObject], address: str) -> None:
    """Raises DeliveryNotVerifiedError unless the bucket lists every image of the plan by its name, with its size and as
    it was sent.

    `etags` are those that the PUTs were answered with, by key. A store that takes two names for the same lists only one
    of them, or one's content twice.
    """
    problems = []
    for image in plan.images:
        key = plan.key_of(image)
        remote, etag = there.get(key), etags.get(key)
        if remote is None:
            problems.append(f"{key!r} is not listed")
        elif remote.size_bytes != image.size_bytes:
            problems.append(f"{key!r} has {remote.size_bytes:,} bytes there, and the file had {image.size_bytes:,}")
        elif etag and remote.etag != etag:
            problems.append(f"{key!r} holds something else than was sent")
    if problems:
        more = f"; and {len(problems) - _NAMED:,} more" if len(problems) > _NAMED else ""
        raise DeliveryNotVerifiedError(
            f"{len(problems):,} of {len(plan.images):,} images are not in {address} as they were sent, so there is no "
            f"{lake.SUCCESS_MARKER} marker: {'; '.join(problems[:_NAMED])}{more}. If files changed meanwhile, or "
            "somebody else delivers to that date, type the same command again; if it says the same again, the store "
            "takes two names for one: rename those files."
        )


def is_already_there(
    size_bytes: int, md5_hex: Callable[[], str], remote: RemoteObject | None, sent_md5: Callable[[], str | None]
) -> bool:
    """Returns whether the object holds the file's content. `md5_hex` reads the file, and `sent_md5` asks for the MD5
    that the object was sent with; neither is called in vain.
    """
    if remote is None or remote.size_bytes != size_bytes:
        return False
    digest = md5_hex()
    return remote.etag == digest or sent_md5() == digest


def in_parallel(
    function: Callable[[Item], Outcome], items: Iterable[Item], *, workers: int = UPLOADS_AT_ONCE
) -> Iterator[Outcome]:
    """Yields `function` of every item, in order. A bounded number is under way at once, so that a long list costs no
    memory, and an error or Ctrl-C stops soon.
    """
    executor = ThreadPoolExecutor(workers)
    window: deque[Future[Outcome]] = deque()
    try:
        for item in items:
            window.append(executor.submit(function, item))
            if len(window) >= workers * 4:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _images_to_send(
    store: S3Store, plan: DeliveryPlan, existing: Mapping[str, RemoteObject], console: Console
) -> list[PlannedImage]:
    if not existing:
        return list(plan.images)

    def differs(image: PlannedImage) -> bool:
        key = plan.key_of(image)
        return not is_already_there(
            image.size_bytes, lambda: _md5_of_file(image.path), existing.get(key), lambda: _sent_md5(store, key)
        )

    _say(console, f"{len(existing):,} objects are there already: comparing")
    return [image for image, send in zip(plan.images, in_parallel(differs, plan.images), strict=True) if send]


def _send(
    store: S3Store,
    plan: DeliveryPlan,
    to_send: list[PlannedImage],
    manifest: bytes | None,
    existing: Mapping[str, RemoteObject],
    console: Console,
) -> dict[str, str]:
    """Sends what differs and returns the ETags of the images sent, by key.

    The marker is removed before the first byte is sent, so that nobody reads half of a re-delivery as a batch.
    """
    marker_key = lake.success_marker_key(plan.ingest_date)
    if not to_send and manifest is None:
        return {}
    if marker_key in existing:
        obstore.delete(store, marker_key)
    if manifest is not None:
        obstore.put(store, lake.raw_prefix(plan.ingest_date) + lake.MANIFEST, manifest)
    etags: dict[str, str] = {}
    try:
        with _progress(console) as progress:
            task = progress.add_task(
                "uploading", total=sum(image.size_bytes for image in to_send), files=0, all_files=len(to_send)
            )
            for image, etag in zip(
                to_send, in_parallel(lambda image: _upload(store, plan.key_of(image), image), to_send), strict=True
            ):
                etags[plan.key_of(image)] = etag
                progress.update(task, advance=image.size_bytes, files=len(etags))
    except BaseException:
        _say(
            console,
            f"Stopped after {len(etags):,} of {len(to_send):,} images. The batch has no {lake.SUCCESS_MARKER} marker, "
            "so nothing reads it yet. The same command resumes it.",
        )
        raise
    return etags


def _upload(store: S3Store, key: str, image: PlannedImage) -> str:
    """Sends one image, with its MD5 as metadata, and returns its ETag. Raises DeliveryRefusedError if the file can't be
    read.
    """
    path = Path(image.path)
    content: bytes | Path
    try:
        if image.size_bytes < _STREAMED_FROM_BYTES:
            content = path.read_bytes()
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        else:
            content, digest = path, _md5_of_file(image.path)
    except OSError as error:
        raise DeliveryRefusedError(
            f"'{image.path}' can't be read: {error.strerror}. Correct it, then type the same command."
        ) from error
    return (obstore.put(store, key, content, attributes={_MD5_METADATA: digest})["e_tag"] or "").strip('"')


def _sent_md5(store: S3Store, key: str) -> str | None:
    """Returns the MD5 that an image was sent with; None if others sent it, or it is not there any more."""
    try:
        return obstore.get(store, key, options={"head": True}).attributes.get(_MD5_METADATA)
    except FileNotFoundError:
        return None


def _read_manifest(plan: DeliveryPlan, store: S3Store) -> bytes | None:
    """Returns the manifest to send; None if there is none, or if it is there already. Raises DeliveryRefusedError if it
    would forget whose images the batch holds, because erasure needs to know that.
    """
    if plan.manifest is None:
        return None
    content = plan.manifest.read_bytes()
    before = read_object(store, lake.raw_prefix(plan.ingest_date) + lake.MANIFEST)
    forgotten = sorted(files_named(before) - files_named(content)) if before else []
    if forgotten:
        raise DeliveryRefusedError(
            f"The batch of {plan.ingest_date} has a {lake.MANIFEST} with {len(forgotten):,} files that "
            f"'{plan.manifest}' doesn't name, "
            f"the first is '{forgotten[0]}'. Add their lines, so that it stays known whose images they are."
        )
    return None if content == before else content


def _md5_of_file(path: str) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]:,}/{task.fields[all_files]:,} images"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _say(console: Console, text: str) -> None:
    # Names may hold brackets, which rich would take for markup.
    console.print(text, markup=False, soft_wrap=True)
