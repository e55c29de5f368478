"""Reads what a run left in the lake as any data scientist would, from plain Parquet and JSON files, and checks whether
its books balance.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fruit_contract import lake
from fruit_contract.release import EXTRACT_FEATURES_STEP, REFRESH_PCA_STEP
from fruit_contract.tables import CATEGORY, IMAGE_KEY, N_FEATURES, REASON, STATUS, VECTOR, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class DateResult:
    """Describes an ingest date after its run. `rejects` has the reason by image key; `cluster_minutes` is None if no
    cluster was started.
    """

    ingest_date: str
    run_id: str
    listed: int
    featurised: int
    rejects: Mapping[str, str]
    k: int | None
    variance_kept: float | None
    target_reached: bool
    images_per_second: float | None
    cluster_minutes: float | None
    problems: tuple[str, ...]

    @property
    def rejected(self) -> int:
        return len(self.rejects)


def read_result(
    lake_folder: Path, ingest_date: str, run_id: str, delivered: Collection[str], cluster_minutes: float | None
) -> DateResult:
    """Returns what a date's ledger, features and step summaries say. `delivered` are the image keys that should be in
    them.
    """
    import pandas as pd

    ledger = pd.read_parquet(lake_folder / lake.date_prefix(lake.LEDGER, ingest_date))
    rejects = ledger[ledger[STATUS] == Status.REJECTED]
    extract = _read_json(lake_folder / lake.step_summary_key(run_id, EXTRACT_FEATURES_STEP))
    refresh = _read_json(lake_folder / lake.step_summary_key(run_id, REFRESH_PCA_STEP))
    n_featurised = int((ledger[STATUS] == Status.FEATURISED).sum())
    return DateResult(
        ingest_date=ingest_date,
        run_id=run_id,
        listed=len(ledger),
        featurised=n_featurised,
        rejects=dict(zip(rejects[IMAGE_KEY], rejects[REASON], strict=True)),
        k=refresh.get("k"),
        variance_kept=refresh.get("variance_kept"),
        target_reached=bool(refresh.get("target_reached")),
        images_per_second=extract.get("images_per_second"),
        cluster_minutes=cluster_minutes,
        problems=tuple(
            book_problems(list(ledger[IMAGE_KEY]), n_featurised, len(rejects), delivered)
            + _feature_problems(lake_folder, ingest_date, n_featurised)
        ),
    )


def book_problems(ledger_keys: Sequence[str], featurised: int, rejected: int, delivered: Collection[str]) -> list[str]:
    """Returns what doesn't balance, in sentences. Every delivered image has exactly one row, and is either featurised
    or rejected.
    """
    problems = []
    unique = set(ledger_keys)
    if len(unique) != len(ledger_keys):
        problems.append(f"{len(ledger_keys) - len(unique)} images stand in the ledger twice")
    missing, strange = sorted(set(delivered) - unique), sorted(unique - set(delivered))
    if missing:
        problems.append(f"{len(missing)} delivered images are not in the ledger, the first is {missing[0]}")
    if strange:
        problems.append(f"{len(strange)} images of the ledger were never delivered, the first is {strange[0]}")
    if featurised + rejected != len(ledger_keys):
        problems.append(f"{len(ledger_keys)} listed is not {featurised} featurised + {rejected} rejected")
    return problems


def cluster_minutes_of(emr: Any, cluster_id: str) -> float | None:
    """Returns the minutes from the request for the cluster to its end, as EMR says; None while it has not ended."""
    timeline = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["Timeline"]
    if "EndDateTime" not in timeline:
        return None
    return float((timeline["EndDateTime"] - timeline["CreationDateTime"]).total_seconds() / 60)


def report_files(lake_folder: Path, ingest_date: str) -> list[Path]:
    """Returns the paths of the report's page, then of its plots."""
    folder = lake_folder / lake.report_prefix(ingest_date)
    return [*sorted(folder.glob("*.html")), *sorted(folder.glob("*.png"))]


def _feature_problems(lake_folder: Path, ingest_date: str, featurised: int) -> list[str]:
    """Returns what is wrong with the feature table, in sentences. It holds each featurised image once, with a whole
    vector.
    """
    import pandas as pd

    folder = lake_folder / lake.date_prefix(lake.FEATURES, ingest_date)
    if not featurised and not folder.exists():
        return []
    features = pd.read_parquet(folder, columns=[IMAGE_KEY, VECTOR, CATEGORY])
    problems = []
    if len(features) != featurised or features[IMAGE_KEY].nunique() != featurised:
        problems.append(
            f"{len(features)} rows of features ({features[IMAGE_KEY].nunique()} images) for {featurised} featurised "
            "images"
        )
    if len(features) and set(features[VECTOR].map(len)) != {N_FEATURES}:
        problems.append(f"feature vectors that are not {N_FEATURES} long")
    return problems


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
