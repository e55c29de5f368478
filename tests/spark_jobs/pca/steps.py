"""Holds what the tests of the PCA step share: both steps over a test's lake, and the images that have features and
projections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from fruit_contract import lake
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.pca.step import RefreshRequest, refresh_pca
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from fruit_contract.summaries import RefreshSummary


def extract(spark, published: LakeFolder, *days: str, release: str = RELEASE) -> None:
    extract_features(spark, ExtractionRequest(published.bucket, release, "run-1", days, (), "litert"))


def refresh(
    spark,
    published: LakeFolder,
    policy: RefreshPolicy = RefreshPolicy.ALWAYS,
    target: float = 0.95,
    dates: tuple[str, ...] = (),
    keep_versions: int = 3,
    release: str = RELEASE,
    **more: Any,
) -> RefreshSummary:
    settings = PolicySettings(policy, target)
    request = RefreshRequest(
        published.bucket, release, "run-1", settings, dates, keep_versions, grace_seconds=more.pop("grace", 0), **more
    )
    return refresh_pca(lambda: spark, request)


def projected(published: LakeFolder, version: str) -> list[str]:
    folder = published.folder / lake.projections_prefix(version)
    return sorted(key for file in folder.rglob("*.parquet") for key in pd.read_parquet(file)["image_key"])


def featurised(published: LakeFolder, embedder_id: str = EMBEDDER_ID) -> list[str]:
    features = pd.read_parquet(published.folder / "features")
    return sorted(features[features["embedder_id"] == embedder_id]["image_key"])


def deliver(published: LakeFolder, day: str, n_images: int, *categories: str) -> None:
    published.deliver(
        day,
        {
            f"{category}/{index}.jpg": jpeg(hash((day, category, index)) % 2**32)
            for category in categories
            for index in range(n_images)
        },
    )
