"""Publishes what a run did: writes the report below `reports/` and the record below `runs/`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import tables
from fruit_contract.commit import file_key
from fruit_contract.lake import (
    measured_speed_key,
    partition_values,
    projections_date_prefix,
    projections_file_key,
    report_prefix,
    uri,
)
from fruit_pipeline.claims.claim_book import DatesBook
from fruit_pipeline.lake.summaries import read_extraction_summary, read_refresh_summary
from fruit_pipeline.report.page import report_page
from fruit_pipeline.report.record import run_record, write_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_contract.commit import EmbedderFiles
    from fruit_pipeline.checks.parquet_facts import Projections
    from fruit_pipeline.checks.pca import PcaFacts
    from fruit_pipeline.emr.cluster_facts import ClusterFacts
    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.planner import PlannedXComs
    from fruit_pipeline.report.receipt import Receipt
    from fruit_pipeline.report.record import RunRecord

CATEGORIES_PLOTTED: Final = 6
_POINTS_A_CATEGORY: Final = 2_000
EXPLAINED_VARIANCE_PLOT: Final = "explained_variance.png"
TWO_COMPONENTS_PLOT: Final = "first_two_components.png"
PAGE: Final = "index.html"
# XCom gets at most so many; the record has them all.
_REPORTS_NAMED: Final = 32


def publish_report(
    lake: Lake,
    run_id: str,
    planned: PlannedXComs,
    checks: Mapping[str, Any],
    cluster: ClusterFacts,
    receipt: Receipt | None = None,
) -> dict[str, Any]:
    """Writes plots and a page for every date of the run, then the run's record, and returns where they are. The run is
    then done, and gives back its dates.

    A speed that the receipt tells is kept for the next plan.
    """
    from fruit_pipeline.checks.parquet_facts import read_pca

    dates = planned["ingest_dates"]
    extract, refresh = read_extraction_summary(lake, run_id), read_refresh_summary(lake, run_id)
    report_uris = {day: uri(lake.bucket, f"{report_prefix(day)}{PAGE}") for day in dates}
    record = run_record(run_id, planned, extract, refresh, checks, cluster, report_uris, receipt)
    pca = read_pca(lake)
    for day in dates:
        _publish_date(lake, day, record, planned["categories"], pca)
    record_uri = write_record(lake, record)
    if receipt and receipt["measured_speed"]:
        lake.write_json(measured_speed_key(), receipt["measured_speed"])
    DatesBook(lake).give_back(run_id)
    return {"report_uris": [report_uris[day] for day in dates[-_REPORTS_NAMED:]], "record_uri": record_uri}


def _publish_date(
    lake: Lake, ingest_date: str, record: RunRecord, categories: Sequence[str], pca: PcaFacts | None
) -> None:
    prefix = report_prefix(ingest_date)
    plots = _plots(lake, ingest_date, categories, pca, record["pca"]["pca_version"]) if pca else []
    for name, _, _, png in plots:
        if png:
            lake.write(f"{prefix}{name}", png, "image/png")
    page = report_page(record, ingest_date, [(title, caption, png) for _, title, caption, png in plots])
    lake.write(f"{prefix}{PAGE}", page.encode(), "text/html; charset=utf-8")


def chosen_categories(categories: Sequence[str], ingest_date: str) -> list[str]:
    """Returns six categories at random, the same for every run of a date; all of them if there are fewer."""
    sample = random.Random(ingest_date).sample(sorted(categories), min(CATEGORIES_PLOTTED, len(categories)))  # noqa: S311  # a plot's choice, no secret
    return sorted(sample)


def _plots(
    lake: Lake, ingest_date: str, categories: Sequence[str], pca: PcaFacts, version_of_run: object
) -> list[tuple[str, str, str, bytes | None]]:
    """Returns (file name, title, caption, PNG) of each plot. If there is nothing to draw, the PNG is None, and the
    caption says why.

    The plots are of the version that is current now, which need not be the run's own.
    """
    from fruit_pipeline.report.plots import explained_variance_png, two_components_png

    n_samples, target = int(pca.provenance["n_samples"]), float(pca.provenance["target_variance"])
    kept = float(pca.provenance["variance_kept"])
    variance = explained_variance_png(pca.spectrum, pca.pointer_k, target, n_samples)
    caption = (
        f"{pca.pointer_k:,} of {len(pca.spectrum):,} components keep {kept:.2%} of the variance of {n_samples:,} "
        "images."
    )
    if not pca.provenance["target_reached"]:
        caption += f" The target of {target:.4g} can't be reached with so few images."
    if pca.version != version_of_run:
        caption += f" This is PCA version {pca.version}, which is the current one and not this run's."
    plots: list[tuple[str, str, str, bytes | None]] = [
        (EXPLAINED_VARIANCE_PLOT, "Explained variance", caption, variance)
    ]
    features = _features(lake, ingest_date, pca.provenance["embedder_id"])
    groups = _projections(lake, ingest_date, categories, pca, features) if features else []
    if groups:
        points = two_components_png(groups, pca.explained_variance_ratio)
        caption = (
            f"Images of {ingest_date} under PCA version {pca.version}. The categories are drawn at random, once "
            "for a date."
        )
        plots.append(
            (
                TWO_COMPONENTS_PLOT,
                "Six categories on PC1 and PC2" if len(groups) == CATEGORIES_PLOTTED else "Categories on PC1 and PC2",
                caption,
                points,
            )
        )
    else:
        why = (
            f"No projections of {ingest_date} under PCA version {pca.version} can be drawn, because this run's images "
            "have none."
            if features
            else f"No image of {ingest_date} has features of embedder {pca.provenance['embedder_id']}, which the "
            f"current PCA version {pca.version} is of, so there are no points to draw."
        )
        plots.append((TWO_COMPONENTS_PLOT, "Categories on PC1 and PC2", why, None))
    return plots


def _features(lake: Lake, ingest_date: str, embedder_id: str) -> EmbedderFiles | None:
    """Returns the embedder's files that the date's commit names, or None if there are none."""
    from fruit_pipeline.lake.dates.date_ledger import find_ledger

    commit = find_ledger(lake, ingest_date).commit
    return commit.embedders.get(embedder_id) if commit else None


def _projections(
    lake: Lake, ingest_date: str, categories: Sequence[str], pca: PcaFacts, features: EmbedderFiles
) -> list[Projections]:
    """Returns the points of a few categories, from the projections of the date's `features`."""
    from fruit_pipeline.checks.parquet_facts import read_first_two_components
    from fruit_pipeline.lake.dates.date_listing import parquet_files

    there = parquet_files(lake, projections_date_prefix(pca.version, ingest_date))
    keys = (projections_file_key(pca.version, file_key(ingest_date, name)) for name in sorted(features.files))
    files = [there[key] for key in keys if key in there]
    by_category: dict[str, list[DatedObject]] = {}
    for stored in files:
        by_category.setdefault(partition_values(stored.key)[tables.CATEGORY], []).append(stored)
    chosen = chosen_categories(
        [category for category in by_category if not categories or category in categories], ingest_date
    )
    return [read_first_two_components(lake, by_category[category], category, _POINTS_A_CATEGORY) for category in chosen]
