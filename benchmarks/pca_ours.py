"""Ours: a table of features to its moments, and the PCA step on them, as a cluster runs both (see way_worker.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.synthetic_history import TARGET_VARIANCE
from benchmarks.way_worker import seconds_since_process_start
from fruit_contract import lake, release, tables
from fruit_features.lake.vectors import to_matrix
from fruit_features.moments.algebra import merge_all, moments_of
from fruit_features.moments_frames import write_moments
from fruit_features.moments_states import write_moments_states
from fruit_features.pca.fit import fit_pca, project
from fruit_features.pca.policy import PolicySettings, RefreshPolicy
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.spark.session import start_session
from fruit_features.spark.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_ALWAYS: Final = PolicySettings(RefreshPolicy.ALWAYS, TARGET_VARIANCE)


def start() -> dict[str, Any]:
    """Starts the session; the seconds count from the start of this process."""
    start_session(release.REFRESH_PCA_STEP)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, release_id: str, ingest_dates: list[str]) -> dict[str, Any]:
    """From `features/` to the pointer at a new version that has projected everything."""
    spark = start_session(release.REFRESH_PCA_STEP)
    watch = Stopwatch()
    # As date_tables.DateTables writes them when features are new.
    write_moments_states(bucket, ingest_dates, write_moments(spark, bucket, ingest_dates))
    watch.mark("moments")
    refreshed = refresh_pca(spark, RefreshRequest(bucket, release_id, "benchmark", _ALWAYS))
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
    """The same arithmetic on the same table, which lies in the bucket's `folder`, in this process alone: no Spark, and nothing written."""
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


def _read_vectors(folder: Path) -> NDArray[np.float32]:
    """float32[n, 1280]."""
    parts = [pq.read_table(file, columns=[tables.VECTOR], partitioning=None) for file in sorted(folder.rglob("*.parquet"))]
    return np.concatenate([to_matrix(part[tables.VECTOR].combine_chunks(), tables.N_FEATURES) for part in parts])


HANDLERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"start": start, "run": run, "compute": compute}
