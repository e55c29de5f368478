"""The features step against a real S3 API and real Spark; the network is a small one."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F  # noqa: N812

from fruit_contract import lake
from fruit_features import date_tables, features_writing
from fruit_features.date_tables import IncompleteWriteError
from fruit_features.embedding.artefact import find_embedder
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.step import BooksError, ExtractionRequest, check_books, extract_features
from fruit_features.lake import store as object_store
from fruit_features.packet_frames import compute_images, rows_of
from fruit_features.packets import read_stream
from fruit_features.spark.task_planning import plan_tasks
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_features.embedding.artefact import EmbedderArtefact

pytestmark = pytest.mark.spark
DAY = "2026-11-22"
ODD_CATEGORIES = ("Äpfel 50%", "007", "a=b", "C:'[x]*?", "Kiwi#1")


def extraction(published: LakeFolder, *dates: str, categories: tuple[str, ...] = ()) -> ExtractionRequest:
    return ExtractionRequest(published.bucket, RELEASE, "run-1", dates or (DAY,), categories, "onnxruntime")


def read(test_lake: LakeFolder, table: str) -> pd.DataFrame:
    """As a user reads it; empty if the table has no files."""
    folder = test_lake.folder / table
    return pd.read_parquet(folder) if any(folder.rglob("*.parquet")) else pd.DataFrame()


def files_of(*categories: str, images: int = 3) -> dict[str, bytes]:
    return {f"{category}/{index}.jpg": jpeg(hash_of(f"{category}/{index}")) for category in categories for index in range(images)}


def hash_of(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def test_writes_the_features_that_one_image_alone_would_have(spark, published: LakeFolder, small_network: bytes) -> None:
    files = files_of("Kiwi", "Apple Red 1")
    published.deliver(DAY, files)

    summary = extract_features(spark, extraction(published))

    features = read(published, "features").set_index("image_key")
    assert sorted(features.index) == sorted(lake.raw_prefix(DAY) + name for name in files)
    engine = load_engine("onnxruntime", small_network)
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
            "Kiwi/_temporary": b"x",
        },
    )

    summary = extract_features(spark, extraction(published))

    ledger = read(published, "ledger").set_index("image_key")
    prefix = f"raw/ingest_date={DAY}/Kiwi/"
    assert dict(ledger["status"].astype(str)) == {
        f"{prefix}good.jpg": "featurised",
        f"{prefix}deep/down.png": "featurised",
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

    assert len(list((published.folder / "features").rglob("*.parquet"))) == 131
    for table in ("ledger", "moments"):
        assert len(list((published.folder / table).rglob("*.parquet"))) == 1


def test_every_task_gets_its_own_images(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", images=300))
    listed = list(object_store.list_objects(published.bucket, lake.raw_prefix(DAY)))
    images = [entry for entry in listed if entry.key.endswith(".jpg")]
    embedder = find_embedder(published.bucket, RELEASE, "onnxruntime")

    packets = compute_images(spark, embedder, images).select(F.spark_partition_id(), "rows").collect()

    rows_by_task: Counter[int] = Counter()
    for task, rows in packets:
        rows_by_task[task] += len(read_stream(rows))
    assert sorted(rows_by_task.values()) == sorted(map(len, plan_tasks([image.size_bytes for image in images], 2)))


def test_a_partition_becomes_one_file(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon", "Plum", images=60))

    extract_features(spark, extraction(published))

    for category in ("Kiwi", "Lemon", "Plum"):
        assert len(list((published.folder / lake.partition_prefix("features", DAY, category)).glob("*.parquet"))) == 1


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
        for file in (published.folder / table).rglob("*.parquet"):
            file.unlink()
    extract_features(spark, extraction(published))

    assert summary["images_computed"] == 3
    assert summary["by_category"][DAY]["Lemon"]["removed"] == 3
    assert not (published.folder / lake.partition_prefix("features", DAY, "Lemon")).exists()
    for table, rows in incremental.items():
        assert rows == lines_of(published, table), table
    from_scratch = read(published, "moments").iloc[0]
    assert moments["n_samples"] == from_scratch["n_samples"] == 8
    np.testing.assert_allclose(moments["scatter"], from_scratch["scatter"], atol=1e-9 * np.abs(from_scratch["scatter"]).max())


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


def test_content_that_is_known_under_another_key_is_copied_and_not_computed(spark, published: LakeFolder) -> None:
    published.deliver("2026-11-20", {"Kiwi/1.jpg": jpeg(1), "Kiwi/2.jpg": jpeg(2)})
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, {"Lemon/again.jpg": jpeg(1), "Lemon/new.jpg": jpeg(3)})

    summary = extract_features(spark, extraction(published))

    books = summary["by_category"][DAY]["Lemon"]
    assert (books["listed"], books["new"], books["reused"], books["featurised"]) == (2, 1, 1, 2)
    assert summary["images_computed"] == 1
    features = read(published, "features").set_index("image_key")
    copied, source = features.loc[f"raw/ingest_date={DAY}/Lemon/again.jpg"], features.loc["raw/ingest_date=2026-11-20/Kiwi/1.jpg"]
    np.testing.assert_array_equal(copied["features"], source["features"])
    assert (copied["category"], copied["width"], copied["height"], copied["content_sha256"]) == ("Lemon", 60, 40, source["content_sha256"])
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
        after.loc[f"raw/ingest_date={DAY}/Lemon/moved.jpg", "features"], before.loc[f"raw/ingest_date={DAY}/Kiwi/1.jpg", "features"]
    )


def test_content_that_only_looks_known_is_computed(spark, published: LakeFolder) -> None:
    """Same ETag and size, other bytes: the hash of the content decides."""
    published.deliver("2026-11-20", {"Kiwi/1.jpg": jpeg(1)})
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, {"Kiwi/other.jpg": jpeg(2)})
    embedder = find_embedder(published.bucket, RELEASE, "onnxruntime")
    listed = list(object_store.list_objects(published.bucket, f"{lake.raw_prefix(DAY)}Kiwi/"))

    packets = compute_images(spark, embedder, listed, {listed[0].key: hashlib.sha256(jpeg(1)).hexdigest()})

    assert [row["reused"] for row in rows_of(packets).collect()] == [False]
    assert read_stream(packets.first()["features"])["image_key"].to_pylist() == [listed[0].key]


def test_rejected_images_are_looked_at_again_on_request(spark, published: LakeFolder) -> None:
    published.deliver(DAY, {"Kiwi/1.jpg": jpeg(1), "Kiwi/empty.jpg": b""})
    extract_features(spark, extraction(published))

    again = extract_features(spark, extraction(published))
    retried = extract_features(spark, replace(extraction(published), retry_rejected=True))

    assert (again["images_computed"], retried["images_computed"]) == (0, 1)
    assert retried["by_category"][DAY]["Kiwi"]["unchanged"] == 1
    assert len(read(published, "rejected")) == 1


def test_what_an_interrupted_run_left_half_written_is_mended_though_nothing_is_new(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published))
    before = read(published, "features").sort_values("image_key").reset_index(drop=True)
    shutil.rmtree(published.folder / f"features/ingest_date={DAY}/category=Kiwi")
    shutil.rmtree(published.folder / f"rejected/ingest_date={DAY}", ignore_errors=True)
    marker = {"run_id": "cut off", "categories": ["Kiwi"], "started_at": "2026-11-22T00:00:00+00:00"}
    object_store.write_json(published.bucket, lake.in_progress_key(DAY), marker)

    # A run that was asked for another category mends the date all the same.
    summary = extract_features(spark, extraction(published, categories=("Lemon",)))

    assert summary["images_computed"] == 3
    after = read(published, "features").sort_values("image_key").reset_index(drop=True)
    pd.testing.assert_frame_equal(after, before)
    assert not object_store.read_json_if_there(published.bucket, lake.in_progress_key(DAY))


def test_features_that_somebody_took_away_are_noticed_and_mended_by_the_next_run(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published))
    before = read(published, "features").sort_values("image_key").reset_index(drop=True)
    for file in (published.folder / lake.partition_prefix("features", DAY, "Lemon")).glob("*.parquet"):
        object_store.delete_object(published.bucket, str(file.relative_to(published.folder)))
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(99))

    with pytest.raises(
        IncompleteWriteError, match=f"those of {DAY} have 4 rows of {EMBEDDER_ID}, where its ledger would have 7 featurised images"
    ):
        extract_features(spark, extraction(published))
    extract_features(spark, extraction(published))

    after = read(published, "features").sort_values("image_key").reset_index(drop=True)
    pd.testing.assert_frame_equal(after[~after["image_key"].str.endswith("late.jpg")].reset_index(drop=True), before)
    assert len(after) == 7
    assert read(published, "moments")["n_samples"].to_list() == [7]


class CutOffError(Exception):
    """The run ends here."""


def cut_off_before_old_files_are_removed(monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> None:
    def cut_off(*_: object) -> None:
        raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(date_tables, "remove_other_files", cut_off)
        with pytest.raises(CutOffError):
            run()


@pytest.fixture(params=["before", "interrupted"])
def larger_write(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The write whose file is to be the larger one: Spark reads large files first, and of two rows of one image might take the first."""
    write_ids = iter(["before", "interrupted", "after"])
    monkeypatch.setattr(date_tables, "new_write_id", lambda: next(write_ids))
    return request.param


def enlarge(published: LakeFolder, write_id: str) -> None:
    for file in (published.folder / "features").rglob(f"*-{write_id}.parquet"):
        pq.write_table(pq.read_table(file, partitioning=None), file, compression="none", use_dictionary=False)


def test_an_image_that_was_put_back_after_an_interruption_has_its_own_features(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch, larger_write: str
) -> None:
    """Its old and its new row are there; the ledger's line is of the old one."""
    published.deliver(DAY, files_of("Kiwi"))
    extract_features(spark, extraction(published))
    before = read(published, "features").sort_values("image_key").reset_index(drop=True)
    key = f"{lake.raw_prefix(DAY)}Kiwi/0.jpg"
    published.put(key, jpeg(1))
    cut_off_before_old_files_are_removed(monkeypatch, lambda: extract_features(spark, extraction(published)))
    assert len(read(published, "features")) == 6
    enlarge(published, larger_write)
    published.put(key, files_of("Kiwi")["Kiwi/0.jpg"])

    extract_features(spark, extraction(published))

    pd.testing.assert_frame_equal(read(published, "features").sort_values("image_key").reset_index(drop=True), before)


def test_an_interrupted_run_of_another_embedder_leaves_none_of_its_features(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch, larger_write: str
) -> None:
    published.deliver(DAY, files_of("Kiwi"))
    extract_features(spark, extraction(published))
    before = read(published, "features").sort_values("image_key").reset_index(drop=True)

    def other_embedder(*arguments: str) -> EmbedderArtefact:
        return replace(find_embedder(*arguments), embedder_id="another")

    with monkeypatch.context() as patch:
        patch.setattr(extraction_step, "find_embedder", other_embedder)
        cut_off_before_old_files_are_removed(monkeypatch, lambda: extract_features(spark, extraction(published)))
    assert sorted(read(published, "features")["embedder_id"]) == ["another"] * 3 + [EMBEDDER_ID] * 3
    enlarge(published, larger_write)

    extract_features(spark, extraction(published))

    pd.testing.assert_frame_equal(read(published, "features").sort_values("image_key").reset_index(drop=True), before)


def test_a_large_partition_becomes_a_few_files(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    # The driver deals the packets, of up to 128 images.
    monkeypatch.setattr(features_writing, "ROWS_PER_FILE", 150)
    published.deliver(DAY, files_of("Kiwi", images=700) | files_of("Lemon", images=10))

    extract_features(spark, extraction(published))

    n_files = {
        category: len(list((published.folder / lake.partition_prefix("features", DAY, category)).glob("*.parquet")))
        for category in ("Kiwi", "Lemon")
    }
    assert n_files["Lemon"] == 1
    assert 2 <= n_files["Kiwi"] <= 5
    assert sorted(read(published, "features")["image_key"]) == sorted(read(published, "ledger")["image_key"])
    assert read(published, "moments")["n_samples"].to_list() == [710]


def test_what_is_written_twice_is_there_once(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a task or a stage is done again."""
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    write_parts = date_tables.write_parts

    def twice(*arguments: object) -> object:
        write_parts(*arguments)
        return write_parts(*arguments)

    monkeypatch.setattr(date_tables, "write_parts", twice)
    extract_features(spark, extraction(published))

    assert len(list((published.folder / "features").rglob("*.parquet"))) == 2
    assert len(read(published, "features")) == 6
    assert read(published, "moments")["n_samples"].to_list() == [6]


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


def lines_of(test_lake: LakeFolder, table: str) -> list[str]:
    rows = read(test_lake, table)
    return sorted(
        str({name: value.tolist() if isinstance(value, np.ndarray) else str(value) for name, value in row.items()})
        for row in rows.to_dict("records")
    )
