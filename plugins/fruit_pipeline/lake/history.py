"""Reads what all ledgers together say, from their footers, and which PCA versions there are."""

from __future__ import annotations

import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import lake as lake_layout
from fruit_contract import tables
from fruit_pipeline.errors import DamagedFileError
from fruit_pipeline.lake.facts import EmbedderHistory, LakeHistory, PcaState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.store import Lake

LOG: Final = logging.getLogger(__name__)
_FOOTERS_AT_ONCE: Final = 32
# It stands for the embedders of the earlier form, whose ledgers do not say them.
_UNKNOWN_EMBEDDER: Final = ""


@dataclass(frozen=True)
class _DateCounts:
    """Counts the images and files of one date, by embedder."""

    ingest_date: str
    n_images: Mapping[str, int] = field(default_factory=dict)
    n_files: Mapping[str, int] = field(default_factory=dict)


def read_history(lake: Lake) -> LakeHistory:
    """Returns what all ledgers say. It reads one listing, and the footers of those ledgers that the PCA step's cache
    does not know as they are now.
    """
    ledgers = defaultdict[str, list["DatedObject"]](list)
    for stored in lake.list_objects(f"{lake_layout.LEDGER}/{tables.INGEST_DATE}="):
        ingest_date = lake_layout.ingest_date_of(stored.key)
        if ingest_date is not None:
            ledgers[ingest_date].append(stored)
    try:
        cached = (lake.read_json_if_there(lake_layout.pca_cache_key()) or {}).get("commits", {})
    except DamagedFileError:
        # The PCA step writes it anew.
        cached = {}

    def count(ingest_date: str) -> _DateCounts:
        return _from_cache(ingest_date, ledgers[ingest_date], cached) or _from_footer(
            lake, ingest_date, ledgers[ingest_date]
        )

    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        return _sum_of(list(pool.map(count, sorted(ledgers))))


def read_pca_state(lake: Lake) -> PcaState:
    """Returns the version that `pca/current.json` names, and the newest one of its embedder that is still pending. A
    version whose provenance is gone or can't be read is none: the PCA step fits another one in its place.

    Raises DamagedFileError if `pca/current.json` itself can't be read.
    """
    pointer = lake.read_json_if_there(lake_layout.CURRENT_PCA_KEY)
    if pointer is None:
        return PcaState()
    version, embedder_id = str(pointer["version"]), str(pointer["embedder_id"])
    provenance = find_provenance(lake, version)
    if provenance is None:
        return PcaState()
    newer = [found for found in sorted(pca_versions(lake)) if found > version]
    pending = [found for found in newer if _is_of(lake, found, embedder_id)]
    return PcaState(
        version,
        embedder_id,
        int(provenance["n_samples"]),
        float(provenance["target_variance"]),
        pending[-1] if pending else "",
    )


def pca_versions(lake: Lake) -> Iterator[str]:
    """Yields the versions that have a folder below `pca/`."""
    for folder in lake.list_folders(f"{lake_layout.PCA}/"):
        if version := lake_layout.partition_values(folder).get("version"):
            yield version


def find_provenance(lake: Lake, version: str) -> dict[str, Any] | None:
    """Returns what is said of a version, or None if it was not saved whole or can't be read; the log then says so."""
    try:
        return lake.read_json_if_there(lake_layout.pca_provenance_key(version))
    except DamagedFileError as error:
        LOG.warning("%s PCA version %s counts as none.", error, version)
        return None


def _is_of(lake: Lake, version: str, embedder_id: str) -> bool:
    provenance = find_provenance(lake, version)
    return provenance is not None and provenance["embedder_id"] == embedder_id


def _from_cache(ingest_date: str, ledger: Sequence[DatedObject], cached: Mapping[str, Any]) -> _DateCounts | None:
    """Returns a date's counts, or None if the cache does not know this ledger, or not all that is asked for."""
    entry = cached.get(ingest_date)
    if entry is None or len(ledger) != 1 or entry.get("etag", "").strip('"') != ledger[0].etag:
        return None
    embedders = entry["embedders"]
    if any("n_images" not in found or "n_files" not in found for found in embedders.values()):
        return None
    return _DateCounts(
        ingest_date,
        {embedder_id: int(found["n_images"]) for embedder_id, found in embedders.items()},
        {embedder_id: int(found["n_files"]) for embedder_id, found in embedders.items()},
    )


def _from_footer(lake: Lake, ingest_date: str, listing: Sequence[DatedObject]) -> _DateCounts:
    from fruit_pipeline.lake.dates.date_ledger import (
        ledger_of_listing,
        ledger_schema,
    )  # pyarrow loads with the task, not with the DAG file

    ledger = ledger_of_listing(lake, ingest_date, listing)
    if ledger.commit is None:
        return _DateCounts(ingest_date, {_UNKNOWN_EMBEDDER: ledger_schema(lake, ledger)[1]}, {_UNKNOWN_EMBEDDER: 1})
    embedders = ledger.commit.embedders
    return _DateCounts(
        ingest_date,
        {embedder_id: found.n_images for embedder_id, found in embedders.items()},
        {embedder_id: len(found.files) for embedder_id, found in embedders.items()},
    )


def _sum_of(dates: Sequence[_DateCounts]) -> LakeHistory:
    images, files, days = defaultdict[str, int](int), defaultdict[str, int](int), defaultdict[str, list[str]](list)
    for date in dates:
        for embedder_id, n_images in date.n_images.items():
            images[embedder_id] += n_images
            files[embedder_id] += date.n_files[embedder_id]
            if n_images:
                days[embedder_id].append(date.ingest_date)
    embedders = {
        embedder_id: EmbedderHistory(images[embedder_id], files[embedder_id], tuple(days[embedder_id]))
        for embedder_id in images
    }
    return LakeHistory(embedders, embedders.pop(_UNKNOWN_EMBEDDER, EmbedderHistory()))
