"""Lists the objects of an ingest date beside its images, with one listing for each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract import lake as lake_layout
from fruit_pipeline.lake.dates.date_files import ListedFiles
from fruit_pipeline.lake.facts import is_visible_parquet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.store import Lake


def projected_versions(lake: Lake) -> list[str]:
    """Returns the PCA versions that have a folder below `projections/`, in ascending order."""
    folders = lake.list_folders(f"{lake_layout.PROJECTIONS}/")
    return sorted(version for folder in folders if (version := lake_layout.partition_values(folder).get("pca_version")))


def categories_of(lake: Lake, ingest_date: str) -> set[str]:
    """Returns the categories with a folder in a date's batch, and those that have features of it though their images
    may be gone.
    """
    raw, features = (lake_layout.date_prefix(table, ingest_date) for table in (lake_layout.RAW, lake_layout.FEATURES))
    delivered = {folder.removeprefix(raw).rstrip("/") for folder in lake.list_folders(raw)}
    return delivered | {
        lake_layout.partition_values(folder)["category"]
        for folder in lake.list_folders(features)
        if "/category=" in folder
    }


def list_date_files(
    lake: Lake, ingest_date: str, versions: Sequence[str], leftovers: Sequence[DatedObject] = ()
) -> ListedFiles:
    """Lists the files of a date below features/, moments/ and rejected/, and for each of these PCA versions below
    projections/.

    `leftovers` are those below ledger/ that are no ledger.
    """
    features, moments, rejected = (
        parquet_files(lake, lake_layout.date_prefix(table, ingest_date))
        for table in (lake_layout.FEATURES, lake_layout.MOMENTS, lake_layout.REJECTED)
    )
    projections = {
        version: parquet_files(lake, lake_layout.projections_date_prefix(version, ingest_date)) for version in versions
    }
    parts = parquet_files(lake, lake_layout.moments_parts_prefix(ingest_date))
    return ListedFiles(features, moments, rejected, projections, parts | {stored.key: stored for stored in leftovers})


def parquet_files(lake: Lake, prefix: str) -> dict[str, DatedObject]:
    """Returns the data files below a prefix, by key."""
    return {stored.key: stored for stored in lake.list_objects(prefix) if is_visible_parquet(stored.key, prefix)}
