"""Writes a run's receipt into its record, whether the run came to its end or not."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import run_key, step_summary_key
from fruit_contract.release import EXTRACT_FEATURES_STEP
from fruit_pipeline.report.receipt import measured_speed, receipt, receipt_lines
from fruit_pipeline.report.record import record_of_unfinished

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)


def write_receipt(
    lake: Lake, run_id: str, planned: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], settings: Settings
) -> dict[str, Any]:
    """Returns the receipt of the run's `clusters` (`run_record.cluster_facts`), which are not empty.

    The record is the unfinished run's until `publish_report` replaces it.
    """
    summary = lake.read_json_if_there(step_summary_key(run_id, EXTRACT_FEATURES_STEP)) or {}
    measured = measured_speed(summary, clusters[-1], settings)
    written = receipt(
        planned["plan"]["estimate"],
        clusters,
        int(summary.get("images_computed") or 0),
        settings,
        read_at=datetime.now(UTC),
        measured=measured,
    )
    for line in receipt_lines(written):
        LOG.info("%s", line)
    lake.write_json(run_key(run_id), record_of_unfinished(run_id, planned, written))
    return written
