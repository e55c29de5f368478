"""Which parts a call of the benchmarks runs."""

from __future__ import annotations

from benchmarks.__main__ import PARTS, chosen_parts


def test_full_runs_every_part_and_small_only_quick_ones():
    assert chosen_parts("full", None, with_data=False) == list(PARTS)
    small = chosen_parts("small", None, with_data=False)
    assert "features" in small
    assert "history" not in small
    assert "peers" not in small


def test_a_persons_images_are_given_only_to_what_looks_at_images():
    assert "history" not in chosen_parts("full", None, with_data=True)
    assert "features" in chosen_parts("full", None, with_data=True)


def test_one_part_alone():
    assert chosen_parts("small", "history", with_data=False) == ["history"]
