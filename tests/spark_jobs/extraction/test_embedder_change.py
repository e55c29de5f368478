"""Checks the features step under a release of other weights, and back; against a real S3 API and real Spark."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from fruit_contract import lake, tables
from fruit_features.embedding.preprocessing import UnreadableImageError
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.rejects import UnusualRejectsError
from fruit_features.extraction.step import extract_features
from fruit_features.extraction.task import FeaturesTask
from tests.spark_jobs.extraction.steps import DAY, another_embedder, extraction, files_of, read
from tests.spark_jobs.lake_folder import EMBEDDER_ID, LakeFolder, jpeg

pytestmark = pytest.mark.spark


def test_another_embedder_keeps_the_features_that_a_pca_version_needs(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published))
    published.put(f"{lake.projections_prefix('v1')}ingest_date=2026-01-01/category=x/x.parquet", b"x")
    published.put(lake.pca_provenance_key("v1"), json.dumps({"embedder_id": EMBEDDER_ID}).encode())
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg", jpeg(77))
    published.delete(f"{lake.raw_prefix(DAY)}Lemon/0.jpg")

    with another_embedder():
        summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 5
    ledger = read(published, "ledger")
    assert set(ledger["embedder_id"]) == {"another"}
    features = read(published, "features")
    # Neither what was replaced nor what is gone has its old features left.
    assert sorted(features[features["embedder_id"] == EMBEDDER_ID]["image_key"]) == sorted(
        f"{lake.raw_prefix(DAY)}{name}" for name in ("Kiwi/1.jpg", "Kiwi/2.jpg", "Lemon/1.jpg", "Lemon/2.jpg")
    )
    assert sorted(features[features["embedder_id"] == "another"]["image_key"]) == sorted(ledger["image_key"])
    moments = read(published, "moments").set_index("embedder_id")["n_samples"].to_dict()
    assert moments == {EMBEDDER_ID: 4, "another": 5}
    # An image that vanishes later leaves both.
    published.delete(f"{lake.raw_prefix(DAY)}Lemon/1.jpg")
    with another_embedder():
        extract_features(spark, extraction(published))
    assert not [key for key in read(published, "features")["image_key"] if key.endswith("Lemon/1.jpg")]
    assert read(published, "moments").set_index("embedder_id")["n_samples"].to_dict() == {EMBEDDER_ID: 3, "another": 4}


def test_a_release_that_is_rolled_back_finds_its_features_again(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon") | {"Lemon/empty.jpg": b""})
    extract_features(spark, extraction(published))
    before = read(published, "features").sort_values("image_key").reset_index(drop=True)
    published.put(f"{lake.projections_prefix('v1')}ingest_date=2026-01-01/category=x/x.parquet", b"x")
    published.put(lake.pca_provenance_key("v1"), json.dumps({"embedder_id": EMBEDDER_ID}).encode())
    with another_embedder():
        extract_features(spark, extraction(published))
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg", jpeg(77))
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(78))

    summary = extract_features(spark, extraction(published))

    # What was replaced meanwhile, what is new, and what has no features are looked at; the rest has its own again.
    assert summary["images_computed"] == 3
    after = read(published, "features")
    assert set(after["embedder_id"]) == {EMBEDDER_ID}
    after = (
        after[~after["image_key"].str.endswith(("Kiwi/0.jpg", "late.jpg"))]
        .sort_values("image_key")
        .reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(after, before[~before["image_key"].str.endswith("Kiwi/0.jpg")].reset_index(drop=True))
    assert sorted(read(published, "features")["image_key"]) == sorted(
        read(published, "ledger").query("status == 'featurised'")["image_key"]
    )
    assert read(published, "moments")["n_samples"].to_list() == [7]


def test_without_a_pca_version_the_features_of_an_embedder_that_is_gone_go_too(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi"))
    extract_features(spark, extraction(published))

    with another_embedder():
        extract_features(spark, extraction(published))

    assert set(read(published, "features")["embedder_id"]) == {"another"}
    assert len(read(published, "features")) == 3


class BrokenDecoderTask(FeaturesTask):
    """Has a decoder that fails. The task patches it itself, because a test can patch nothing in a worker."""

    def __call__(self, images: bytes, attempt: int) -> Any:
        from fruit_features.embedding import isolation

        def refuse(image: Any) -> Any:
            raise UnreadableImageError(tables.RejectReason.UNREADABLE, "the decoder's library does not fit")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(isolation, "decode_encoded", refuse)
            return super().__call__(images, attempt)


def test_a_decoder_that_rejects_what_it_decoded_before_is_stopped_before_anything_is_committed(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published))
    before = read(published, "ledger")
    monkeypatch.setattr(extraction_step, "FeaturesTask", BrokenDecoderTask)

    with (
        another_embedder(),
        pytest.raises(
            UnusualRejectsError, match=r"6 of 6 images whose content had features before were rejected as 'unreadable'"
        ),
    ):
        extract_features(spark, extraction(published))
    pd.testing.assert_frame_equal(read(published, "ledger"), before)
    with another_embedder():
        extract_features(spark, replace(extraction(published), accept_rejects=True))

    assert set(read(published, "ledger")["status"]) == {"rejected"}
