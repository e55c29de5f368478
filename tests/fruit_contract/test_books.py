from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.books import COLUMNS, unbalanced

DAY, NEXT_DAY = "2026-11-22", "2026-11-23"
COUNT = st.integers(0, 50)


@given(new=COUNT, unchanged=COUNT, reused=COUNT, removed=COUNT, data=st.data())
def test_books_balance_unless_an_image_came_from_nowhere_or_ended_nowhere(
    new: int, unchanged: int, reused: int, removed: int, data: st.DataObject
) -> None:
    listed = new + unchanged + reused
    rejected = data.draw(st.integers(0, listed))
    counts = dict(zip(COLUMNS, (listed, new, unchanged, reused, removed, listed - rejected, rejected), strict=True))
    assert list(unbalanced({DAY: {"Kiwi": counts}, NEXT_DAY: {}})) == []
    wrong = data.draw(st.sampled_from(sorted(counts.keys() - {"removed"})))
    (problem,) = unbalanced({DAY: {"Kiwi": counts}, NEXT_DAY: {"Kiwi": counts | {wrong: counts[wrong] + 1}}})
    assert problem.startswith(f"The books of 'Kiwi' of {NEXT_DAY} do not balance: ")


def test_says_all_counts() -> None:
    counts = dict(zip(COLUMNS, (1_000, 3, 4, 5, 6, 7, 8), strict=True))
    assert list(unbalanced({DAY: {"Kiwi": counts}})) == [
        (
            f"The books of 'Kiwi' of {DAY} do not balance: 1,000 listed, 3 new + 4 unchanged + 5 reused, 7 featurised "
            "+ 8 rejected."
        )
    ]
