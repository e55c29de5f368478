"""What one run did, gathered from its plan, its steps' own summaries and its cluster: the content of `runs/<run_id>.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_contract.release import EXTRACT_FEATURES_STEP, REFRESH_PCA_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTED: Final = ("listed", "new", "unchanged", "reused", "removed", "featurised", "rejected")
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


def run_record(
    run_id: str,
    planned: Mapping[str, Any],
    summaries: Mapping[str, Mapping[str, Any]],
    checks: Mapping[str, Any],
    cluster: Mapping[str, Any],
    report_uris: Mapping[str, str],
    receipt: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`planned` holds plan_run's XComs, `summaries` each step's summary by step name, `checks` check_output's result.

    `receipt` (receipt.receipt) is None if nobody knows what the run's clusters cost.
    """
    extract, refresh = summaries[EXTRACT_FEATURES_STEP], summaries[REFRESH_PCA_STEP]
    return {
        "run_id": run_id,
        "ingest_date": max(planned["ingest_dates"]),
        "ingest_dates": list(planned["ingest_dates"]),
        "categories": planned["categories"],
        "release": planned["release"],
        "embedder_id": extract.get("embedder_id"),
        "engine": extract.get("engine"),
        "plan": planned["plan"],
        "by_category": extract.get("by_category", {}),
        "totals": totals(extract.get("by_category", {})),
        "rejected_by_reason": extract.get("rejected_by_reason", {}),
        "rejected_by_reason_by_date": extract.get("rejected_by_reason_by_date", {}),
        "rejects": extract.get("rejects", []),
        "images_computed": extract.get("images_computed"),
        "images_per_second": extract.get("images_per_second"),
        "pca": {name: refresh.get(name) for name in _PCA_FACTS},
        "checks": dict(checks),
        # The receipt has the sum of its instances.
        "cluster": {name: fact for name, fact in cluster.items() if name != "instances"},
        "receipt": dict(receipt) if receipt else None,
        "timings_seconds": {name: dict(summary.get("timings_seconds", {})) for name, summary in summaries.items()},
        "report_uri": report_uris[max(report_uris)],
        "report_uris": dict(report_uris),
    }


def record_of_nothing(run_id: str, planned: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that found nothing to do and asked for no cluster."""
    return {
        "run_id": run_id,
        "ingest_dates": [],
        "categories": planned["categories"],
        "release": planned["release"],
        "plan": planned["plan"],
    }


def record_of_unfinished(run_id: str, planned: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that had a cluster and did not come to its report."""
    return {
        "run_id": run_id,
        "state": "unfinished",
        "ingest_dates": list(planned["ingest_dates"]),
        "categories": planned["categories"],
        "release": planned["release"],
        "plan": planned["plan"],
        "receipt": dict(receipt),
    }


def totals(by_category: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, int]:
    """The counts of all dates and categories together; `by_category` is {date: {category: {count: n}}}."""
    every = [counts for categories in by_category.values() for counts in categories.values()]
    return {name: sum(counts.get(name, 0) for counts in every) for name in _COUNTED}
