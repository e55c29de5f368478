"""Checks that the features step copies what is featurised already; against a real S3 API and real Spark."""

from __future__ import annotations

import numpy as np
import pytest

from fruit_contract import lake
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.extraction import known_contents
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.step import extract_features
from tests.spark_jobs.extraction.steps import DAY, extraction, files_of, read
from tests.spark_jobs.lake_folder import LakeFolder, jpeg

pytestmark = pytest.mark.spark


def test_content_that_is_known_under_another_key_is_copied_and_not_computed(spark, published: LakeFolder) -> None:
    published.deliver("2026-11-20", {"Kiwi/1.jpg": jpeg(1), "Kiwi/2.jpg": jpeg(2)})
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, {"Lemon/again.jpg": jpeg(1), "Lemon/new.jpg": jpeg(3)})

    summary = extract_features(spark, extraction(published))

    books = summary["by_category"][DAY]["Lemon"]
    assert (books["listed"], books["new"], books["reused"], books["featurised"]) == (2, 1, 1, 2)
    assert summary["images_computed"] == 1
    features = read(published, "features").set_index("image_key")
    copied, source = (
        features.loc[f"raw/ingest_date={DAY}/Lemon/again.jpg"],
        features.loc["raw/ingest_date=2026-11-20/Kiwi/1.jpg"],
    )
    np.testing.assert_array_equal(copied["features"], source["features"])
    assert (copied["category"], copied["width"], copied["height"], copied["content_sha256"]) == (
        "Lemon",
        60,
        40,
        source["content_sha256"],
    )
    assert int(read(published, "moments").set_index("ingest_date").loc[DAY, "n_samples"]) == 2


def test_a_renamed_image_keeps_its_features(spark, published: LakeFolder) -> None:
    published.deliver(DAY, {"Kiwi/1.jpg": jpeg(1), "Kiwi/2.jpg": jpeg(2)})
    extract_features(spark, extraction(published))
    before = read(published, "features").set_index("image_key")
    published.delete(f"raw/ingest_date={DAY}/Kiwi/1.jpg")
    published.deliver(DAY, {"Lemon/moved.jpg": jpeg(1)})

    summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 0
    after = read(published, "features").set_index("image_key")
    assert sorted(after.index) == [f"raw/ingest_date={DAY}/Kiwi/2.jpg", f"raw/ingest_date={DAY}/Lemon/moved.jpg"]
    np.testing.assert_array_equal(
        after.loc[f"raw/ingest_date={DAY}/Lemon/moved.jpg", "features"],
        before.loc[f"raw/ingest_date={DAY}/Kiwi/1.jpg", "features"],
    )


def test_content_that_only_looks_known_is_computed(
    spark, published: LakeFolder, small_network: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same ETag and size, other bytes: the hash of the content decides."""
    published.deliver("2026-11-20", {"Kiwi/1.jpg": jpeg(1)})
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, {"Kiwi/other.jpg": jpeg(2)})
    source = read(published, "ledger")["file"][0]
    monkeypatch.setattr(
        extraction_step, "find_sources", lambda _store, _embedder_id, images: [source] * images.num_rows
    )

    summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 1
    vector = read(published, "features").set_index("image_key").loc[f"{lake.raw_prefix(DAY)}Kiwi/other.jpg", "features"]
    expected = load_engine("litert", small_network).embed(network_input(decode_image(jpeg(2)).pixels[None]))[0]
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_known_content_whose_file_is_gone_is_computed(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.deliver(DAY, {"Kiwi/1.jpg": jpeg(1)})
    gone = f"{lake.partition_prefix('features', '2026-11-20', 'Kiwi')}gone.parquet"
    monkeypatch.setattr(extraction_step, "find_sources", lambda _store, _embedder_id, images: [gone] * images.num_rows)

    assert extract_features(spark, extraction(published))["images_computed"] == 1


def test_of_very_many_known_contents_some_are_computed(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of("Kiwi", images=5)
    published.deliver("2026-11-20", files)
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, files)
    monkeypatch.setattr(known_contents, "MOST_LOOKED_UP", 2)

    summary = extract_features(spark, extraction(published))

    books = summary["by_category"][DAY]["Kiwi"]
    assert (books["reused"], books["new"], books["featurised"]) == (2, 3, 5)
