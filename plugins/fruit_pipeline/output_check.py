"""Checks what a run wrote: gathers the facts of one ingest date, partition by partition, and lists the problems."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import lake as lake_layout
from fruit_contract import tables
from fruit_contract.release import EXTRACT_FEATURES_STEP, NO_PCA, REFRESH_PCA_STEP
from fruit_contract.tables import Status
from fruit_pipeline.checks import (
    LedgerRow,
    books_problems,
    features_problems,
    ledger_problems,
    moments_problems,
    projections_problems,
    rejected_problems,
    schema_problems,
)
from fruit_pipeline.date_plan import image_category
from fruit_pipeline.pca_checks import PcaFacts, pca_problems

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fruit_pipeline.lake_reader import Lake

# A PCA needs two images; fewer on all dates together leave no version to check.
_FEWEST_FOR_PCA: Final = 2
_PARTITIONS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class CheckResult:
    """What was looked at, and every problem found; no problems is a pass. `pca_version` is None if there is none yet."""

    ingest_dates: list[str]
    images_in_ledger: int
    featurised: int
    rejected: int
    partitions: int
    pca_version: str | None
    problems: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_run(lake: Lake, run_id: str, ingest_dates: Sequence[str], categories: Sequence[str], listed_before: datetime) -> CheckResult:
    """Checks every date of a run, and the books that its features step kept of them.

    Where the PCA step said that there is nothing to fit (all images alike, say), no projections are asked for.
    """
    refresh = lake.read_json(lake_layout.step_summary_key(run_id, REFRESH_PCA_STEP))
    pca = None if refresh["action"] == NO_PCA else _read_pca(lake)
    results = [check_date(lake, day, categories, listed_before, pca) for day in ingest_dates]
    featurised = sum(result.featurised for result in results)
    books = lake.read_json(lake_layout.step_summary_key(run_id, EXTRACT_FEATURES_STEP))["by_category"]
    several = len(results) > 1
    return CheckResult(
        ingest_dates=list(ingest_dates),
        images_in_ledger=sum(result.images_in_ledger for result in results),
        featurised=featurised,
        rejected=sum(result.rejected for result in results),
        partitions=sum(result.partitions for result in results),
        pca_version=pca.version if pca else None,
        problems=[
            *(_pca_problems(pca, featurised) if refresh["action"] != NO_PCA else []),
            *(
                f"{day}: {problem}" if several else problem
                for day, result in zip(ingest_dates, results, strict=True)
                for problem in result.problems
            ),
            *books_problems(books),
        ],
    )


def check_date(lake: Lake, ingest_date: str, categories: Sequence[str], listed_before: datetime, pca: PcaFacts | None) -> CheckResult:
    """Checks the tables of one ingest date against each other and against the listing; `categories` limits it to those of the run.

    Without `pca` no projections are asked for.
    """
    from fruit_pipeline import parquet_facts  # numpy and pyarrow load with the task, not with the DAG file

    listing = [
        stored
        for stored in lake.list_objects(lake_layout.raw_prefix(ingest_date))
        if (category := image_category(stored.key, ingest_date)) is not None and _chosen(category, categories)
    ]
    ledger_facts, whole_ledger = parquet_facts.read_ledger(lake, lake_layout.date_prefix(lake_layout.LEDGER, ingest_date))
    ledger = [row for row in whole_ledger if _chosen(row.category, categories)]
    partitions = _rows_by_category(lake, ingest_date, ledger, categories)
    rejected_facts, reasons, n_rejected_rows = parquet_facts.read_rejected(
        lake, lake_layout.date_prefix(lake_layout.REJECTED, ingest_date), categories
    )
    problems = [
        *schema_problems("ledger", ledger_facts, tables.LEDGER_COLUMNS),
        *ledger_problems(listing, ledger, listed_before),
        *rejected_problems(ledger, rejected_facts, reasons, n_rejected_rows),
        *moments_problems(whole_ledger, parquet_facts.read_moments(lake, lake_layout.date_prefix(lake_layout.MOMENTS, ingest_date))),
    ]
    with ThreadPoolExecutor(_PARTITIONS_AT_ONCE) as pool:
        for found in pool.map(lambda item: _partition_problems(lake, ingest_date, item[0], item[1], pca), partitions.items()):
            problems += found
    featurised = sum(row.status == Status.FEATURISED for row in ledger)
    return CheckResult(
        ingest_dates=[ingest_date],
        images_in_ledger=len(ledger),
        featurised=featurised,
        rejected=len(ledger) - featurised,
        partitions=len(partitions),
        pca_version=pca.version if pca else None,
        problems=problems,
    )


def _rows_by_category(lake: Lake, ingest_date: str, ledger: Sequence[LedgerRow], categories: Sequence[str]) -> dict[str, list[LedgerRow]]:
    """The ledger's rows of each category; a category whose files are there without a ledger line is listed too, with no rows."""
    rows: defaultdict[str, list[LedgerRow]] = defaultdict(list)
    for row in ledger:
        rows[row.category].append(row)
    for stored in lake.list_objects(lake_layout.date_prefix(lake_layout.FEATURES, ingest_date)):
        category = lake_layout.partition_values(stored.key).get(tables.CATEGORY)
        if category is not None and stored.key.endswith(".parquet") and _chosen(category, categories):
            rows.setdefault(category, [])
    return dict(sorted(rows.items()))


def _partition_problems(lake: Lake, ingest_date: str, category: str, rows: Sequence[LedgerRow], pca: PcaFacts | None) -> list[str]:
    from fruit_pipeline.parquet_facts import read_vectors

    features = read_vectors(
        lake, lake_layout.partition_prefix(lake_layout.FEATURES, ingest_date, category), tables.VECTOR, tables.N_FEATURES
    )
    problems = features_problems(category, rows, features)
    if pca:
        prefix = lake_layout.projections_partition_prefix(pca.version, ingest_date, category)
        projections = read_vectors(lake, prefix, tables.COMPONENTS, pca.pointer_k)
        problems += projections_problems(category, rows, projections, pca.version, pca.pointer_k)
    return problems


def _read_pca(lake: Lake) -> PcaFacts | None:
    from fruit_pipeline.parquet_facts import read_pca  # numpy and pyarrow load with the task, not with the DAG file

    return read_pca(lake)


def _pca_problems(pca: PcaFacts | None, featurised: int) -> list[str]:
    if pca:
        return pca_problems(pca)
    return [f"There is no PCA version although {featurised:,} images have features."] if featurised >= _FEWEST_FOR_PCA else []


def _chosen(category: str, categories: Sequence[str]) -> bool:
    return not categories or category in categories
