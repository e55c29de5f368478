"""Adds a table of features up to its moments and runs the PCA step, as a cluster does both (see way_worker.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.harness.way_worker import seconds_since_process_start
from benchmarks.history.synthetic_history import TARGET_VARIANCE
from fruit_contract import lake, release, tables
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.lake.commit import put_ledger, read_ledger
from fruit_features.lake.store import Store, at_once
from fruit_features.lake.vectors import to_matrix
from fruit_features.moments.algebra import merge_all, moments_of
from fruit_features.moments.of_files import moments_of_files
from fruit_features.moments.store import write_moments
from fruit_features.pca.fit import fit_pca, project
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.spark.session import start_session
from fruit_features.spark.stopwatch import Stopwatch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

_WRITE: Final = "benchmark-c001"
_ALWAYS: Final = PolicySettings(RefreshPolicy.ALWAYS, TARGET_VARIANCE)


def start() -> dict[str, Any]:
    """Starts the session and answers the seconds since this process started."""
    start_session(release.REFRESH_PCA_STEP)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, release_id: str, ingest_dates: list[str]) -> dict[str, Any]:
    """Runs from `features/` to the pointer at a new version that has projected everything."""
    spark = start_session(release.REFRESH_PCA_STEP)
    watch = Stopwatch()
    store = Store(bucket)
    at_once(lambda day: _commit_moments(spark, store, day), ingest_dates)
    watch.mark("moments")
    refreshed = refresh_pca(lambda: spark, RefreshRequest(bucket, release_id, "benchmark", _ALWAYS))
    total = watch.finish()["total"]
    steps = refreshed["timings_seconds"]
    stages = {
        "moments": watch.seconds["moments"],
        "merge": steps["merge_moments"],
        "fit": steps["fit"],
        "project": steps["project"],
    }
    return {
        "seconds": total,
        "stages": stages | {"rest": round(total - sum(stages.values()), 3)},
        **{name: refreshed[name] for name in ("action", "k", "n_samples", "pca_version", "projected_ingest_dates")},
    }


def compute(folder: str, ingest_dates: list[str]) -> dict[str, Any]:
    """Does the same arithmetic on the same table in this process alone, without Spark and without writing anything.

    `folder` is the bucket's folder.
    """
    watch = Stopwatch()
    days = [_read_vectors(Path(folder) / lake.date_prefix(lake.FEATURES, day)) for day in ingest_dates]
    watch.mark("read")
    moments = [moments_of(vectors) for vectors in days]
    watch.mark("moments")
    merged = merge_all(moments, tables.N_FEATURES)
    watch.mark("merge")
    model = fit_pca(merged, TARGET_VARIANCE)
    watch.mark("fit")
    for vectors in days:
        project(model, vectors)
    watch.mark("project")
    stages = watch.finish()
    del stages["total"]
    return {"stages": stages, "n_samples": merged.n_samples, "k": model.k}


def _commit_moments(spark: SparkSession, store: Store, ingest_date: str) -> None:
    """Adds up a date's features and commits their moments, as a features step does when images have left the date."""
    ledger = read_ledger(store, ingest_date)
    if ledger.commit is None:
        raise ValueError(f"{ingest_date} has no ledger: the benchmark writes one.")
    embedders = {}
    for embedder_id, found in ledger.commit.embedders.items():
        moments, digest = moments_of_files(lambda: spark, store, ingest_date, _WRITE, embedder_id, found.files)
        place = write_moments(store, ingest_date, _WRITE, embedder_id, moments, digest)
        embedders[embedder_id] = replace(found, moments=place)
    put_ledger(store, ledger, ledger.rows, replace(ledger.commit, write=_WRITE, embedders=embedders))


def _read_vectors(folder: Path) -> NDArray[np.float32]:
    """Returns the features below a folder, float32[n, 1280]."""
    parts = [
        pq.read_table(file, columns=[tables.VECTOR], partitioning=None) for file in sorted(folder.rglob("*.parquet"))
    ]
    return np.concatenate([to_matrix(part[tables.VECTOR].combine_chunks(), tables.N_FEATURES) for part in parts])
