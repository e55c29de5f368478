"""Writes a lake as many daily runs leave it, without computing an image: the files, ledgers, indexes and PCA version of
past ingest dates.

The features are drawn from one normal distribution, whose standardised PCA needs about as many components (530) as real
fruit does; moments, projections and hashes are computed from these features. The images themselves are missing, because
no step reads a past date's images.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fruit_contract import lake, release, tables
from fruit_contract.commit import Commit, EmbedderFiles, file_name, images_digest
from fruit_contract.pca_files import Provenance
from fruit_contract.tables import N_FEATURES, Status
from fruit_features.extraction.known_contents import write_content_index
from fruit_features.lake import files
from fruit_features.lake.commit import no_ledger, put_ledger
from fruit_features.lake.vectors import to_list_array
from fruit_features.moments.algebra import moments_of
from fruit_features.moments.store import write_moments
from fruit_features.pca.fit import PcaModel, Projector, fit_pca
from fruit_features.pca.versions import flip_pointer, save_version, version_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fruit_contract.commit import MomentsObject
    from fruit_features.lake.store import Store

CATEGORIES: Final = ("Apple Red 1", "Banana", "Cherry 1", "Kiwi")
TARGET_VARIANCE: Final = 0.95
# Eigenvalue i is i to the power of minus this, so that about 530 components keep 95 %.
DECAY: Final = 1.2
_FITTED_ON: Final = 12_000
_PCA_TIME: Final = datetime(2020, 1, 1, tzinfo=UTC)
_WRITE: Final = "synthetic"
_COMMIT: Final = f"{_WRITE}-c001"


@dataclass(frozen=True)
class SyntheticHistory:
    """Describes past ingest dates with the same number of images in each category of each date."""

    days: tuple[str, ...]
    images_per_partition: int
    release_id: str
    embedder_id: str
    categories: tuple[str, ...] = CATEGORIES

    @property
    def n_partitions(self) -> int:
        """Returns the number of partitions of `features/`: one for each date and category."""
        return len(self.days) * len(self.categories)

    @property
    def n_images(self) -> int:
        return self.n_partitions * self.images_per_partition


@dataclass(frozen=True)
class Partition:
    """Holds the images of one date and category, whose features are one file: their keys, and `vectors`, their features
    as float32[n, 1280].
    """

    ingest_date: str
    category: str
    embedder_id: str
    vectors: NDArray[np.float32]

    @property
    def image_keys(self) -> list[str]:
        return [
            lake.image_key(self.ingest_date, self.category, f"synthetic_{number:06}.jpg")
            for number in range(len(self.vectors))
        ]

    @property
    def features_key(self) -> str:
        return f"{lake.partition_prefix(lake.FEATURES, self.ingest_date, self.category)}{_WRITE}-000000.parquet"

    @property
    def contents(self) -> list[tuple[str, int]]:
        """Returns the ETag and size of each image. The ETags look like MD5 digests, and all differ."""
        return [(_digest(key)[:32], 4_000 + number) for number, key in enumerate(self.image_keys)]


def days_before(ingest_date: str, n: int) -> tuple[str, ...]:
    """Returns the `n` days before `ingest_date`, earliest first."""
    end = date.fromisoformat(ingest_date)
    return tuple((end - timedelta(days=number)).isoformat() for number in range(n, 0, -1))


def read_embedder_id(bucket_folder: Path, release_id: str) -> str:
    manifest = bucket_folder / lake.release_prefix(release_id) / release.EMBEDDER / release.EMBEDDER_MANIFEST
    return str(json.loads(manifest.read_text(encoding="utf-8"))["embedder_id"])


def write_history(store: Store, history: SyntheticHistory) -> None:
    """Writes the dates with their commits and content indexes, and a PCA version that has projected them all."""
    write_days(store, history)
    write_version(store, history)


def write_days(store: Store, history: SyntheticHistory) -> None:
    """Writes the dates, with their projections under the version of `write_version`."""
    model = synthetic_model()
    version = version_name(model, _PCA_TIME)
    projector = Projector(model)
    for day in history.days:
        partitions = partitions_of(history, day)
        for partition in partitions:
            projections = projections_table(partition, projector)
            store.write(
                lake.projections_file_key(version, partition.features_key), files.projections_to_parquet(projections)
            )
        _write_day(store, partitions, with_moments=True)


def write_version(store: Store, history: SyntheticHistory) -> None:
    """Writes the PCA version, and makes it the current one."""
    model = synthetic_model()
    provenance = _provenance(history, model, version_name(model, _PCA_TIME))
    save_version(store, model, provenance)
    flip_pointer(store, None, provenance, _PCA_TIME)


def write_features(store: Store, history: SyntheticHistory) -> None:
    """Writes the dates without their moments, and no PCA."""
    for day in history.days:
        _write_day(store, partitions_of(history, day), with_moments=False)


def clone_lake(source: Path, target: Path) -> None:
    """Copies a lake without taking disk space: files are links, except those that steps replace under the same name."""

    def copy(file: str, place: str) -> None:
        if file.endswith((".json", ".bin", "/ledger.parquet")):
            shutil.copyfile(file, place)
        else:
            os.link(file, place)

    shutil.copytree(source, target, copy_function=copy)


def features_table(partition: Partition) -> pa.Table:
    n = len(partition.vectors)
    columns = {
        tables.IMAGE_KEY: partition.image_keys,
        tables.CONTENT_SHA256: [_digest(key) for key in partition.image_keys],
        tables.WIDTH: [100] * n,
        tables.HEIGHT: [100] * n,
        tables.EMBEDDER_ID: [partition.embedder_id] * n,
        tables.VECTOR: to_list_array(list(partition.vectors)),
    }
    return pa.table(columns, schema=files.FEATURES)


def projections_table(partition: Partition, projector: Projector) -> pa.Table:
    columns = {
        tables.IMAGE_KEY: partition.image_keys,
        tables.COMPONENTS: to_list_array(list(projector.project(partition.vectors))),
    }
    return pa.table(columns, schema=files.PROJECTIONS)


def ledger_table(partitions: Sequence[Partition]) -> pa.Table:
    """Returns the ledger rows of all images of a date, all of them featurised, sorted by key."""
    keys = [key for partition in partitions for key in partition.image_keys]
    contents = [content for partition in partitions for content in partition.contents]
    columns = {
        tables.IMAGE_KEY: keys,
        tables.ETAG: [etag for etag, _ in contents],
        tables.SIZE_BYTES: [size for _, size in contents],
        tables.CATEGORY: [partition.category for partition in partitions for _ in partition.vectors],
        tables.CONTENT_SHA256: [_digest(key) for key in keys],
        tables.STATUS: [Status.FEATURISED.value] * len(keys),
        tables.REASON: [None] * len(keys),
        tables.DETAIL: [None] * len(keys),
        tables.EMBEDDER_ID: [partition.embedder_id for partition in partitions for _ in partition.vectors],
        tables.WIDTH: [100] * len(keys),
        tables.HEIGHT: [100] * len(keys),
        tables.FILE: [partition.features_key for partition in partitions for _ in partition.vectors],
    }
    return pa.table(columns, schema=files.LEDGER).sort_by(tables.IMAGE_KEY)


def commit_of(partitions: Sequence[Partition], moments: MomentsObject | None) -> Commit:
    """Returns what a date's ledger says of these files and moments."""
    first = partitions[0]
    file_rows = {file_name(partition.features_key): len(partition.vectors) for partition in partitions}
    n_images = sum(file_rows.values())
    return Commit(
        first.ingest_date, _COMMIT, n_images, 0, {first.embedder_id: EmbedderFiles(n_images, file_rows, moments)}
    )


def partitions_of(history: SyntheticHistory, ingest_date: str) -> list[Partition]:
    """Returns a date's images by category; the same date and number of images always have the same features."""
    categories = history.categories
    vectors = synthetic_vectors(
        len(categories) * history.images_per_partition, date.fromisoformat(ingest_date).toordinal()
    )
    parts = np.split(vectors, len(categories))
    return [
        Partition(ingest_date, category, history.embedder_id, part)
        for category, part in zip(categories, parts, strict=True)
    ]


def synthetic_vectors(n: int, seed: int) -> NDArray[np.float32]:
    """Returns features drawn with the seed, float32[n, 1280]."""
    drawn = np.random.default_rng(seed).standard_normal((n, N_FEATURES), dtype=np.float32)
    vectors: NDArray[np.float32] = drawn @ _loadings()
    vectors += np.float32(0.5)
    return vectors


@cache
def synthetic_model() -> PcaModel:
    """Returns a PCA of the same distribution, but not of a history's own images, so that a refit gives another model
    and has everything to project.
    """
    return fit_pca(moments_of(synthetic_vectors(_FITTED_ON, seed=0)), TARGET_VARIANCE)


@cache
def _loadings() -> NDArray[np.float32]:
    """Returns float32[1280, 1280], which scales independent numbers by the spectrum, then turns them by a random
    rotation.
    """
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((N_FEATURES, N_FEATURES)))
    scales = np.arange(1, N_FEATURES + 1) ** (-DECAY / 2)
    loadings: NDArray[np.float32] = (scales[:, None] * rotation).astype(np.float32)
    return loadings


def _write_day(store: Store, partitions: Sequence[Partition], *, with_moments: bool) -> None:
    """Writes what a features step leaves of one date."""
    day, embedder_id = partitions[0].ingest_date, partitions[0].embedder_id
    for partition in partitions:
        store.write(partition.features_key, files.features_to_parquet(features_table(partition)))
    contents = (content for partition in partitions for content in partition.contents)
    write_content_index(store, embedder_id, day, contents, whole=True)
    moments = _write_moments(store, partitions) if with_moments else None
    put_ledger(store, no_ledger(day), ledger_table(partitions), commit_of(partitions, moments))


def _write_moments(store: Store, partitions: Sequence[Partition]) -> MomentsObject:
    first = partitions[0]
    moments = moments_of(np.concatenate([partition.vectors for partition in partitions]))
    digest = images_digest((key, _digest(key)) for partition in partitions for key in partition.image_keys)
    return write_moments(store, first.ingest_date, _COMMIT, first.embedder_id, moments, digest)


def _provenance(history: SyntheticHistory, model: PcaModel, version: str) -> Provenance:
    return Provenance(
        version=version,
        embedder_id=history.embedder_id,
        n_samples=_FITTED_ON,
        ingest_dates=history.days,
        target_variance=TARGET_VARIANCE,
        k=model.k,
        variance_kept=model.variance_kept,
        target_reached=True,
        release=history.release_id,
        created_at=_PCA_TIME.isoformat(timespec="seconds"),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
