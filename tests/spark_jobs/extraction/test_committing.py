"""Checks what the features step commits, a date at a time; against a real S3 API and real Spark."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruit_contract import lake, tables
from fruit_contract.commit import METADATA_KEY, commit_from_json, images_digest
from fruit_features.extraction import committing, rewriting
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.committing import FeaturesDifferError
from fruit_features.extraction.step import extract_features
from fruit_features.extraction.task import FeaturesTask
from fruit_features.lake.commit import list_ledgers, put_ledger, read_commits, read_ledger
from fruit_features.lake.store import LostPlaceError, Store
from tests.spark_jobs.extraction.steps import DAY, extraction, files_of, read
from tests.spark_jobs.lake_folder import EMBEDDER_ID, LakeFolder, jpeg

pytestmark = pytest.mark.spark


def test_a_date_is_one_commit_that_names_its_files(spark, published: LakeFolder) -> None:
    published.deliver(DAY, files_of("Kiwi", "Lemon") | {"Lemon/empty.jpg": b""})

    extract_features(spark, extraction(published))

    table = pq.read_table(published.folder / lake.ledger_key(DAY), partitioning=None)
    assert table.column_names == list(tables.LEDGER_COLUMNS)
    keys = table.column("image_key").to_pylist()
    assert keys == sorted(keys)
    commit = commit_from_json(
        pq.read_metadata(published.folder / lake.ledger_key(DAY)).metadata[METADATA_KEY.encode()].decode()
    )
    assert (commit.ingest_date, commit.n_images, commit.n_rejected) == (DAY, 7, 1)
    there = {str(path.relative_to(published.folder)) for path in (published.folder / "features").rglob("*.parquet")}
    assert commit.features_keys() == there == set(table.column("file").drop_null().to_pylist())
    assert [path.name for path in (published.folder / f"rejected/ingest_date={DAY}").iterdir()] == [
        f"{commit.write}.parquet"
    ]
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
    # What a writer that only seemed dead may still commit on the old one would name files that are gone: it finds
    # another.
    assert read_ledger(Store(published.bucket), DAY).etag != before.etag


def test_a_writer_that_lost_its_place_overwrites_nothing(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.deliver(DAY, files_of("Kiwi"))

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
    """Fails as when the store refuses an object again and again."""

    def __call__(self, images: bytes, attempt: int) -> Any:
        account = super().__call__(images, attempt)
        if any("Lemon" in key for key in account.table().column("image_key").to_pylist()):
            raise PermissionError("the store refuses Lemon/1.jpg")
        return account


def test_what_was_done_before_a_step_failed_is_not_done_again(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
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
