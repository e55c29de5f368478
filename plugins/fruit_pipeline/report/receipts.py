"""Writes a run's receipt into its record, whether the run came to its end or not."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from fruit_contract.newer_python import UTC
from fruit_pipeline.errors import MissingObjectError
from fruit_pipeline.lake.summaries import read_extraction_summary
from fruit_pipeline.planning.estimate import Estimate
from fruit_pipeline.report.receipt import measured_speed, receipt, receipt_lines
from fruit_pipeline.report.record import record_of_unfinished, write_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_contract.summaries import ExtractionSummary
    from fruit_pipeline.emr.cluster_facts import ClusterFacts
    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.planner import PlannedXComs
    from fruit_pipeline.report.receipt import Receipt
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)


def write_receipt(
    lake: Lake, run_id: str, planned: PlannedXComs, clusters: Sequence[ClusterFacts], settings: Settings
) -> Receipt:
    """Writes the receipt of the run's `clusters`, which are not empty, into the run's record, and returns it.

    Prices and instance types are the plan's, whatever is set by now. The record is that of an unfinished run until
    `publish_report` replaces it.
    """
    estimate = Estimate(**planned["plan"]["estimate"])
    settings = _as_planned(settings, estimate)
    summary = _summary(lake, run_id)
    measured = measured_speed(summary, clusters[-1], settings)
    written = receipt(
        estimate,
        clusters,
        summary["images_computed"] if summary else 0,
        settings,
        read_at=datetime.now(UTC),
        measured=measured,
    )
    for line in receipt_lines(written):
        LOG.info("%s", line)
    write_record(lake, record_of_unfinished(run_id, planned, written))
    return written


def _as_planned(settings: Settings, estimate: Estimate) -> Settings:
    """Returns the settings with the nodes and prices that the estimate was made with."""
    assumed = estimate.assumptions
    known = {kind: price for kind, price in assumed["eur_per_hour"].items() if price is not None}
    return replace(
        settings,
        primary_instance_type=assumed["primary_instance_type"],
        core_instance_type=assumed["core_instance_type"],
        prices_eur_per_hour=tuple(sorted((settings.prices | known).items())),
        spot_price_share=assumed["spot_price_share"],
    )


def _summary(lake: Lake, run_id: str) -> ExtractionSummary | None:
    """Returns the features step's summary, or None if the step did not end well."""
    try:
        return read_extraction_summary(lake, run_id)
    except MissingObjectError:
        return None
