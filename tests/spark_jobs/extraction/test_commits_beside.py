"""What a date's commit finds damaged, and what other runs do beside it; against a real S3 API, without a Spark session."""

from __future__ import annotations

from typing import Any

import pytest

from fruit_contract import lake
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.commit import read_ledger
from fruit_features.moments.store import find_moments
from tests.spark_jobs.extraction.steps import DAY, files_of
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process
from tests.spark_jobs.written_dates import damage

NO_SPARK: Any = NoSpark()


@pytest.fixture
def filled(published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> LakeFolder:
    deal_in_this_process(monkeypatch)
    published.deliver(DAY, files_of("Kiwi", images=4))
    extract(published)
    return published


def extract(filled: LakeFolder, *days: str) -> None:
    extract_features(NO_SPARK, ExtractionRequest(filled.bucket, RELEASE, "run", days or (DAY,), (), "litert", task_slots=2))


def deliver_one_more(filled: LakeFolder) -> None:
    filled.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(99))


def test_moments_that_are_damaged_are_added_up_anew(filled: LakeFolder) -> None:
    damage(filled.store, read_ledger(filled.store, DAY).commit.embedders[EMBEDDER_ID].moments.key)
    deliver_one_more(filled)

    extract(filled)

    found = read_ledger(filled.store, DAY).commit.embedders[EMBEDDER_ID]
    assert (found.n_images, found.moments.n_samples) == (5, 5)
    assert find_moments(filled.store, found.moments.key).n_samples == 5
    assert len(list((filled.folder / "moments").rglob("*.parquet"))) == 1
