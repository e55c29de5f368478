from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake as lake_layout
from fruit_contract.lake import step_summary_key
from fruit_pipeline.checks import books_problems
from fruit_pipeline.output_check import check_run
from tests.plugins.sample_lake import DAY, EMBEDDER, RUN_ID, VERSION

if TYPE_CHECKING:
    from tests.plugins.sample_lake import SampleLake

NEXT_DAY = "2026-11-23"


def problems(sample_lake: SampleLake, after_listing: datetime, categories: list[str] | None = None) -> list[str]:
    return check_run(sample_lake.lake, RUN_ID, [DAY], categories or [], after_listing).problems


def test_passes_tables_that_agree(sample_lake: SampleLake, after_listing: datetime) -> None:
    result = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing)
    assert result.problems == []
    assert (result.images_in_ledger, result.featurised, result.rejected, result.partitions) == (43, 42, 1, 7)
    assert result.pca_version == VERSION


def test_names_an_image_that_the_ledger_forgot(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/forgotten.jpg")
    assert problems(sample_lake, after_listing) == [f"listed but not in the ledger: 1 (raw/ingest_date={DAY}/Kiwi/forgotten.jpg)"]


def test_forgives_an_image_that_arrived_after_the_plan(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    assert check_run(sample_lake.lake, RUN_ID, [DAY], [], datetime(2020, 1, 1, tzinfo=UTC)).problems == []


def test_names_an_image_that_is_gone_unless_it_vanished_while_it_was_fetched(sample_lake: SampleLake, after_listing: datetime) -> None:
    gone = sample_lake.images[0]
    sample_lake.client.delete_object(Bucket=sample_lake.lake.bucket, Key=gone.key)
    assert problems(sample_lake, after_listing) == [f"in the ledger but no longer listed: 1 ({gone.key})"]


def test_names_a_replaced_image(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.put_image(sample_lake.images[3].key, b"another picture")
    assert problems(sample_lake, after_listing) == [f"in the ledger with another ETag than the image has: 1 ({sample_lake.images[3].key})"]


def test_names_a_line_that_is_there_twice(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.write_ledger([*sample_lake.images, sample_lake.images[0]])
    found = problems(sample_lake, after_listing)
    assert f"in the ledger more than once: 1 ({sample_lake.images[0].key})" in found


def test_names_a_missing_features_partition(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.delete_below(lake_layout.partition_prefix("features", DAY, "Äpfel 50%"))
    assert problems(sample_lake, after_listing) == ["features of 'Äpfel 50%': the partition is missing; the ledger has 6 featurised images"]


def test_names_features_without_a_ledger_line(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.write_features("Ghost", ["raw/x/Ghost/1.jpg"], np.ones((1, 1280)))
    assert "features of 'Ghost': here but not featurised in the ledger: 1 (raw/x/Ghost/1.jpg)" in problems(sample_lake, after_listing)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda vectors: vectors.__setitem__((2, 5), np.nan), "features of 'Kiwi': 1 vectors hold NaN or infinity"),
        (lambda vectors: vectors.__setitem__((1, 7), np.inf), "features of 'Kiwi': 1 vectors hold NaN or infinity"),
        (lambda vectors: vectors.__setitem__((slice(0, 2), slice(None)), 0), "features of 'Kiwi': 2 vectors are all zero"),
    ],
)
def test_names_vectors_that_are_no_features(sample_lake: SampleLake, after_listing: datetime, spoil: Any, expected: str) -> None:
    vectors = np.ones((6, 1280))
    spoil(vectors)
    sample_lake.write_features("Kiwi", [image.key for image in sample_lake.featurised("Kiwi")], vectors)
    assert problems(sample_lake, after_listing) == [expected]


def test_names_vectors_of_another_length(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.write_features("Kiwi", [image.key for image in sample_lake.featurised("Kiwi")], np.ones((6, 1279)))
    assert problems(sample_lake, after_listing) == ["features of 'Kiwi': 6 vectors do not have 1280 numbers"]


def test_names_a_wrong_type_and_an_unknown_column(sample_lake: SampleLake, after_listing: datetime) -> None:
    keys = [image.key for image in sample_lake.featurised("Kiwi")]
    sample_lake.write_features("Kiwi", keys, np.ones((6, 1280)), width=["100"] * 6, note=["?"] * 6)
    assert problems(sample_lake, after_listing) == [
        "features of 'Kiwi': column 'note' is not in the contract",
        "features of 'Kiwi': column 'width' is string, not int",
    ]


def test_names_an_image_that_is_there_twice(sample_lake: SampleLake, after_listing: datetime) -> None:
    keys = [image.key for image in sample_lake.featurised("Kiwi")]
    sample_lake.write_features("Kiwi", [*keys, keys[0]], np.ones((7, 1280)))
    assert problems(sample_lake, after_listing) == [f"features of 'Kiwi': there more than once: 1 ({keys[0]})"]


def test_names_features_of_a_stranger(sample_lake: SampleLake, after_listing: datetime) -> None:
    keys = [image.key for image in sample_lake.featurised("Kiwi")]
    sample_lake.write_features("Kiwi", keys, np.ones((6, 1280)), embedder_id=["other"] * 6)
    assert problems(sample_lake, after_listing) == ["features of 'Kiwi': rows of embedder 'other', which the ledger does not know"]


def test_names_missing_and_short_projections(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.delete_below(lake_layout.projections_partition_prefix(VERSION, DAY, "007"))
    keys = [image.key for image in sample_lake.featurised("Kiwi")]
    sample_lake.write_projections("Kiwi", keys[:5], np.ones((5, sample_lake.k)))
    sample_lake.write_projections("Banana", [image.key for image in sample_lake.featurised("Banana")], np.ones((6, sample_lake.k - 1)))
    where = f"under PCA version {VERSION}"
    assert problems(sample_lake, after_listing) == [
        f"projections of '007' {where}: the partition is missing; the ledger has 6 featurised images",
        f"projections of 'Banana' {where}: 6 vectors do not have {sample_lake.k} numbers",
        f"projections of 'Kiwi' {where}: featurised in the ledger but missing here: 1 ({keys[5]})",
    ]


def test_names_rejects_that_the_two_tables_tell_differently(sample_lake: SampleLake, after_listing: datetime) -> None:
    rejected = {"image_key": ["raw/elsewhere.jpg"], "category": ["Kiwi"], "content_sha256": ["00"], "reason": ["empty"], "detail": ["-"]}
    sample_lake.write_table(lake_layout.date_prefix("rejected", DAY), rejected)
    broken = sample_lake.images[-1].key
    assert problems(sample_lake, after_listing) == [
        f"rejected in the ledger but not in rejected/: 1 ({broken})",
        "in rejected/ but not rejected in the ledger: 1 (raw/elsewhere.jpg)",
    ]


def test_names_moments_that_count_other_images(sample_lake: SampleLake, after_listing: datetime) -> None:
    columns = {
        "embedder_id": [EMBEDDER],
        "n_samples": pa.array([41], pa.int64()),
        "mean": pa.array([np.zeros(1280)]),
        "scatter": pa.array([np.zeros(819_840)]),
        "content_digest": pa.array([7], pa.int64()),
    }
    sample_lake.write_table(lake_layout.date_prefix("moments", DAY), columns)
    assert problems(sample_lake, after_listing) == [f"moments: 41 samples of embedder '{EMBEDDER}', but the ledger has 42 images of it"]


def test_says_so_when_there_is_no_pca_though_there_are_features(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.client.delete_object(Bucket=sample_lake.lake.bucket, Key=lake_layout.CURRENT_PCA_KEY)
    assert problems(sample_lake, after_listing) == ["There is no PCA version although 42 images have features."]


def test_a_run_is_checked_date_by_date_and_by_its_own_books(sample_lake: SampleLake, after_listing: datetime) -> None:
    sound = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing)
    assert (sound.problems, sound.featurised, sound.pca_version) == ([], 42, VERSION)
    key = step_summary_key(RUN_ID, "extract_features")
    summary = sample_lake.lake.read_json(key)
    summary["by_category"][DAY]["Kiwi"]["new"] += 1
    sample_lake.lake.write_json(key, summary)
    sample_lake.put_image("raw/ingest_date=2026-11-23/Kiwi/forgotten.jpg")
    assert check_run(sample_lake.lake, RUN_ID, [DAY, "2026-11-23"], [], after_listing).problems == [
        "2026-11-23: listed but not in the ledger: 1 (raw/ingest_date=2026-11-23/Kiwi/forgotten.jpg)",
        f"books of 'Kiwi' of {DAY}: 7 listed, 8 new, unchanged or reused, 7 featurised or rejected",
    ]


def test_a_run_of_several_dates_is_sound_if_each_of_them_is(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.add_date(NEXT_DAY)
    result = check_run(sample_lake.lake, RUN_ID, [DAY, NEXT_DAY], [], after_listing)
    assert result.problems == []
    assert (result.ingest_dates, result.pca_version) == ([DAY, NEXT_DAY], VERSION)
    assert (result.images_in_ledger, result.featurised, result.rejected, result.partitions) == (86, 84, 2, 14)


def test_a_problem_of_one_of_several_dates_bears_its_date(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.add_date(NEXT_DAY)
    sample_lake.delete_below(lake_layout.partition_prefix("features", NEXT_DAY, "Kiwi"))
    assert check_run(sample_lake.lake, RUN_ID, [DAY, NEXT_DAY], [], after_listing).problems == [
        f"{NEXT_DAY}: features of 'Kiwi': the partition is missing; the ledger has 6 featurised images"
    ]


def test_a_run_is_checked_for_its_own_dates_only(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.add_date(NEXT_DAY)
    sample_lake.delete_below(f"features/ingest_date={NEXT_DAY}/")
    assert check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing).problems == []


COUNT = st.integers(0, 50)


@given(new=COUNT, unchanged=COUNT, reused=COUNT, removed=COUNT, data=st.data())
def test_books_balance_unless_an_image_came_from_nowhere_or_ended_nowhere(
    new: int, unchanged: int, reused: int, removed: int, data: st.DataObject
) -> None:
    listed = new + unchanged + reused
    rejected = data.draw(st.integers(0, listed))
    counts = {"listed": listed, "new": new, "unchanged": unchanged, "reused": reused, "removed": removed}
    counts |= {"featurised": listed - rejected, "rejected": rejected}
    assert books_problems({DAY: {"Kiwi": counts}, NEXT_DAY: {}}) == []
    wrong = data.draw(st.sampled_from(sorted(counts.keys() - {"removed"})))
    (problem,) = books_problems({DAY: {"Kiwi": counts}, NEXT_DAY: {"Kiwi": counts | {wrong: counts[wrong] + 1}}})
    assert problem.startswith(f"books of 'Kiwi' of {NEXT_DAY}: ")


def test_where_there_is_nothing_to_fit_no_projections_are_asked_for(sample_lake: SampleLake, after_listing: datetime) -> None:
    """All images alike, say: the PCA step said so, and the batch is sound."""
    sample_lake.delete_below("pca/")
    sample_lake.delete_below("projections/")
    key = step_summary_key(RUN_ID, "refresh_pca")
    sample_lake.lake.write_json(key, sample_lake.lake.read_json(key) | {"action": "nothing", "pca_version": None})
    result = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing)
    assert (result.problems, result.pca_version) == ([], None)


def test_a_run_of_some_categories_is_checked_for_these(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Plum/1.jpg")
    assert problems(sample_lake, after_listing, ["Kiwi", "007"]) == []
    assert problems(sample_lake, after_listing, ["Plum"]) == [f"listed but not in the ledger: 1 (raw/ingest_date={DAY}/Plum/1.jpg)"]


def test_unfinished_files_are_not_read(sample_lake: SampleLake, after_listing: datetime) -> None:
    prefix = lake_layout.partition_prefix("features", DAY, "Kiwi")
    sample_lake.put_image(f"{prefix}_temporary/0/part-1.parquet", b"half a file")
    sample_lake.put_image(f"{prefix}_SUCCESS", b"")
    assert problems(sample_lake, after_listing) == []
