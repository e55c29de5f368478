"""Images whose content is already featurised under another key: found by a hash, proved by SHA-256, copied instead of computed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pyspark import StorageLevel
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_contract.tables import Status
from fruit_features.extraction.content_hashes import common_hashes, hash_content, hash_contents, to_bytes
from fruit_features.lake import store as object_store
from fruit_features.lake_tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame, SparkSession

    from fruit_contract.increments import ListedImage

_INDEXES_AT_ONCE: Final = 16
SOURCE_COLUMNS: Final = (tables.CONTENT_SHA256, tables.WIDTH, tables.HEIGHT, tables.VECTOR)


@dataclass(frozen=True)
class KnownContents:
    """`rows` has one row of SOURCE_COLUMNS a content, kept by Spark; `sha256_by_key` says which content each new image should have."""

    rows: DataFrame | None = None
    sha256_by_key: dict[str, str] = field(default_factory=dict)

    def release(self) -> None:
        if self.rows is not None:
            self.rows.unpersist()


def write_content_index(bucket: str, embedder_id: str, ingest_date: str, contents: Iterable[tuple[str, int]]) -> None:
    """Replaces a date's index: `contents` are ETag and size of its featurised images."""
    hashes = hash_contents(contents)
    key = lake.content_index_key(embedder_id, ingest_date)
    if len(hashes):
        object_store.write_object(bucket, key, to_bytes(hashes))
    else:
        object_store.delete_object(bucket, key)


def find_known_contents(spark: SparkSession, bucket: str, embedder_id: str, new: Sequence[ListedImage]) -> KnownContents:
    """What of `new` is probably featurised already, with the features to copy. Reads 8 bytes an image of history, and the rows it needs."""
    dates = _dates_by_hash(bucket, embedder_id, hash_contents((image.etag, image.size_bytes) for image in new))
    wanted = [image for image in new if hash_content(image.etag, image.size_bytes) in dates]
    if not wanted:
        return KnownContents()
    places = _places(spark, bucket, embedder_id, sorted(set(dates.values())), wanted)
    rows = _source_rows(spark, bucket, embedder_id, places).persist(StorageLevel.MEMORY_AND_DISK)
    available = {row[0] for row in rows.select(tables.CONTENT_SHA256).collect()}
    sha256_by_content = {(place.etag, place.size_bytes): place.content_sha256 for place in places}
    found = {image.key: sha256_by_content.get((image.etag, image.size_bytes)) for image in wanted}
    return KnownContents(rows, {key: sha256 for key, sha256 in found.items() if sha256 in available and sha256 is not None})


@dataclass(frozen=True)
class _Place:
    """Where a content's features lie."""

    etag: str
    size_bytes: int
    content_sha256: str
    ingest_date: str
    category: str


def _dates_by_hash(bucket: str, embedder_id: str, wanted: NDArray[np.uint64]) -> dict[int, str]:
    """The latest date that has each hash; most have none."""
    keys = object_store.list_plain_keys(bucket, lake.content_index_prefix(embedder_id)) if len(wanted) else []

    def look(key: str) -> tuple[str, NDArray[np.uint64]]:
        return key, common_hashes(object_store.read_plain_object(bucket, key) or b"", wanted)

    dates: dict[int, str] = {}
    if keys:
        with ThreadPoolExecutor(_INDEXES_AT_ONCE) as pool:
            for key, hashes in pool.map(look, keys):
                ingest_date = key.rpartition("/")[2].partition(".")[0]
                dates.update((int(value), ingest_date) for value in hashes)
    return dates


def _places(spark: SparkSession, bucket: str, embedder_id: str, dates: Sequence[str], wanted: Sequence[ListedImage]) -> list[_Place]:
    """One place a content, from the ledgers of `dates`."""
    etags = spark.createDataFrame([(etag,) for etag in sorted({image.etag for image in wanted})], f"{tables.ETAG} string")
    known = read_table(spark, bucket, lake.LEDGER, dates).where(
        (F.col(tables.STATUS) == Status.FEATURISED) & (F.col(tables.EMBEDDER_ID) == embedder_id)
    )
    columns = (tables.ETAG, tables.SIZE_BYTES, tables.CONTENT_SHA256, tables.INGEST_DATE, tables.CATEGORY)
    rows = known.join(F.broadcast(etags), on=tables.ETAG, how="left_semi").select(*columns).collect()
    places = {(row[0], row[1]): _Place(*row) for row in sorted(rows)}
    return list(places.values())


def _source_rows(spark: SparkSession, bucket: str, embedder_id: str, places: Sequence[_Place]) -> DataFrame:
    columns = (tables.INGEST_DATE, tables.CATEGORY, tables.CONTENT_SHA256)
    schema = ", ".join(f"{column} string" for column in columns)
    wanted = spark.createDataFrame([(place.ingest_date, place.category, place.content_sha256) for place in places], schema)
    dates = sorted({place.ingest_date for place in places})
    in_categories = F.col(tables.CATEGORY).isin(sorted({place.category for place in places}))
    features = read_table(spark, bucket, lake.FEATURES, dates).where(in_categories & (F.col(tables.EMBEDDER_ID) == embedder_id))
    joined = features.join(F.broadcast(wanted), on=list(columns), how="left_semi")
    return joined.select(*SOURCE_COLUMNS).dropDuplicates([tables.CONTENT_SHA256])
