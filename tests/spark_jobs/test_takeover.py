"""Checks that a lake that an earlier release left goes on: what is right in it is kept, what was interrupted is done,
and nothing else stays.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruit_contract import lake, tables
from fruit_contract.commit import images_digest
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features import takeover
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake import files
from fruit_features.lake.commit import list_date, list_ledgers, read_ledger
from fruit_features.lake.store import Store
from fruit_features.lake.vectors import to_list_array
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.pca.versions import load_version, read_pointer
from fruit_features.takeover import take_over_date
from tests.block_network import block_network
from tests.fixtures.earlier_lake import DATES, EMBEDDER_ID, INTERRUPTED_DATE, RELEASE, history, unpack_earlier_lake
from tests.fixtures.earlier_lake.network import features_of, weights
from tests.spark_jobs.conftest import publish_as_today, publish_network
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process

if TYPE_CHECKING:
    from pathlib import Path

    from fruit_contract.commit import Commit
    from fruit_contract.summaries import ExtractionSummary, RefreshSummary
    from tests.spark_jobs.lake_folder import LakeFolder

ALL_DATES = history.ALL_DATES
NEW = {
    f"raw/ingest_date={INTERRUPTED_DATE}/{name}"
    for name in (
        "Kiwi/back.png", "Kiwi/late.png", "Äpfel 50%/replaced.png", "Äpfel 50%/late.png",
        "007/31.png", "007/32.png", "007/33.png", "007/empty.png",
    )
}  # fmt: skip


@pytest.fixture
def earlier(test_lake: LakeFolder) -> LakeFolder:
    """Returns the earlier lake with its embedder as it would be published today, so that what is taken over can be told
    from what a new embedder computes.
    """
    unpack_earlier_lake(test_lake.folder)
    publish_as_today(test_lake, RELEASE, EMBEDDER_ID, block_network(weights()))
    return test_lake


def extract(spark, earlier: LakeFolder, *dates: str) -> ExtractionSummary:
    return extract_features(spark, ExtractionRequest(earlier.bucket, RELEASE, "run", dates or ALL_DATES, (), "litert"))


def refresh(spark, earlier: LakeFolder, policy: RefreshPolicy = RefreshPolicy.NEVER) -> RefreshSummary:
    return refresh_pca(lambda: spark, RefreshRequest(earlier.bucket, RELEASE, "run", PolicySettings(policy), ALL_DATES))


def rows_below(folder: Path, *columns: str) -> pd.DataFrame:
    """Returns the rows of every Parquet file below a folder, whether a ledger names it or not."""
    found = [pd.DataFrame(columns=[*columns, "path"])]
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None, columns=list(columns))
        found.append(table.to_pandas().assign(path=str(path)))
    return pd.concat(found, ignore_index=True)


def assert_features(earlier: LakeFolder, expected: dict[str, int]) -> None:
    """Checks that every picture is there once, with the features of what it shows."""
    features = rows_below(earlier.folder / lake.FEATURES, *tables.FEATURES_COLUMNS)
    assert sorted(features["image_key"]) == sorted(expected)
    row: Any
    for row in features.itertuples():
        picture = decode_image(history.content_bytes(expected[row.image_key])).pixels[None]
        np.testing.assert_allclose(row.features, features_of(network_input(picture)).reshape(-1), atol=1e-4)
        assert (row.width, row.height, row.embedder_id) == (40, 30, EMBEDDER_ID)


def assert_projected(earlier: LakeFolder, version: str) -> None:
    """Checks that the projections of a version are those of all features that there are, each once."""
    model, _ = load_version(earlier.store, version)
    features = rows_below(earlier.folder / lake.FEATURES, "image_key", "features").set_index("image_key")["features"]
    projections = rows_below(earlier.folder / lake.projections_prefix(version), *tables.PROJECTIONS_COLUMNS)
    assert sorted(projections["image_key"]) == sorted(features.index)
    row: Any
    for row in projections.itertuples():
        standardised = np.divide(
            features[row.image_key] - model.mean, model.scale, out=np.zeros(1280), where=model.scale > 0
        )
        np.testing.assert_allclose(row.components, standardised @ model.components.T, atol=1e-3)


def assert_only_what_ledgers_name(earlier: LakeFolder) -> None:
    """Checks that nothing is left of the earlier form, nor anything that no commit names."""
    commits = {day: read_ledger(earlier.store, day).commit for day in ALL_DATES}
    assert all(commits.values())
    named = {key for commit in commits.values() for key in keys_of(commit)}
    there = {
        key
        for table in (lake.FEATURES, lake.REJECTED, lake.LEDGER, lake.MOMENTS)
        for key in earlier.store.list_keys(f"{table}/")
    }
    caches = {
        key
        for key in there
        if key.startswith((lake.content_indexes_prefix(), lake.compacted_moments_prefix(EMBEDDER_ID)))
    }
    assert there - caches == named
    assert {key.rpartition("/")[2] for key in caches if key.endswith(".bin")} == {f"{day}.bin" for day in ALL_DATES}
    assert not [key for key in earlier.store.list_keys(f"{lake.PROJECTIONS}/") if "_projected.json" in key]
    features = {key.removeprefix(f"{lake.FEATURES}/") for key in named if key.startswith(lake.FEATURES)}
    for version in versions_of(earlier):
        names = {
            key.removeprefix(lake.projections_prefix(version))
            for key in earlier.store.list_keys(lake.projections_prefix(version))
        }
        assert names <= features


def keys_of(commit: Commit) -> set[str]:
    rejected = {lake.rejected_key(commit.ingest_date, commit.write)} if commit.n_rejected else set()
    return commit.features_keys() | commit.moments_keys() | {lake.ledger_key(commit.ingest_date)} | rejected


def versions_of(earlier: LakeFolder) -> list[str]:
    return sorted(folder.name.partition("=")[2] for folder in (earlier.folder / lake.PCA).glob("version=*"))


def pictures(contents: dict[str, history.Content]) -> dict[str, int]:
    return {key: content for key, content in contents.items() if isinstance(content, int)}


def modified(earlier: LakeFolder, *dates: str) -> dict[str, int]:
    """Returns when each file of features of some dates was written."""
    return {
        str(path.relative_to(earlier.folder)): path.stat().st_mtime_ns
        for day in dates
        for path in (earlier.folder / lake.date_prefix(lake.FEATURES, day)).rglob("*.parquet")
    }


@pytest.mark.spark
def test_a_run_of_all_dates_computes_only_what_the_earlier_release_had_not_done(spark, earlier: LakeFolder) -> None:
    before = modified(earlier, *DATES)

    summary = extract(spark, earlier)

    assert summary["images_computed"] == len(NEW)
    assert summary["touched_ingest_dates"] == [INTERRUPTED_DATE]
    assert modified(earlier, *DATES) == before
    assert_features(earlier, pictures(history.IMAGES))
    assert_only_what_ledgers_name(earlier)
    lines = pd.concat([read_ledger(earlier.store, day).rows.to_pandas() for day in ALL_DATES]).set_index("image_key")
    assert dict(lines["status"]) == {
        key: "featurised" if isinstance(content, int) else "rejected" for key, content in history.IMAGES.items()
    }
    assert dict(lines["reason"].dropna()) == {
        key: "not_an_image" if content else "empty"
        for key, content in history.IMAGES.items()
        if isinstance(content, bytes)
    }
    rejected = rows_below(earlier.folder / lake.REJECTED, "image_key", "reason", "detail")
    assert dict(zip(rejected["image_key"], rejected["reason"], strict=True)) == dict(lines["reason"].dropna())
    assert rejected["detail"].str.len().min() > 0
    for day in ALL_DATES:
        ledger = read_ledger(earlier.store, day)
        found = ledger.commit.embedders[EMBEDDER_ID]
        own = lines[lines["file"].notna() & lines.index.str.startswith(lake.raw_prefix(day))]
        assert (found.n_images, found.n_rows, found.moments.n_samples) == (len(own),) * 3
        assert int(found.moments.images_digest, 16) == images_digest(zip(own.index, own["content_sha256"], strict=True))


@pytest.mark.spark
def test_a_second_run_finds_nothing_to_do(spark, earlier: LakeFolder) -> None:
    extract(spark, earlier)

    again = extract(spark, earlier)

    assert (again["images_computed"], again["touched_ingest_dates"]) == (0, [])
    assert list_ledgers(earlier.store).earlier == []


@pytest.mark.spark
def test_kept_versions_have_every_row_once_afterwards_and_what_had_vanished_is_gone(spark, earlier: LakeFolder) -> None:
    first, current = versions_of(earlier)
    extract(spark, earlier)

    summary = refresh(spark, earlier)

    assert (summary["action"], summary["pca_version"], summary["n_samples"]) == (
        "kept",
        current,
        len(pictures(history.IMAGES)),
    )
    assert versions_of(earlier) == [first, current]
    for version in (first, current):
        assert_projected(earlier, version)
    gone = history.REMOVED_BEFORE_SECOND_RUN[0]
    assert gone not in set(rows_below(earlier.folder / lake.projections_prefix(first), "image_key")["image_key"])
    assert_only_what_ledgers_name(earlier)


@pytest.mark.spark
def test_projections_of_files_that_stay_are_not_computed_again(spark, earlier: LakeFolder) -> None:
    _, current = versions_of(earlier)
    folder = earlier.folder / lake.projections_prefix(current)
    before = {
        path: path.stat().st_mtime_ns for day in DATES for path in (folder / f"ingest_date={day}").rglob("*.parquet")
    }
    extract(spark, earlier)

    refresh(spark, earlier)

    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.spark
def test_a_new_version_is_fitted_on_all_images(spark, earlier: LakeFolder) -> None:
    former = versions_of(earlier)
    extract(spark, earlier)

    summary = refresh(spark, earlier, RefreshPolicy.ALWAYS)

    assert (summary["action"], summary["n_samples_fitted"]) == ("fitted", len(pictures(history.IMAGES)))
    pointer = read_pointer(earlier.store)
    assert pointer.version == summary["pca_version"]
    assert set(versions_of(earlier)) == {*former, pointer.version}
    assert_projected(earlier, pointer.version)


@pytest.mark.spark
def test_the_pca_step_takes_over_what_no_features_step_has_yet(spark, earlier: LakeFolder) -> None:
    first, current = versions_of(earlier)

    summary = refresh(spark, earlier)

    # What the ledger says and a row of features proves: not the image that was put back, nor the one that is gone.
    proved = {
        key: number for key, number in pictures(history.LEDGER).items() if not key.endswith(("/back.png", "/gone.png"))
    }
    assert (summary["pca_version"], summary["n_samples"]) == (current, len(proved))
    assert_features(earlier, proved)
    for version in (first, current):
        assert_projected(earlier, version)
    assert_only_what_ledgers_name(earlier)
    assert extract(spark, earlier)["images_computed"] == len(NEW)
    assert_features(earlier, pictures(history.IMAGES))
    assert_only_what_ledgers_name(earlier)


@pytest.mark.spark
def test_a_run_of_one_date_leaves_the_other_dates_to_those_who_come_to_them(spark, earlier: LakeFolder) -> None:
    extract(spark, earlier, INTERRUPTED_DATE)

    assert list_ledgers(earlier.store).earlier == list(DATES)
    assert read_ledger(earlier.store, INTERRUPTED_DATE).commit is not None
    refresh(spark, earlier)
    # What that release wrote beside its tables goes with the last of its dates.
    assert earlier.store.list_keys(f"{lake.MOMENTS}/_states/") == []
    assert_features(earlier, pictures(history.IMAGES))
    assert_only_what_ledgers_name(earlier)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["put_rejected", "delete_of_date"])
def test_a_takeover_that_was_cut_off_after_the_commit_is_brought_to_its_end(
    earlier: LakeFolder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whoever comes next sees that, whichever dates it works on: the earlier files still lie beside the commit."""
    with monkeypatch.context() as patch:
        patch.setattr(takeover, where, cut_off)
        with pytest.raises(CutOffError):
            take_over_date(earlier.store, INTERRUPTED_DATE)
    committed = read_ledger(earlier.store, INTERRUPTED_DATE)
    assert list_ledgers(earlier.store).earlier == sorted(ALL_DATES)

    deal_in_this_process(monkeypatch)
    refresh(NoSpark(), earlier)

    assert list_ledgers(earlier.store).earlier == []
    assert read_ledger(earlier.store, INTERRUPTED_DATE).etag == committed.etag
    for day in ALL_DATES:
        there = list_date(earlier.store, day, versions_of(earlier))
        commit = read_ledger(earlier.store, day).commit
        assert (there.garbage(commit), there.has_rejected(commit)) == ([], True)


def test_files_of_a_run_that_goes_on_after_a_takeover_are_left_to_it(
    earlier: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run brings the takeover to its end, and begins to compute images of the date."""
    with monkeypatch.context() as patch:
        patch.setattr(takeover, "delete_of_date", cut_off)
        with pytest.raises(CutOffError):
            take_over_date(earlier.store, INTERRUPTED_DATE)
    computed = f"{lake.partition_prefix(lake.FEATURES, INTERRUPTED_DATE, 'Kiwi')}w1-000001.parquet"

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(takeover, "list_date", list_date)
        take_over_date(earlier.store, INTERRUPTED_DATE)
        earlier.put(computed, b"x")
        return list_date(*arguments)

    monkeypatch.setattr(takeover, "list_date", late)
    take_over_date(earlier.store, INTERRUPTED_DATE)

    assert list_ledgers(earlier.store).earlier == list(DATES)
    there = list_date(earlier.store, INTERRUPTED_DATE, ())
    assert there.garbage(read_ledger(earlier.store, INTERRUPTED_DATE).commit) == [computed]


class CutOffError(Exception):
    """Ends the run here."""


def cut_off(*_: object) -> None:
    raise CutOffError


def test_rows_of_two_embedders_in_the_same_files_are_all_kept(test_lake: LakeFolder) -> None:
    """As in a date of which only some images were computed again when the embedder changed."""
    embedders = {f"raw/ingest_date=2026-11-20/Kiwi/{number}.png": ("a", "b")[number % 2] for number in range(8)}
    keys = list(embedders)
    for number, names in enumerate((keys[:4], keys[4:])):
        key = f"{lake.partition_prefix(lake.FEATURES, '2026-11-20', 'Kiwi')}part-0000{number}.parquet"
        test_lake.put(key, bytes(files.features_to_parquet(features_rows(names, embedders))))
    test_lake.put("ledger/ingest_date=2026-11-20/part-00000.snappy.parquet", earlier_ledger(embedders))

    take_over_date(test_lake.store, "2026-11-20")

    commit = read_ledger(test_lake.store, "2026-11-20").commit
    numbers = {
        name: (found.n_images, found.n_rows, found.moments.n_samples) for name, found in commit.embedders.items()
    }
    assert numbers == {"a": (4, 4, 4), "b": (4, 4, 4)}
    features = rows_below(test_lake.folder / lake.FEATURES, "image_key", "embedder_id")
    assert dict(zip(features["image_key"], features["embedder_id"], strict=True)) == embedders
    for embedder_id, found in commit.embedders.items():
        for name, n_rows in found.files.items():
            rows = files.read_rows(
                name, test_lake.store.read(f"features/ingest_date=2026-11-20/{name}"), ["embedder_id"]
            )
            assert rows.column(0).to_pylist() == [embedder_id] * n_rows


def features_rows(keys: list[str], embedders: dict[str, str]) -> pa.Table:
    sides = pa.array([40] * len(keys), pa.int32())
    vectors = to_list_array([np.full(1280, index, np.float32) for index in range(len(keys))])
    shas = pa.array([f"sha {key}" for key in keys])
    return pa.Table.from_arrays(
        [pa.array(keys), shas, sides, sides, pa.array([embedders[key] for key in keys]), vectors], schema=files.FEATURES
    )


def earlier_ledger(embedders: dict[str, str]) -> bytes:
    lines = [
        {
            "image_key": key, "etag": "e", "size_bytes": 7, "category": "Kiwi", "content_sha256": f"sha {key}",
            "status": "featurised", "reason": None, "embedder_id": embedder_id,
        }
        for key, embedder_id in embedders.items()
    ]  # fmt: skip
    names = ["image_key", "etag", "size_bytes", "category", "content_sha256", "status", "reason", "embedder_id"]
    schema = pa.schema([(name, pa.int64() if name == "size_bytes" else pa.string()) for name in names])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), sink)
    return sink.getvalue().to_pybytes()


def test_a_later_pointer_tells_since_when(earlier: LakeFolder) -> None:
    """The earlier release's pointer does not: every older version then counts as used."""
    assert "since" not in json.loads((earlier.folder / lake.CURRENT_PCA_KEY).read_bytes())
    pointer = read_pointer(earlier.store)
    assert (pointer.since, dict(pointer.former)) == (None, {})


@pytest.mark.slow
def test_readers_of_an_earlier_lake_stay_on_its_version_until_a_new_embedder_covers_it(
    spark, earlier: LakeFolder, small_network: bytes
) -> None:
    publish_network(earlier, small_network, "nextrelease", "mobilenetv2-drawn-p2")
    before = read_pointer(Store(earlier.bucket))

    def run(*dates: str) -> str | None:
        extract_features(spark, ExtractionRequest(earlier.bucket, "nextrelease", "run", dates, (), "litert"))
        refresh_pca(
            lambda: spark,
            RefreshRequest(earlier.bucket, "nextrelease", "run", PolicySettings(RefreshPolicy.AUTO), dates),
        )
        pointer = read_pointer(Store(earlier.bucket))
        return pointer.version if pointer else None

    assert before is not None
    assert run(ALL_DATES[0]) == before.version
    last = run(*ALL_DATES[1:])

    assert last is not None
    assert load_version(Store(earlier.bucket), last)[1].embedder_id == "mobilenetv2-drawn-p2"
    assert before.version in {folder.name.partition("=")[2] for folder in (earlier.folder / lake.PCA).glob("version=*")}
