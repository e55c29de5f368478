"""Checks what a PCA step says of images that no PCA can be fitted to. Its tasks run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.pca.step import RefreshRequest, refresh_pca
from tests.spark_jobs.lake_folder import RELEASE, jpeg
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process

if TYPE_CHECKING:
    from fruit_contract.summaries import RefreshSummary
    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"


@pytest.fixture(autouse=True)
def without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    deal_in_this_process(monkeypatch)


def extract(published: LakeFolder) -> None:
    extract_features(NoSpark(), ExtractionRequest(published.bucket, RELEASE, "run", (DAY,), (), "litert", task_slots=2))  # type: ignore[arg-type]


def refresh(published: LakeFolder) -> RefreshSummary:
    request = RefreshRequest(published.bucket, RELEASE, "run", PolicySettings(RefreshPolicy.AUTO, 0.95), task_slots=2)
    return refresh_pca(NoSpark, request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n_images", "reason"),
    [
        (1, "A PCA needs at least 2 images, there are 1, and there is no PCA version yet"),
        (2, "All 2 images have the same features: there is no variance to keep, and there is no PCA version yet"),
    ],
)
def test_says_in_one_sentence_why_there_is_no_pca(published: LakeFolder, n_images: int, reason: str) -> None:
    published.deliver(DAY, {f"Kiwi/{number}.jpg": jpeg(0) for number in range(n_images)})
    extract(published)

    summary = refresh(published)

    assert (summary["action"], summary["reason"]) == ("nothing", reason)


def test_of_a_single_image_no_share_of_the_variance_is_told(
    published: LakeFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    published.deliver(DAY, {f"Kiwi/{number}.jpg": jpeg(number) for number in range(4)})
    extract(published)
    version = refresh(published)["pca_version"]
    for number in range(1, 4):
        published.delete(f"{lake.raw_prefix(DAY)}Kiwi/{number}.jpg")
    extract(published)

    summary = refresh(published)

    assert (summary["action"], summary["pca_version"], summary["n_samples"]) == ("kept", version, 1)
    assert summary["retained_variance"] is None
    assert "A PCA needs at least 2 images, there are 1. k = " in capsys.readouterr().out
