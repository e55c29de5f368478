"""A lake as many daily runs leave it, without computing an image: the tables, states, indexes and PCA version of past ingest dates.

The features are drawn from one normal distribution, whose standardised PCA needs about as many components (530) as real fruit does;
moments, projections and hashes are really those of these features. The images themselves are not there: no step reads a past date's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, reduce
from operator import xor
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake, release, tables
from fruit_contract.tables import N_FEATURES, Status
from fruit_features.extraction.content_hashes import hash_contents, to_bytes
from fruit_features.lake.vectors import to_list_array
from fruit_features.moments.algebra import moments_of, pack_upper_triangle
from fruit_features.moments_states import fingerprint
from fruit_features.pca.fit import PcaModel, fit_pca, project
from fruit_features.pca.versions import Provenance, model_to_parquet, version_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CATEGORIES: Final = ("Apple Red 1", "Banana", "Cherry 1", "Kiwi")
TARGET_VARIANCE: Final = 0.95
# Eigenvalue i is i to the power of minus this: 530 or so components keep 95 %.
_DECAY: Final = 1.2
_FITTED_ON: Final = 12_000
_PCA_TIME: Final = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class History:
    """Past ingest dates with the same number of images in each category of each date."""

    days: tuple[str, ...]
    images_per_partition: int
    release_id: str
    embedder_id: str

    @property
    def n_partitions(self) -> int:
        """Of `features/`: a date and category each."""
        return len(self.days) * len(CATEGORIES)

    @property
    def n_images(self) -> int:
        return self.n_partitions * self.images_per_partition


@dataclass(frozen=True)
class Partition:
    """The images of one date and category: who they are, and float32[n, 1280] features."""

    ingest_date: str
    category: str
    embedder_id: str
    vectors: NDArray[np.float32]

    @property
    def image_keys(self) -> list[str]:
        return [lake.image_key(self.ingest_date, self.category, f"synthetic_{number}.jpg") for number in range(len(self.vectors))]

    @property
    def contents(self) -> list[tuple[str, int]]:
        """ETag and size of each image: as an MD5 looks, and no two alike."""
        return [(_digest(key)[:32], 4_000 + number) for number, key in enumerate(self.image_keys)]


def days_before(ingest_date: str, n: int) -> tuple[str, ...]:
    """The `n` days that end the day before `ingest_date`, in their order."""
    end = date.fromisoformat(ingest_date)
    return tuple((end - timedelta(days=number)).isoformat() for number in range(n, 0, -1))


def read_embedder_id(bucket_folder: Path, release_id: str) -> str:
    manifest = bucket_folder / lake.release_prefix(release_id) / release.EMBEDDER / release.EMBEDDER_MANIFEST
    return str(json.loads(manifest.read_text(encoding="utf-8"))["embedder_id"])


def write_history(bucket_folder: Path, history: History) -> None:
    """Writes the dates' tables, states and content indexes, and a PCA version that has projected them all."""
    model = synthetic_model()
    version = version_name(model, _PCA_TIME)
    projected = {day: _write_day(bucket_folder, partitions_of(history, day), model, version) for day in history.days}
    _write_version(bucket_folder, model, _provenance(history, model, version), projected)


def clone_lake(source: Path, target: Path) -> None:
    """A lake of the same content that costs no disk: files are links, but for the JSON, which steps write over in place."""

    def copy(file: str, place: str) -> None:
        if file.endswith(".json"):
            shutil.copyfile(file, place)
        else:
            os.link(file, place)

    shutil.copytree(source, target, copy_function=copy)


def features_table(partition: Partition) -> pa.Table:
    n = len(partition.vectors)
    return _table(
        tables.FEATURES_COLUMNS,
        {
            tables.IMAGE_KEY: pa.array(partition.image_keys),
            tables.CONTENT_SHA256: pa.array([_digest(key) for key in partition.image_keys]),
            tables.WIDTH: pa.array([100] * n, pa.int32()),
            tables.HEIGHT: pa.array([100] * n, pa.int32()),
            tables.EMBEDDER_ID: pa.array([partition.embedder_id] * n),
            tables.VECTOR: to_list_array(list(partition.vectors)),
        },
    )


def projections_table(partition: Partition, model: PcaModel) -> pa.Table:
    columns = {
        tables.IMAGE_KEY: pa.array(partition.image_keys),
        tables.COMPONENTS: to_list_array(list(project(model, partition.vectors))),
    }
    return _table(tables.PROJECTIONS_COLUMNS, columns)


def ledger_table(partitions: Sequence[Partition]) -> pa.Table:
    """Every image of a date, all of them featurised."""
    keys = [key for partition in partitions for key in partition.image_keys]
    contents = [content for partition in partitions for content in partition.contents]
    categories = [partition.category for partition in partitions for _ in partition.vectors]
    return _table(
        tables.LEDGER_COLUMNS,
        {
            tables.IMAGE_KEY: pa.array(keys),
            tables.ETAG: pa.array([etag for etag, _ in contents]),
            tables.SIZE_BYTES: pa.array([size for _, size in contents], pa.int64()),
            tables.CATEGORY: pa.array(categories),
            tables.CONTENT_SHA256: pa.array([_digest(key) for key in keys]),
            tables.STATUS: pa.array([Status.FEATURISED.value] * len(keys)),
            tables.REASON: pa.nulls(len(keys), pa.string()),
            tables.EMBEDDER_ID: pa.array([partitions[0].embedder_id] * len(keys)),
        },
    )


def moments_table(partitions: Sequence[Partition]) -> pa.Table:
    """One row: the moments of a date's features, and a digest that is one of its images' (not Spark's: only equality counts)."""
    moments = moments_of(np.concatenate([partition.vectors for partition in partitions]))
    digest = reduce(xor, (hash_of(key) for partition in partitions for key in partition.image_keys))
    return _table(
        tables.MOMENTS_COLUMNS,
        {
            tables.EMBEDDER_ID: pa.array([partitions[0].embedder_id]),
            tables.N_SAMPLES: pa.array([moments.n_samples], pa.int64()),
            tables.MEAN: pa.array([moments.mean]),
            tables.SCATTER: pa.array([pack_upper_triangle(moments.scatter)]),
            tables.CONTENT_DIGEST: pa.array([digest], pa.int64()),
        },
    )


def partitions_of(history: History, ingest_date: str) -> list[Partition]:
    """A date's images; the same date and number give the same features."""
    vectors = synthetic_vectors(len(CATEGORIES) * history.images_per_partition, date.fromisoformat(ingest_date).toordinal())
    parts = np.split(vectors, len(CATEGORIES))
    return [Partition(ingest_date, category, history.embedder_id, part) for category, part in zip(CATEGORIES, parts, strict=True)]


def synthetic_vectors(n: int, seed: int) -> NDArray[np.float32]:
    """float32[n, 1280]."""
    drawn = np.random.default_rng(seed).standard_normal((n, N_FEATURES), dtype=np.float32)
    vectors: NDArray[np.float32] = drawn @ _loadings()
    vectors += np.float32(0.5)
    return vectors


@cache
def synthetic_model() -> PcaModel:
    """A PCA of the same distribution, not of a history's own images: a refit gives another one, and has everything to project."""
    return fit_pca(moments_of(synthetic_vectors(_FITTED_ON, seed=0)), TARGET_VARIANCE)


def hash_of(text: str) -> int:
    """64 bits, signed."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


@cache
def _loadings() -> NDArray[np.float32]:
    """float32[1280, 1280]: scales independent numbers by the spectrum, then turns them by a random rotation."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((N_FEATURES, N_FEATURES)))
    scales = np.arange(1, N_FEATURES + 1) ** (-_DECAY / 2)
    loadings: NDArray[np.float32] = (scales[:, None] * rotation).astype(np.float32)
    return loadings


def _write_day(bucket_folder: Path, partitions: Sequence[Partition], model: PcaModel, version: str) -> str:
    """Writes what the steps leave of one date; returns the state of its moments."""
    day, embedder_id = partitions[0].ingest_date, partitions[0].embedder_id
    for partition in partitions:
        _write_parquet(bucket_folder / lake.partition_prefix(lake.FEATURES, day, partition.category), features_table(partition))
        place = bucket_folder / lake.projections_partition_prefix(version, day, partition.category)
        _write_parquet(place, projections_table(partition, model))
    moments = moments_table(partitions)
    state = fingerprint(moments[tables.N_SAMPLES][0].as_py(), moments[tables.CONTENT_DIGEST][0].as_py())
    _write_parquet(bucket_folder / lake.date_prefix(lake.MOMENTS, day), moments)
    _write_bytes(bucket_folder / lake.moments_state_key(day, embedder_id, state), b"")
    contents = (content for partition in partitions for content in partition.contents)
    _write_bytes(bucket_folder / lake.content_index_key(embedder_id, day), to_bytes(hash_contents(contents)))
    _write_parquet(bucket_folder / lake.date_prefix(lake.LEDGER, day), ledger_table(partitions))
    return state


def _provenance(history: History, model: PcaModel, version: str) -> Provenance:
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


def _write_version(bucket_folder: Path, model: PcaModel, provenance: Provenance, projected: dict[str, str]) -> None:
    version = provenance.version
    pointer = {"version": version, "k": provenance.k, "embedder_id": provenance.embedder_id}
    _write_bytes(bucket_folder / lake.pca_prefix(version) / "model.parquet", model_to_parquet(model))
    _write_json(bucket_folder / lake.pca_provenance_key(version), asdict(provenance))
    _write_json(bucket_folder / lake.projected_record_key(version), projected)
    _write_json(bucket_folder / lake.CURRENT_PCA_KEY, pointer)


def _table(names: Sequence[str], columns: dict[str, pa.Array]) -> pa.Table:
    return pa.table({name: columns[name] for name in names})


def _write_parquet(folder: Path, table: pa.Table) -> None:
    stream = io.BytesIO()
    pq.write_table(table, stream, use_dictionary=False)
    _write_bytes(folder / "part-00000-synthetic.c000.snappy.parquet", stream.getvalue())


def _write_json(place: Path, value: object) -> None:
    _write_bytes(place, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode())


def _write_bytes(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
