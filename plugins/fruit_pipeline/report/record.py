"""Gathers what one run did from its plan, its steps' own summaries and its cluster: the content of
`runs/<run_id>.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from fruit_contract.books import COLUMNS
from fruit_contract.lake import run_key, uri
from fruit_contract.release import EXTRACT_FEATURES_STEP, REFRESH_PCA_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_contract.books import Books
    from fruit_contract.summaries import ExtractionSummary, RefreshSummary, RejectedImage
    from fruit_pipeline.emr.cluster_facts import ClusterFacts, ClusterSummary
    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.planner import PlannedXComs
    from fruit_pipeline.report.receipt import Receipt

# Records without a version are of earlier releases, and have the same keys.
RECORD_SCHEMA_VERSION: Final = 1
_PCA_FACTS: Final = (
    "action",
    "reason",
    "pca_version",
    "k",
    "n_samples",
    "target_variance",
    "variance_kept",
    "target_reached",
    "n_samples_fitted",
    "retained_variance",
    "retained_variance_by_date",
    "projected_ingest_dates",
    "unsettled_ingest_dates",
    "removed_versions",
)


class RecordOfPlan(TypedDict):
    """Holds what is known of a run once it is planned. The record of a run that found nothing to do holds no more than
    this.
    """

    schema_version: int
    run_id: str
    ingest_dates: list[str]
    categories: list[str]
    release: str
    plan: dict[str, Any]


class RecordOfUnfinished(RecordOfPlan):
    """Records a run that had a cluster and did not come to its report. `state` is "unfinished"."""

    state: str
    receipt: Receipt


class RunRecord(RecordOfPlan):
    """Records a run that came to its end. `receipt` is None if nobody knows what its clusters cost; `pca` has some of
    the PCA step's summary.
    """

    ingest_date: str
    embedder_id: str
    engine: str
    by_category: Books
    totals: dict[str, int]
    rejected_by_reason: dict[str, int]
    rejected_by_reason_by_date: dict[str, dict[str, int]]
    rejects: list[RejectedImage]
    images_computed: int
    images_per_second: float | None
    pca: dict[str, object]
    checks: dict[str, Any]
    cluster: ClusterSummary
    receipt: Receipt | None
    timings_seconds: dict[str, dict[str, float]]
    report_uri: str
    report_uris: dict[str, str]


def run_record(
    run_id: str,
    planned: PlannedXComs,
    extract: ExtractionSummary,
    refresh: RefreshSummary,
    checks: Mapping[str, Any],
    cluster: ClusterFacts,
    report_uris: Mapping[str, str],
    receipt: Receipt | None = None,
) -> RunRecord:
    """Returns the record of a run that came to its end. `checks` is what check_output found; `report_uris` are by
    ingest date.
    """
    of_pca: Mapping[str, object] = refresh
    # The receipt has the sum of its instances.
    of_cluster = {name: fact for name, fact in cluster.items() if name != "instances"}
    return {
        **_of_plan(run_id, planned),
        "ingest_date": max(planned["ingest_dates"]),
        "embedder_id": extract["embedder_id"],
        "engine": extract["engine"],
        "by_category": extract["by_category"],
        "totals": totals(extract["by_category"]),
        "rejected_by_reason": extract["rejected_by_reason"],
        "rejected_by_reason_by_date": extract["rejected_by_reason_by_date"],
        "rejects": extract["rejects"],
        "images_computed": extract["images_computed"],
        "images_per_second": extract["images_per_second"],
        "pca": {name: of_pca.get(name) for name in _PCA_FACTS},
        "checks": dict(checks),
        "cluster": cast("ClusterSummary", of_cluster),
        "receipt": receipt,
        "timings_seconds": {
            EXTRACT_FEATURES_STEP: extract["timings_seconds"],
            REFRESH_PCA_STEP: refresh["timings_seconds"],
        },
        "report_uri": report_uris[max(report_uris)],
        "report_uris": dict(report_uris),
    }


def record_of_nothing(run_id: str, planned: PlannedXComs) -> RecordOfPlan:
    """Returns the record of a run that found nothing to do and asked for no cluster."""
    return {**_of_plan(run_id, planned), "ingest_dates": []}


def record_of_unfinished(run_id: str, planned: PlannedXComs, receipt: Receipt) -> RecordOfUnfinished:
    """Returns the record of a run that had a cluster and did not come to its report."""
    return {**_of_plan(run_id, planned), "state": "unfinished", "receipt": receipt}


def write_record(lake: Lake, record: RecordOfPlan) -> str:
    """Writes the run's record in place of the one it had, and returns its address.

    A run that is cleared (or backfilled once more) and finds nothing to do keeps the record of what it did, and of what
    that cost.
    """
    key = run_key(record["run_id"])
    if not record["ingest_dates"] and (lake.read_json_if_there(key) or {}).get("ingest_dates"):
        return uri(lake.bucket, key)
    return lake.write_json(key, record)


def totals(by_category: Books) -> dict[str, int]:
    """Returns the counts of all dates and categories together."""
    every = [counts for categories in by_category.values() for counts in categories.values()]
    return {name: sum(counts.get(name, 0) for counts in every) for name in COLUMNS}


def _of_plan(run_id: str, planned: PlannedXComs) -> RecordOfPlan:
    return {
        "schema_version": RECORD_SCHEMA_VERSION,
        "run_id": run_id,
        "ingest_dates": list(planned["ingest_dates"]),
        "categories": planned["categories"],
        "release": planned["release"],
        "plan": planned["plan"],
    }
