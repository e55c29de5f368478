"""Makes one large ingest date: tiny pictures that all differ, or images that the ledger knows already."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.history.synthetic_history import synthetic_vectors
from fruit_contract import lake, tables
from fruit_contract.commit import Commit, EmbedderFiles, file_key, images_digest
from fruit_contract.tables import Status
from fruit_features.extraction.known_contents import write_content_index
from fruit_features.lake import files
from fruit_features.lake.commit import no_ledger, put_ledger
from fruit_features.moments.algebra import Moments, moments_of
from fruit_features.moments.store import write_moments
from fruit_features.spark.task_planning import MOST_IMAGES_A_TASK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.scale.made_up_stores import FolderStore

SIDE: Final = 24
_COARSE_SIDE: Final = 3
_WRITE: Final = "synthetic"
_COMMIT: Final = f"{_WRITE}-c001"
# So many images share one content, for a file system allows a file only some ten thousand names (hard links). Each of
# these images is a line of the ledger all the same.
_NAMES_A_CONTENT: Final = 20
_MOMENTS_OF: Final = 2_000


class Content(NamedTuple):
    """Holds a picture's file, and what S3 and the steps say of it."""

    path: str
    etag: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class KnownDate:
    """Describes a date of `n_images` images in the named categories, about the same number in each."""

    ingest_date: str
    n_images: int
    categories: tuple[str, ...]
    embedder_id: str

    def parts(self) -> Iterator[tuple[str, range]]:
        """Yields each category with the numbers of its images."""
        bounds = [index * self.n_images // len(self.categories) for index in range(len(self.categories) + 1)]
        for category, start, end in zip(self.categories, bounds, bounds[1:], strict=False):
            yield category, range(start, end)

    def images(self) -> Iterator[tuple[str, str, int]]:
        """Yields the key, category and number of each image, ascending by key."""
        for category, numbers in self.parts():
            for number in numbers:
                yield lake.image_key(self.ingest_date, category, f"{number:09}.jpg"), category, number


def category_names(n: int) -> tuple[str, ...]:
    return tuple(f"Fruit {number:04}" for number in range(n))


def draw_tiny(seed: int) -> bytes:
    """Returns a JPEG of a few hundred bytes; another seed gives another picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (_COARSE_SIDE, _COARSE_SIDE, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def draw_batch(bucket_folder: Path, date: KnownDate, n_processes: int) -> int:
    """Lays a complete batch of different tiny pictures into the lake's folder, and returns the sum of their bytes."""
    with ProcessPoolExecutor(n_processes) as pool:
        drawn = pool.map(
            _draw_category, repeat(bucket_folder), repeat(date.ingest_date), *zip(*date.parts(), strict=True)
        )
        n_bytes = sum(drawn)
    (bucket_folder / lake.success_marker_key(date.ingest_date)).touch()
    return n_bytes


def write_known_date(store: FolderStore, date: KnownDate, pool_folder: Path) -> None:
    """Lays out a date whose images are all known: their files, a ledger, moments and a content index.

    Files of features are empty, because a run that changes no image reads none of them.
    """
    contents = _contents(pool_folder, max(1, date.n_images // _NAMES_A_CONTENT))
    rows = _ledger_rows(date, contents)
    _link_images(store.folder, date, contents)
    file_rows = {name: len(numbers) for name, numbers in _files(date)}
    for name in file_rows:
        store.write(file_key(date.ingest_date, name), b"")
    digest = images_digest(
        zip(*(rows.column(name).to_pylist() for name in (tables.IMAGE_KEY, tables.CONTENT_SHA256)), strict=True)
    )
    some = moments_of(synthetic_vectors(_MOMENTS_OF, seed=1))
    all_of_them = Moments(date.n_images, some.mean, some.scatter * (date.n_images / _MOMENTS_OF))
    moments = write_moments(store, date.ingest_date, _COMMIT, date.embedder_id, all_of_them, digest)
    known = ((content.etag, content.size_bytes) for content in contents)
    write_content_index(store, date.embedder_id, date.ingest_date, known, whole=True)
    embedders = {date.embedder_id: EmbedderFiles(date.n_images, file_rows, moments)}
    put_ledger(store, no_ledger(date.ingest_date), rows, Commit(date.ingest_date, _COMMIT, date.n_images, 0, embedders))
    (store.folder / lake.success_marker_key(date.ingest_date)).touch()


def add_late_image(bucket_folder: Path, date: KnownDate) -> None:
    """Lays one more picture into the first category of a date that exists."""
    place = bucket_folder / lake.image_key(date.ingest_date, date.categories[0], "late.jpg")
    place.write_bytes(draw_tiny(2 * date.n_images + 1))


def _draw_category(bucket_folder: Path, ingest_date: str, category: str, numbers: range) -> int:
    folder = (bucket_folder / lake.image_key(ingest_date, category, "x")).parent
    folder.mkdir(parents=True)
    n_bytes = 0
    for number in numbers:
        n_bytes += (folder / f"{number:09}.jpg").write_bytes(draw_tiny(number))
    return n_bytes


def _contents(folder: Path, n: int) -> list[Content]:
    folder.mkdir(parents=True)
    found = []
    for number in range(n):
        picture = draw_tiny(number)
        path = folder / f"{number}.jpg"
        path.write_bytes(picture)
        etag = hashlib.md5(picture, usedforsecurity=False).hexdigest()
        found.append(Content(str(path), etag, hashlib.sha256(picture).hexdigest(), len(picture)))
    return found


def _files(date: KnownDate) -> Iterator[tuple[str, range]]:
    """Yields the files of features by their names below the date's prefix, with the numbers of their images; each holds
    at most as many images as a task.
    """
    for category, numbers in date.parts():
        folder = lake.partition_prefix(lake.FEATURES, date.ingest_date, category).split("/")[-2]
        for start in range(numbers.start, numbers.stop, MOST_IMAGES_A_TASK):
            yield f"{folder}/{_WRITE}-{start:09}.parquet", range(start, min(start + MOST_IMAGES_A_TASK, numbers.stop))


def _ledger_rows(date: KnownDate, contents: Sequence[Content]) -> pa.Table:
    """Returns the ledger rows of all images, all of them featurised, ascending by key."""
    keys, categories, numbers = zip(*date.images(), strict=True)
    own = [contents[number % len(contents)] for number in numbers]
    n = len(keys)
    columns = {
        tables.IMAGE_KEY: keys,
        tables.ETAG: [content.etag for content in own],
        tables.SIZE_BYTES: [content.size_bytes for content in own],
        tables.CATEGORY: categories,
        tables.CONTENT_SHA256: [content.sha256 for content in own],
        tables.STATUS: pa.repeat(pa.scalar(Status.FEATURISED.value), n),
        tables.REASON: pa.nulls(n, pa.string()),
        tables.DETAIL: pa.nulls(n, pa.string()),
        tables.EMBEDDER_ID: pa.repeat(pa.scalar(date.embedder_id), n),
        tables.WIDTH: pa.repeat(pa.scalar(SIDE, pa.int32()), n),
        tables.HEIGHT: pa.repeat(pa.scalar(SIDE, pa.int32()), n),
        tables.FILE: [file_key(date.ingest_date, name) for name, of_file in _files(date) for _ in of_file],
    }
    return pa.table(columns, schema=files.LEDGER)


def _link_images(bucket_folder: Path, date: KnownDate, contents: Sequence[Content]) -> None:
    for key, _, number in date.images():
        place = bucket_folder / key
        try:
            os.link(contents[number % len(contents)].path, place)
        except FileNotFoundError:
            place.parent.mkdir(parents=True)
            os.link(contents[number % len(contents)].path, place)
