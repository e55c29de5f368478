"""Checks the figures of the PCA benchmark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.pca.result import OURS, SPARK_ML, Fitted, PcaRun, compare_pca, is_fast_enough, summarise_pca


def run(way, number, seconds, java="node", cpu_seconds=1.0):
    return PcaRun(java, way, number, seconds, cpu_seconds, {"fit": seconds / 2})


def rounds(*seconds, java="node"):
    """Returns the runs of rounds that took these pairs of seconds, ours first. The first round is cold."""
    return [
        run(way, n, value, java)
        for n, pair in enumerate(seconds)
        for way, value in zip((OURS, SPARK_ML), pair, strict=True)
    ]


def fitted(seed=0):
    drawn = np.random.default_rng(seed)
    components = np.linalg.qr(drawn.standard_normal((8, 8)))[0][:3]
    projections = drawn.standard_normal((5, 3))
    return Fitted(components, np.array([0.5, 0.3, 0.1]), projections, projections.astype(np.float32))


def turned(pca, signs):
    return replace(
        pca,
        components=pca.components * np.array(signs)[:, None],
        projections=pca.projections * signs,
        written=(pca.written * signs).astype(np.float32),
    )


def test_the_ratio_is_the_median_of_those_within_a_round():
    summary = summarise_pca(rounds((9, 9), (1, 12), (2, 20), (4, 44)))["node", SPARK_ML]
    assert summary.ratios("seconds") == [12, 10, 11]
    assert summary.ratio("seconds") == 11


def test_cold_runs_count_apart():
    ours = summarise_pca(rounds((9, 30), (2, 20)))["node", OURS]
    assert (ours.n_runs, ours.median("seconds"), ours.stages()) == (1, 2, {"fit": 1})


@pytest.mark.parametrize(("seconds", "fast_enough"), [(10.0, True), (9.9, False)])
def test_ten_times_is_fast_enough(seconds, fast_enough):
    assert is_fast_enough(summarise_pca(rounds((1, 1), (1, seconds)))["node", SPARK_ML]) is fast_enough


def test_settings_of_java_are_never_mixed():
    summaries = summarise_pca([*rounds((1, 1), (1, 5), java="slow"), *rounds((1, 1), (1, 3), java="fast")])
    ratios = {key: summary.ratio("seconds") for key, summary in summaries.items()}
    assert ratios == {("slow", OURS): 1, ("slow", SPARK_ML): 5, ("fast", OURS): 1, ("fast", SPARK_ML): 3}
    assert list(ratios)[:2] == [("slow", OURS), ("slow", SPARK_ML)]


def test_the_cpu_is_compared_within_a_round_too():
    runs = [run(OURS, 1, 1.0, cpu_seconds=2.0), run(SPARK_ML, 1, 1.0, cpu_seconds=8.0)]
    assert summarise_pca(runs)["node", SPARK_ML].ratio("cpu_seconds") == 4


def test_a_round_needs_both_ways():
    with pytest.raises(ValueError, match=r"Round 1 has no run of pyspark\.ml"):
        summarise_pca([*rounds((1, 1)), run(OURS, 1, 1.0)])


def test_cold_runs_alone_are_no_comparison():
    with pytest.raises(ValueError, match="no warm run"):
        summarise_pca(rounds((1, 1)))


def test_the_same_pca_agrees_whichever_way_its_components_point():
    agreement = compare_pca(fitted(), turned(fitted(), [1.0, -1.0, -1.0]))
    assert agreement.agrees
    assert agreement.largest == 0
    assert (agreement.n_computed, agreement.n_written) == (5, 5)


@pytest.mark.parametrize("name", ["components", "explained_variance_ratio", "projections", "written"])
def test_a_difference_anywhere_shows_in_proportion(name):
    theirs = fitted()
    values = getattr(theirs, name).astype(np.float64)
    place = np.unravel_index(np.abs(values).argmax(), values.shape)
    values[place] *= 1 + 1e-5
    agreement = compare_pca(fitted(), replace(theirs, **{name: values}))
    assert getattr(agreement, name) == pytest.approx(1e-5, rel=0.01)
    assert agreement.largest == getattr(agreement, name)
    assert not agreement.agrees


def test_a_single_turned_projection_is_a_difference():
    theirs = fitted()
    theirs.projections[0] *= -1
    assert not compare_pca(fitted(), theirs).agrees


def test_other_numbers_of_components_are_not_compared():
    fewer = replace(fitted(), components=fitted().components[:2])
    with pytest.raises(ValueError, match="components are of different shapes"):
        compare_pca(fitted(), fewer)
