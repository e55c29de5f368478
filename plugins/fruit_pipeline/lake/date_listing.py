"""Lists what there is of an ingest date, by one listing a table, and its images in the order of their keys."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from fruit_contract import lake as lake_layout
from fruit_pipeline.lake.date_files import ListedFiles
from fruit_pipeline.lake.facts import DatedObject, is_visible_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fruit_pipeline.lake.store import Lake

_OBJECTS_A_CHUNK: Final = 50_000


def projected_versions(lake: Lake) -> list[str]:
    """The PCA versions that have a folder below `projections/`."""
    folders = lake.list_folders(f"{lake_layout.PROJECTIONS}/")
    return sorted(version for folder in folders if (version := lake_layout.partition_values(folder).get("pca_version")))


def categories_of(lake: Lake, ingest_date: str) -> set[str]:
    """The folders of a date's batch, and the categories that have features of it though their images may be gone."""
    raw, features = (lake_layout.date_prefix(table, ingest_date) for table in (lake_layout.RAW, lake_layout.FEATURES))
    delivered = {folder.removeprefix(raw).rstrip("/") for folder in lake.list_folders(raw)}
    return delivered | {
        lake_layout.partition_values(folder)["category"] for folder in lake.list_folders(features) if "/category=" in folder
    }


def list_date_files(lake: Lake, ingest_date: str, versions: Sequence[str], leftovers: Sequence[DatedObject] = ()) -> ListedFiles:
    """The files that there are of a date below features/, moments/, rejected/ and, for each of these PCA versions, projections/.

    `leftovers` are those below ledger/ that are no ledger.
    """
    features, moments, rejected = (
        parquet_files(lake, lake_layout.date_prefix(table, ingest_date))
        for table in (lake_layout.FEATURES, lake_layout.MOMENTS, lake_layout.REJECTED)
    )
    projections = {version: parquet_files(lake, lake_layout.projections_date_prefix(version, ingest_date)) for version in versions}
    parts = parquet_files(lake, lake_layout.moments_parts_prefix(ingest_date))
    return ListedFiles(features, moments, rejected, projections, parts | {stored.key: stored for stored in leftovers})


def parquet_files(lake: Lake, prefix: str) -> dict[str, DatedObject]:
    """The data files below a prefix, by key."""
    return {stored.key: stored for stored in lake.list_objects(prefix) if is_visible_parquet(stored.key, prefix)}


def sorted_objects(lake: Lake, prefix: str) -> Iterator[DatedObject]:
    """The objects below `prefix` in ascending order of their keys, for a store that lists them in another order.

    They are sorted in Arrow's memory, which takes some hundred bytes each.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = pa.schema(
        [("key", pa.string()), ("etag", pa.string()), ("size_bytes", pa.int64()), ("modified_at", pa.timestamp("us", "UTC"))]
    )
    listing, chunks = lake.list_objects(prefix), []
    while objects := list(islice(listing, _OBJECTS_A_CHUNK)):
        columns = [pa.array([getattr(stored, field.name) for stored in objects], field.type) for field in schema]
        chunks.append(pa.record_batch(columns, schema=schema))
    table = pa.Table.from_batches(chunks, schema).combine_chunks()
    del chunks
    order = pc.sort_indices(table.column("key"))
    for start in range(0, len(order), _OBJECTS_A_CHUNK):
        chunk = table.take(order.slice(start, _OBJECTS_A_CHUNK))
        yield from map(DatedObject, *(column.to_pylist() for column in chunk.columns))
