"""Checks the figures that follow from runs after histories of different lengths, and from refits."""

from __future__ import annotations

import pytest

from benchmarks.history.result import DayRun, RefitRun, is_flat, refit_cost, summarise_days


def day(n_days, number, seconds, *, cpu_seconds=4.0, moments_read=2):
    return DayRun(n_days, number, 0.75 * seconds, 0.25 * seconds, cpu_seconds, moments_read, {"compute": seconds / 2})


def refit(n_days, n_partitions, n_images, project, fit=0.5):
    stages = {"merge_moments": 0.1, "fit": fit, "project": project, "total": 0.1 + fit + project}
    return RefitRun(n_days, n_partitions, n_images, 2, 530, stages["total"], stages)


def test_a_run_is_compared_with_the_shortest_history_of_its_own_round():
    # The machine became half as fast from round to round: the ratio within a round is the same.
    runs = [day(1, 0, 2.0), day(1000, 0, 2.4), day(1000, 1, 4.8), day(1, 1, 4.0)]
    one, thousand = summarise_days(runs)
    assert (one.first.n_days, one.ratio("seconds"), thousand.first.n_days) == (1, 1.0, 1000)
    assert thousand.ratio("seconds") == pytest.approx(1.2)
    assert thousand.ratio("pca_seconds") == pytest.approx(1.2)
    assert (thousand.median("seconds"), thousand.least("seconds"), thousand.most("seconds")) == pytest.approx(
        (3.6, 2.4, 4.8)
    )
    assert thousand.stages() == pytest.approx({"compute": 1.8})


def test_flat_is_one_and_a_half_times_at_most_after_any_number_of_days():
    assert is_flat(summarise_days([day(1, 0, 2.0), day(30, 0, 3.0)]))
    assert not is_flat(summarise_days([day(1, 0, 2.0), day(30, 0, 3.1), day(1000, 0, 2.0)]))


def test_refuses_a_round_without_the_shortest_history():
    with pytest.raises(ValueError, match="Round 1"):
        summarise_days([day(1, 0, 2.0), day(30, 0, 2.0), day(30, 1, 2.0)])


def test_the_cost_of_images_and_partitions_is_told_apart():
    # 1 s for each job, 0.1 ms an image, 20 ms a partition beyond the 64.
    few, many, longest = refit(16, 64, 10_000, 2.0), refit(16, 64, 30_000, 4.0), refit(1000, 1064, 20_000, 23.0)
    cost = refit_cost([few, many, longest])
    assert cost.merge_seconds + cost.fit_seconds == pytest.approx(0.6)
    assert cost.seconds_per_million_images == pytest.approx(100)
    assert cost.seconds_per_thousand_partitions == pytest.approx(20)
    assert cost.estimate(1_000_000, 2_000) == pytest.approx(140.6)


def test_refuses_to_tell_costs_apart_without_the_three_histories():
    with pytest.raises(ValueError, match="two histories"):
        refit_cost([refit(16, 64, 10_000, 2.0), refit(1000, 4000, 20_000, 23.0)])
