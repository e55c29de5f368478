"""The features step against a real S3 API and real Spark; the network is a small one."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruit_contract import lake, tables
from fruit_contract.commit import METADATA_KEY, commit_from_json, images_digest
from fruit_features.embedding.artefact import find_embedder
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image, network_input
from fruit_features.extraction import committing, known_contents, rewriting
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.committing import FeaturesDifferError
from fruit_features.extraction.rejects import UnusualRejectsError
from fruit_features.extraction.step import BooksError, ExtractionRequest, check_books, extract_features
from fruit_features.extraction.task import FeaturesTask
from fruit_features.lake.commit import list_ledgers, read_commits, read_ledger
from fruit_features.lake.store import LostPlaceError, Store
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_content_that_only_looks_known_is_computed(
    spark, published: LakeFolder, small_network: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same ETag and size, other bytes: the hash of the content decides."""
    published.deliver("2026-11-20", {"Kiwi/1.jpg": jpeg(1)})
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, {"Kiwi/other.jpg": jpeg(2)})
    source = read(published, "ledger")["file"][0]
    monkeypatch.setattr(extraction_step, "find_sources", lambda _store, _embedder_id, images: [source] * images.num_rows)

    summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 1
    vector = read(published, "features").set_index("image_key").loc[f"{lake.raw_prefix(DAY)}Kiwi/other.jpg", "features"]
    expected = load_engine("onnxruntime", small_network).embed(network_input(decode_image(jpeg(2)).pixels[None]))[0]
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_known_content_whose_file_is_gone_is_computed(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    published.deliver(DAY, {"Kiwi/1.jpg": jpeg(1)})
    gone = f"{lake.partition_prefix('features', '2026-11-20', 'Kiwi')}gone.parquet"
    monkeypatch.setattr(extraction_step, "find_sources", lambda _store, _embedder_id, images: [gone] * images.num_rows)

    assert extract_features(spark, extraction(published))["images_computed"] == 1


def test_of_very_many_known_contents_some_are_computed(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of("Kiwi", images=5)
    published.deliver("2026-11-20", files)
    extract_features(spark, extraction(published, "2026-11-20"))
    published.deliver(DAY, files)
    monkeypatch.setattr(known_contents, "MOST_LOOKED_UP", 2)

    summary = extract_features(spark, extraction(published))

    books = summary["by_category"][DAY]["Kiwi"]
    assert (books["reused"], books["new"], books["featurised"]) == (2, 3, 5)


def test_rejected_images_are_looked_at_again_on_request(spark, published: LakeFolder) -> None:
    published.deliver(DAY, {"Kiwi/1.jpg": jpeg(1), "Kiwi/empty.jpg": b""})
    extract_features(spark, extraction(published))

    again = extract_features(spark, extraction(published))
    retried = extract_features(spark, replace(extraction(published), retry_rejected=True))

    assert (again["images_computed"], retried["images_computed"]) == (0, 1)
    assert retried["by_category"][DAY]["Kiwi"]["unchanged"] == 1
    assert len(read(published, "rejected")) == 1


def test_a_date_is_one_commit_that_names_its_files(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon") | {"Lemon/empty.jpg": b""})

    extract_features(spark, extraction(published))

    table = pq.read_table(published.folder / lake.ledger_key(DAY), partitioning=None)
    assert table.column_names == list(tables.LEDGER_COLUMNS)
    keys = table.column("image_key").to_pylist()
    assert keys == sorted(keys)
    commit = commit_from_json(pq.read_metadata(published.folder / lake.ledger_key(DAY)).metadata[METADATA_KEY.encode()].decode())
    assert (commit.ingest_date, commit.n_images, commit.n_rejected) == (DAY, 7, 1)
    there = {str(path.relative_to(published.folder)) for path in (published.folder / "features").rglob("*.parquet")}
    assert commit.features_keys() == there == set(table.column("file").drop_null().to_pylist())
    assert [path.name for path in (published.folder / f"rejected/ingest_date={DAY}").iterdir()] == [f"{commit.write}.parquet"]
    found = commit.embedders[EMBEDDER_ID]
    assert found.n_images == found.n_rows == found.moments.n_samples == 6
    contents = [(row["image_key"], row["content_sha256"]) for row in table.to_pylist() if row["status"] == "featurised"]
    assert int(found.moments.images_digest, 16) == images_digest(contents)
    assert read_commits(Store(published.bucket), list_ledgers(Store(published.bucket)).committed)[DAY][0] == commit


def test_an_image_added_to_a_date_is_one_more_file_and_touches_no_other(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon", images=20))
    extract_features(spark, extraction(published))
    before = {path: path.stat().st_mtime_ns for path in (published.folder / "features").rglob("*.parquet")}
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(99))

    extract_features(spark, extraction(published))

    after = {path: path.stat().st_mtime_ns for path in (published.folder / "features").rglob("*.parquet")}
    new = after.keys() - before.keys()
    assert len(new) == 1
    assert pq.read_metadata(next(iter(new))).num_rows == 1
    assert before == {path: after[path] for path in before}
    assert read(published, "moments")["n_samples"].to_list() == [41]


def test_an_image_that_leaves_takes_only_its_own_file_with_it(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published))
    lemon = set((published.folder / lake.partition_prefix("features", DAY, "Lemon")).iterdir())
    published.delete(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg")

    extract_features(spark, extraction(published))

    assert set((published.folder / lake.partition_prefix("features", DAY, "Lemon")).iterdir()) == lemon
    assert sorted(read(published, "features")["image_key"]) == sorted(read(published, "ledger")["image_key"])
    assert len(read(published, "features")) == 5


def test_small_files_of_a_partition_become_one_when_there_are_too_many(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "MOST_SMALL_FILES", 3)
    for number in range(4):
        published.put(f"{lake.raw_prefix(DAY)}Kiwi/{number}.jpg", jpeg(number))
        extract_features(spark, extraction(published))
    # The last of them is merged before it is committed, while another image is replaced.
    assert len(list((published.folder / "features").rglob("*.parquet"))) == 1
    published.put(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg", jpeg(100))

    extract_features(spark, extraction(published))

    features = read(published, "features")
    assert sorted(features["image_key"]) == sorted(read(published, "ledger")["image_key"])
    assert hashlib.sha256(jpeg(100)).hexdigest() in set(features["content_sha256"])
    assert len(features) == 4


def test_features_that_somebody_took_away_are_computed_again(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    extract_features(spark, extraction(published))
    before = read(published, "features").sort_values("image_key").reset_index(drop=True)
    for file in (published.folder / lake.partition_prefix("features", DAY, "Lemon")).glob("*.parquet"):
        published.delete(str(file.relative_to(published.folder)))

    # Of the chosen category alone, the others are then not in the ledger; a run of all of them computes them.
    extract_features(spark, extraction(published, categories=("Kiwi",)))
    assert sorted(read(published, "features")["image_key"]) == sorted(read(published, "ledger")["image_key"])
    summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 3
    pd.testing.assert_frame_equal(read(published, "features").sort_values("image_key").reset_index(drop=True), before)
    assert read(published, "moments")["n_samples"].to_list() == [6]


@pytest.mark.parametrize("what", ["moments", "rejected"])
def test_what_follows_from_the_ledger_comes_back_when_it_is_lost(spark, published: LakeFolder, what: str) -> None:
    published.deliver(DAY, files_of("Kiwi") | {"Kiwi/empty.jpg": b""})
    extract_features(spark, extraction(published))
    before = read(published, what)
    for file in list((published.folder / what).rglob("*.parquet")):
        published.delete(str(file.relative_to(published.folder)))

    summary = extract_features(spark, extraction(published))

    assert summary["images_computed"] == 0
    assert str(read(published, what).to_dict()) == str(before.to_dict())


def test_features_that_somebody_changed_are_not_committed_and_named(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi"))
    extract_features(spark, extraction(published))
    (file,) = (published.folder / "features").rglob("*.parquet")
    rows = pq.read_table(file, partitioning=None)
    changed = rows.set_column(1, "content_sha256", pa.array(["0" * 64] * 3))
    pq.write_table(changed, file)
    published.delete(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg")

    with pytest.raises(FeaturesDifferError, match=f"1 files differ: features/ingest_date={DAY}/category=Kiwi/"):
        extract_features(spark, extraction(published))
    assert len(read(published, "ledger")) == 3
    published.delete(str(file.relative_to(published.folder)))
    extract_features(spark, extraction(published))

    assert sorted(read(published, "features")["content_sha256"]) == sorted(read(published, "ledger")["content_sha256"])


def test_garbage_of_a_run_that_died_is_swept_by_the_next_one(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi"))
    extract_features(spark, extraction(published))
    rows = read(published, "features")
    (file,) = (published.folder / "features").rglob("*.parquet")
    before = read_ledger(Store(published.bucket), DAY)
    garbage = (
        f"{lake.partition_prefix('features', DAY, 'Kiwi')}dead-000001.parquet",
        lake.moments_key(DAY, "dead", EMBEDDER_ID),
        f"{lake.moments_parts_prefix(DAY)}dead-000001.bin",
        lake.rejected_key(DAY, "dead"),
        f"{lake.projections_date_prefix('v1', DAY)}category=Kiwi/dead-000001.parquet",
    )
    for key in garbage:
        published.put(key, file.read_bytes())

    summary = extract_features(spark, extraction(published))

    assert not [key for key in garbage if (published.folder / key).exists()]
    assert summary["images_computed"] == 0
    pd.testing.assert_frame_equal(read(published, "features"), rows)
    # What a writer that only seemed dead may still commit on the old one would name files that are gone: it finds another.
    assert read_ledger(Store(published.bucket), DAY).etag != before.etag


def test_a_writer_that_lost_its_place_overwrites_nothing(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    published.deliver(DAY, files_of("Kiwi"))
    put_ledger = committing.put_ledger

    def late(store: Any, before: Any, rows: Any, commit: Any) -> Any:
        # Another run commits the date first.
        monkeypatch.setattr(committing, "put_ledger", put_ledger)
        published.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(5))
        extract_features(spark, extraction(published))
        return put_ledger(store, before, rows, commit)

    monkeypatch.setattr(committing, "put_ledger", late)
    with pytest.raises(LostPlaceError, match="another writer"):
        extract_features(spark, extraction(published))

    assert len(read(published, "ledger")) == 4
    assert set(read(published, "ledger")["file"]) <= {
        str(path.relative_to(published.folder)) for path in (published.folder / "features").rglob("*.parquet")
    }


class TwiceTask(FeaturesTask):
    def __call__(self, images: bytes, attempt: int) -> Any:
        super().__call__(images, 10**6 + attempt)
        return super().__call__(images, attempt)


def test_a_failed_attempt_leaves_no_row(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a task is done again, or twice at once: each attempt has files of its own."""
    published.deliver(DAY, files_of("Kiwi", "Lemon"))
    monkeypatch.setattr(extraction_step, "FeaturesTask", TwiceTask)
    extract_features(spark, extraction(published))

    assert len(read(published, "features")) == 6
    assert read(published, "moments")["n_samples"].to_list() == [6]
    assert not list((published.folder / "moments/_parts").rglob("*.bin"))


class FailingTask(FeaturesTask):
    """As when the store refuses an object again and again."""

    def __call__(self, images: bytes, attempt: int) -> Any:
        account = super().__call__(images, attempt)
        if any("Lemon" in key for key in account.table().column("image_key").to_pylist()):
            raise PermissionError("the store refuses Lemon/1.jpg")
        return account


def test_what_was_done_before_a_step_failed_is_not_done_again(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    published.deliver(DAY, files_of("Kiwi", images=300))
    published.deliver("2026-11-23", files_of("Lemon", images=3))
    with monkeypatch.context() as patch:
        patch.setattr(extraction_step, "FeaturesTask", FailingTask)
        with pytest.raises(Exception, match="the store refuses Lemon"):
            extract_features(spark, extraction(published, DAY, "2026-11-23"))

    summary = extract_features(spark, extraction(published, DAY, "2026-11-23"))

    assert summary["images_computed"] < 303
    assert len(read(published, "ledger")) == 303


def test_a_long_step_commits_as_it_goes(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    published.deliver(DAY, files_of("Kiwi", images=600))
    extract_features(spark, replace(extraction(published), categories=("Nothing",)))
    commits = []
    put_ledger = committing.put_ledger

    def putting(store: Any, before: Any, rows: Any, commit: Any) -> Any:
        commits.append(rows.num_rows)
        return put_ledger(store, before, rows, commit)

    monkeypatch.setattr(committing, "put_ledger", putting)
    extract_features(spark, replace(extraction(published), commit_every_seconds=0.0))

    assert len(commits) > 1
    assert commits == sorted(commits)
    assert commits[-1] == 600
    ledger = read_ledger(Store(published.bucket), DAY)
    assert ledger.commit.embedders[EMBEDDER_ID].moments.n_samples == 600
    assert sorted(read(published, "features")["image_key"]) == ledger.rows.column("image_key").to_pylist()
    assert len(list((published.folder / "moments").rglob("*"))) == 2


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
    after = after[~after["image_key"].str.endswith(("Kiwi/0.jpg", "late.jpg"))].sort_values("image_key").reset_index(drop=True)
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


@contextmanager
def another_embedder() -> Iterator[None]:
    """As a release of other weights: it computes the same, under another name."""

    def find(*arguments: Any) -> EmbedderArtefact:
        return replace(find_embedder(*arguments), embedder_id="another")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction_step, "find_embedder", find)
        yield


class BrokenDecoderTask(FeaturesTask):
    """Runs in a worker, where nothing can be patched from here."""

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
        pytest.raises(UnusualRejectsError, match=r"6 of 6 images whose content had features before were rejected as 'unreadable'"),
    ):
        extract_features(spark, extraction(published))
    pd.testing.assert_frame_equal(read(published, "ledger"), before)
    with another_embedder():
        extract_features(spark, replace(extraction(published), accept_rejects=True))

    assert set(read(published, "ledger")["status"]) == {"rejected"}


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
    """The rows of a table, but for the names of files, which no two writes have in common."""
    rows = read(test_lake, table).drop(columns=tables.FILE, errors="ignore")
    return sorted(
        str({name: value.tolist() if isinstance(value, np.ndarray) else str(value) for name, value in row.items()})
        for row in rows.to_dict("records")
    )
