"""Reads what the steps of a run say of themselves, as they leave it in the lake for Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from fruit_contract.lake import step_summary_key
from fruit_contract.release import EXTRACT_FEATURES_STEP, REFRESH_PCA_STEP
from fruit_contract.summaries import SUMMARY_SCHEMA_VERSION
from fruit_pipeline.errors import LaterSchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_contract.summaries import ExtractionSummary, RefreshSummary
    from fruit_pipeline.lake.store import Lake


# A summary of an earlier release may lack these.
_NOTHING_SAID: Final[Mapping[str, Any]] = {
    "embedder_id": None,
    "engine": None,
    "by_category": {},
    "rejects": [],
    "rejected_by_reason": {},
    "rejected_by_reason_by_date": {},
    "images_computed": 0,
    "images_per_second": None,
    "timings_seconds": {},
}


def read_extraction_summary(lake: Lake, run_id: str) -> ExtractionSummary:
    """Returns what the features step says. Raises MissingObjectError if the step has not ended well, and
    LaterSchemaError if it was of a later release.
    """
    return cast("ExtractionSummary", _read(lake, run_id, EXTRACT_FEATURES_STEP))


def read_refresh_summary(lake: Lake, run_id: str) -> RefreshSummary:
    """Returns what the PCA step says. Raises MissingObjectError if the step has not ended well, and LaterSchemaError if
    it was of a later release.
    """
    return cast("RefreshSummary", _read(lake, run_id, REFRESH_PCA_STEP))


def _read(lake: Lake, run_id: str, step: str) -> dict[str, Any]:
    summary = lake.read_json(step_summary_key(run_id, step))
    # Summaries of earlier releases have no version.
    version = summary.get("schema_version", SUMMARY_SCHEMA_VERSION)
    if version > SUMMARY_SCHEMA_VERSION:
        raise LaterSchemaError(
            f"The step {step} of run {run_id} was of a later release than Airflow's own code: its summary has schema "
            f"version {version}, and {SUMMARY_SCHEMA_VERSION} can be read. Install that release's code for Airflow, or "
            "set FRUITS_RELEASE to an earlier one."
        )
    return {**_NOTHING_SAID, **summary}
