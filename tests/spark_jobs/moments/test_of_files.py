"""Checks the moments of files of features, which the driver reads if they are few and workers if they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fruit_contract import lake
from fruit_contract.commit import file_key, images_digest
from fruit_features.lake import files
from fruit_features.lake.store import ObjectNotFoundError
from fruit_features.moments import of_files
from fruit_features.moments.algebra import Moments, moments_of
from fruit_features.moments.of_files import moments_of_files
from tests.spark_jobs.written_dates import content, keys_in, put_features, vectors

if TYPE_CHECKING:
    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"
NAMED = {
    f"category=Kiwi/w1-{number:06d}.parquet": tuple(f"{number}-{image}.jpg" for image in range(4))
    for number in range(5)
}
KEYS = [key for name, images in NAMED.items() for key in keys_in(DAY, name, images)]
FILE_ROWS = {name: len(images) for name, images in NAMED.items()}


@pytest.fixture
def filled(test_lake: LakeFolder) -> LakeFolder:
    for name, images in NAMED.items():
        put_features(test_lake.store, DAY, name, images)
    return test_lake


def assert_of(found: tuple[Moments, int], keys: list[str]) -> None:
    moments, digest = found
    expected = moments_of(vectors(keys))
    assert moments.n_samples == len(keys)
    np.testing.assert_allclose(moments.mean, expected.mean, atol=1e-12)
    np.testing.assert_allclose(moments.scatter, expected.scatter, atol=1e-9 * np.abs(expected.scatter).max())
    assert digest == images_digest((key, content(key)) for key in keys)


def test_few_files_are_read_where_they_are_needed(filled: LakeFolder) -> None:
    assert_of(moments_of_files(None, filled.store, DAY, "w2", "m", FILE_ROWS), KEYS)


def test_only_the_files_that_are_asked_for_are_read(filled: LakeFolder) -> None:
    name = next(iter(NAMED))
    assert_of(moments_of_files(None, filled.store, DAY, "w2", "m", {name: 4}), keys_in(DAY, name, NAMED[name]))


def test_rows_of_other_embedders_are_left_out(filled: LakeFolder) -> None:
    other = "category=Kiwi/other.parquet"
    put_features(filled.store, DAY, other, ("o.jpg",), "other")

    assert_of(moments_of_files(None, filled.store, DAY, "w2", "m", FILE_ROWS | {other: 1}), KEYS)
    assert_of(
        moments_of_files(None, filled.store, DAY, "w2", "other", FILE_ROWS | {other: 1}), keys_in(DAY, other, ["o.jpg"])
    )


def test_no_files_have_no_moments(test_lake: LakeFolder) -> None:
    moments, digest = moments_of_files(None, test_lake.store, DAY, "w2", "m", {})
    assert (moments.n_samples, digest) == (0, 0)


def test_a_file_that_is_gone_is_named(filled: LakeFolder) -> None:
    gone = file_key(DAY, list(NAMED)[3])
    filled.store.delete([gone])
    with pytest.raises(ObjectNotFoundError, match=f"{gone} does not exist"):
        moments_of_files(None, filled.store, DAY, "w2", "m", FILE_ROWS)


@pytest.mark.spark
@pytest.mark.parametrize("rows_a_task", [1, 8, 1000])
def test_workers_give_what_the_driver_gives_and_leave_nothing(
    spark, filled: LakeFolder, monkeypatch: pytest.MonkeyPatch, rows_a_task: int
) -> None:
    monkeypatch.setattr(files, "ROWS_READ_BY_DRIVER", 0)
    monkeypatch.setattr(of_files, "_ROWS_A_TASK", rows_a_task)

    assert_of(moments_of_files(lambda: spark, filled.store, DAY, "w2", "m", FILE_ROWS), KEYS)

    assert filled.store.list_keys(f"{lake.MOMENTS}/") == []


@pytest.mark.spark
def test_a_file_that_is_gone_for_a_worker_is_named(spark, filled: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS_READ_BY_DRIVER", 0)
    gone = file_key(DAY, list(NAMED)[3])
    filled.store.delete([gone])
    with pytest.raises(Exception, match=f"{gone} does not exist"):
        moments_of_files(lambda: spark, filled.store, DAY, "w2", "m", FILE_ROWS)
