"""Checks that unusually many rejects are reported before anything is committed, and that images that vanished don't
count.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from fruit_contract.tables import RejectReason
from fruit_features.extraction.rejects import FEWEST_IMAGES, RejectWatch
from fruit_features.lake import files


def rows(
    n_featurised: int, n_rejected: int, reason: str = "truncated", first: int = 0, content: str = "sha"
) -> pa.Table:
    lines = []
    for number in range(n_featurised + n_rejected):
        key = f"raw/ingest_date=2026-11-22/Kiwi/{first + number:04}.jpg"
        end = {"status": "featurised"} if number < n_featurised else {"status": "rejected", "reason": reason}
        lines.append(
            dict.fromkeys(files.LEDGER.names)
            | {"image_key": key, "content_sha256": f"{content} {first + number}"}
            | end
        )
    return pa.Table.from_pylist(lines, schema=files.LEDGER)


NOTHING = rows(0, 0)


def complaint(*added: tuple[pa.Table, pa.Table]) -> str | None:
    watch = RejectWatch()
    for done, before in added:
        watch.add(done, before)
    return watch.complaint()


@pytest.mark.parametrize(
    ("n_featurised", "n_rejected", "is_unusual"), [(50, 50, False), (49, 51, True), (0, 99, False), (0, 100, True)]
)
def test_of_new_images_up_to_half_may_be_rejected_if_there_are_enough_to_tell(
    n_featurised: int, n_rejected: int, is_unusual: bool
) -> None:
    found = complaint((rows(n_featurised, n_rejected), NOTHING))
    assert (found is not None) == is_unusual
    if found:
        assert found == f"{n_rejected} of 100 images of this run were rejected as 'truncated'."


def test_what_tasks_do_is_added_up() -> None:
    added = [(rows(4, 6, first=10 * number), NOTHING) for number in range(10)]
    assert complaint(*added[:9]) is None
    assert complaint(*added) == "60 of 100 images of this run were rejected as 'truncated'."
    watch = RejectWatch()
    for done, before in added:
        watch.add(done, before)
    assert watch.n_seen == FEWEST_IMAGES


def test_images_that_vanished_while_the_step_ran_are_nobody_s_fault() -> None:
    assert complaint((rows(0, 200, RejectReason.VANISHED), NOTHING)) is None
    # Others that were rejected beside them are seen all the same.
    added = (rows(0, 80, RejectReason.VANISHED), NOTHING), (rows(0, 120, "unreadable", first=80), NOTHING)
    assert complaint(*added) == "120 of 200 images of this run were rejected as 'unreadable'."


def test_reasons_are_counted_apart() -> None:
    assert complaint((rows(0, 50, "truncated"), NOTHING), (rows(0, 50, "empty", first=50), NOTHING)) is None


@pytest.mark.parametrize(
    ("n_featurised", "n_rejected", "is_unusual"), [(1, 1, False), (2, 1, True), (19, 1, False), (18, 1, True)]
)
def test_of_the_very_bytes_that_had_features_before_hardly_any_may_be_rejected(
    n_featurised: int, n_rejected: int, is_unusual: bool
) -> None:
    n = n_featurised + n_rejected
    found = complaint((rows(n_featurised, n_rejected), rows(n, 0)))
    assert found == (
        f"{n_rejected} of {n} images whose content had features before were rejected as 'truncated'."
        if is_unusual
        else None
    )


@pytest.mark.parametrize(("n_featurised", "n_rejected", "is_unusual"), [(5, 5, False), (4, 6, True), (0, 9, False)])
def test_of_replaced_images_up_to_half_may_be_rejected(n_featurised: int, n_rejected: int, is_unusual: bool) -> None:
    n = n_featurised + n_rejected
    found = complaint((rows(n_featurised, n_rejected, content="new"), rows(n, 0, content="former")))
    assert found == (
        f"{n_rejected} of {n} images that were replaced were rejected as 'truncated'." if is_unusual else None
    )


def test_what_was_rejected_before_says_nothing() -> None:
    assert complaint((rows(0, 20), rows(0, 20))) is None


def test_an_image_without_content_is_never_one_that_had_features() -> None:
    """One that could not be fetched has no content to compare."""
    gone = rows(0, 20, RejectReason.TOO_LARGE)
    gone = gone.set_column(gone.schema.get_field_index("content_sha256"), "content_sha256", pa.nulls(20, pa.string()))
    before = rows(20, 0)
    assert complaint((gone, before)) == "20 of 20 images that were replaced were rejected as 'too_large'."
    assert complaint((NOTHING, NOTHING)) is None
