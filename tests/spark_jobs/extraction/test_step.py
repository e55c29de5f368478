"""Runs the features step against a real S3 API and real Spark; the network is a small one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fruit_contract import lake
from fruit_contract.summaries import ExtractionSummary
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.extraction.step import BooksError, check_books, extract_features
from tests.spark_jobs.extraction.steps import DAY, extraction, files_of, lines_of, read
from tests.spark_jobs.lake_folder import EMBEDDER_ID, LakeFolder, jpeg

pytestmark = pytest.mark.spark
ODD_CATEGORIES = ("Äpfel 50%", "007", "a=b", "C:'[x]*?", "Kiwi#1")


def test_writes_the_features_that_one_image_alone_would_have(
    spark, published: LakeFolder, small_network: bytes
) -> None:
    files = files_of("Kiwi", "Apple Red 1")
    published.deliver(DAY, files)

    summary = extract_features(spark, extraction(published))

    features = read(published, "features").set_index("image_key")
    assert sorted(features.index) == sorted(lake.raw_prefix(DAY) + name for name in files)
    engine = load_engine("litert", small_network)
    for name, content in files.items():
        row = features.loc[lake.raw_prefix(DAY) + name]
        decoded = decode_image(content)
        np.testing.assert_allclose(row["features"], engine.embed(network_input(decoded.pixels[None]))[0], atol=1e-5)
        assert row["features"].dtype == np.float32
        assert row["content_sha256"] == hashlib.sha256(content).hexdigest()
        assert (row["width"], row["height"], row["embedder_id"]) == (60, 40, EMBEDDER_ID)
        assert (row["ingest_date"], row["category"]) == (DAY, name.split("/")[0])
    assert summary["by_category"][DAY]["Kiwi"] == {
        "listed": 3, "new": 3, "unchanged": 0, "reused": 0, "removed": 0, "featurised": 3, "rejected": 0,
    }  # fmt: skip
    assert summary["images_computed"] == 6
    assert summary.keys() == ExtractionSummary.__required_keys__


def test_every_listed_image_has_one_ledger_line_and_rejects_say_why(spark, published: LakeFolder) -> None:
    whole = jpeg(1, width=200, height=200)
    published.deliver(
        DAY,
        {
            "Kiwi/good.jpg": whole,
            "Kiwi/cut.jpg": whole[: len(whole) // 2],
            "Kiwi/text.jpg": b"I am not an image",
            "Kiwi/empty.jpg": b"",
            "Kiwi/deep/down.png": jpeg(2),
            "Kiwi/.DS_Store": b"x",
            "Kiwi/_temporary/1.jpg": whole,
            "Kiwi/_DSC0001.JPG": jpeg(3),
            "tab\there/1.jpg": whole,
        },
    )

    summary = extract_features(spark, extraction(published))

    ledger = read(published, "ledger").set_index("image_key")
    prefix = f"raw/ingest_date={DAY}/Kiwi/"
    assert dict(ledger["status"].astype(str)) == {
        f"{prefix}good.jpg": "featurised",
        f"{prefix}deep/down.png": "featurised",
        f"{prefix}_DSC0001.JPG": "featurised",
        f"{prefix}cut.jpg": "rejected",
        f"{prefix}text.jpg": "rejected",
        f"{prefix}empty.jpg": "rejected",
    }
    assert ledger["reason"].dropna().to_dict() == {
        f"{prefix}cut.jpg": "truncated", f"{prefix}text.jpg": "not_an_image", f"{prefix}empty.jpg": "empty",
    }  # fmt: skip
    assert ledger.loc[f"{prefix}good.jpg", "etag"] == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert ledger.loc[f"{prefix}good.jpg", "size_bytes"] == len(whole)
    rejected = read(published, "rejected").set_index("image_key")
    assert dict(rejected["reason"]) == ledger["reason"].dropna().to_dict()
    assert "truncated" in rejected.loc[f"{prefix}cut.jpg", "detail"]
    assert summary["rejected_by_reason"] == {"truncated": 1, "not_an_image": 1, "empty": 1}
    assert {reject["image_key"] for reject in summary["rejects"]} == set(rejected.index)


def test_moments_are_those_of_the_features_written(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon", images=20))

    extract_features(spark, extraction(published))

    vectors = np.stack(read(published, "features")["features"].to_list()).astype(np.float64)
    moments = read(published, "moments").iloc[0]
    centred = vectors - vectors.mean(axis=0)
    assert moments["n_samples"] == 40
    np.testing.assert_allclose(moments["mean"], vectors.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        moments["scatter"], (centred.T @ centred)[np.triu_indices(1280)], atol=1e-9 * np.abs(centred.T @ centred).max()
    )


def test_category_names_survive_as_partitions_byte_for_byte(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of(*ODD_CATEGORIES, images=1))

    extract_features(spark, extraction(published))

    assert sorted(read(published, "ledger")["category"]) == sorted(ODD_CATEGORIES)
    features = read(published, "features")
    assert sorted(features["category"].astype(str)) == sorted(ODD_CATEGORIES)
    for category in ODD_CATEGORIES:
        assert (published.folder / lake.partition_prefix("features", DAY, category)).is_dir()


def test_a_day_of_many_categories_is_one_file_for_each(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of(*(f"Fruit {number}" for number in range(131)), images=2))

    extract_features(spark, extraction(published))

    # A category that two tasks had images of has two.
    assert 131 <= len(list((published.folder / "features").rglob("*.parquet"))) <= 131 + 8
    for table in ("ledger", "moments"):
        assert len(list((published.folder / table).rglob("*.parquet"))) == 1


def test_computes_nothing_again_that_the_ledger_knows(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon") | {"Lemon/empty.jpg": b""})
    extract_features(spark, extraction(published))
    before = read(published, "features")

    summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 0
    assert summary["by_category"][DAY]["Kiwi"]["unchanged"] == 3
    assert summary["by_category"][DAY]["Kiwi"]["featurised"] == 3
    assert (summary["rejected_by_reason"], summary["rejects"][0]["detail"]) == ({"empty": 1}, "the file has no bytes")
    pd.testing.assert_frame_equal(read(published, "features"), before)


def test_late_replaced_and_vanished_images_give_what_a_run_from_scratch_would(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon", "Plum"))
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/bad.jpg", b"bad")
    published.put(f"{lake.raw_prefix(DAY)}Plum/bad.jpg", b"bad")
    extract_features(spark, extraction(published))

    published.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(99))
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg", jpeg(98))
    published.put(f"{lake.raw_prefix(DAY)}Plum/bad.jpg", jpeg(97))
    for index in range(3):
        published.delete(f"{lake.raw_prefix(DAY)}Lemon/{index}.jpg")
    summary = extract_features(spark, extraction(published))
    incremental = {table: lines_of(published, table) for table in ("features", "rejected", "ledger")}
    moments = read(published, "moments").iloc[0]

    for table in ("features", "rejected", "ledger", "moments"):
        published.store.delete_below(f"{table}/")
    extract_features(spark, extraction(published))

    assert summary["images_computed"] == 3
    assert summary["by_category"][DAY]["Lemon"]["removed"] == 3
    assert not list((published.folder / lake.partition_prefix("features", DAY, "Lemon")).glob("*"))
    for table, rows in incremental.items():
        assert rows == lines_of(published, table), table
    from_scratch = read(published, "moments").iloc[0]
    assert moments["n_samples"] == from_scratch["n_samples"] == 8
    np.testing.assert_allclose(
        moments["scatter"], from_scratch["scatter"], atol=1e-9 * np.abs(from_scratch["scatter"]).max()
    )


def test_a_run_for_some_categories_leaves_the_others_alone(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published, categories=("Kiwi",)))
    assert set(read(published, "ledger")["category"]) == {"Kiwi"}

    summary = extract_features(spark, extraction(published, categories=("Lemon",)))

    assert set(summary["by_category"][DAY]) == {"Lemon"}
    assert sorted(read(published, "ledger")["category"]) == ["Kiwi"] * 3 + ["Lemon"] * 3
    assert len(read(published, "features")) == 6
    assert read(published, "moments")["n_samples"].to_list() == [6]


def test_a_folder_that_looks_like_a_date_does_not_change_whose_day_it_is(spark, published: LakeFolder) -> None:
    odd = f"{lake.raw_prefix(DAY)}Kiwi/ingest_date=2026-11-21/1.jpg"
    published.put(odd, jpeg(5))
    extract_features(spark, extraction(published))
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(6))

    extract_features(spark, extraction(published))

    assert len(read(published, "features")) == 2
    assert sorted(read(published, "features")["image_key"]) == sorted(read(published, "ledger")["image_key"])


def test_an_emptied_date_leaves_nothing_behind(spark, published: LakeFolder) -> None:
    published.deliver(DAY, {"Kiwi/0.jpg": jpeg(1), "Kiwi/1.jpg": b"bad"})
    extract_features(spark, extraction(published))
    published.delete(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg")
    published.delete(f"{lake.raw_prefix(DAY)}Kiwi/1.jpg")

    extract_features(spark, extraction(published))

    for table in ("features", "rejected", "moments", "ledger"):
        assert read(published, table).empty, table


def test_rejected_images_are_looked_at_again_on_request(spark, published: LakeFolder) -> None:
    published.deliver(DAY, {"Kiwi/1.jpg": jpeg(1), "Kiwi/empty.jpg": b""})
    extract_features(spark, extraction(published))

    again = extract_features(spark, extraction(published))
    retried = extract_features(spark, replace(extraction(published), retry_rejected=True))

    assert (again["images_computed"], retried["images_computed"]) == (0, 1)
    assert retried["by_category"][DAY]["Kiwi"]["unchanged"] == 1
    assert len(read(published, "rejected")) == 1


def test_books_that_do_not_balance_stop_the_step() -> None:
    sound = {"listed": 3, "new": 1, "unchanged": 1, "reused": 1, "removed": 9, "featurised": 2, "rejected": 1}
    check_books({DAY: {"Kiwi": sound}})
    for name in ("listed", "new", "featurised"):
        with pytest.raises(BooksError, match=f"'Kiwi' of {DAY} do not balance"):
            check_books({DAY: {"Kiwi": sound | {name: 7}}})


def test_several_dates_go_in_one_step(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi"))
    published.deliver("2026-11-23", files_of("Kiwi", "Lemon"))

    summary = extract_features(spark, extraction(published, DAY, "2026-11-23"))

    assert summary["images_computed"] == 9
    assert read(published, "ledger").groupby("ingest_date", observed=True).size().to_dict() == {DAY: 3, "2026-11-23": 6}
    assert sorted(read(published, "moments")["n_samples"]) == [3, 6]
