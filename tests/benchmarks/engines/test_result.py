"""Checks the figures that follow from engines measured in turn, and from their features of the same images."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.engines.result import (
    EngineRun,
    best_batches,
    is_clear,
    known_images,
    nearest_neighbour_accuracy,
    quality,
    summarise_engines,
)


def run(engine, inference_batch, number, images_per_second, cpu_milliseconds=10.0):
    return EngineRun(engine, inference_batch, number, images_per_second, cpu_milliseconds / 1000)


def test_a_run_is_compared_with_the_reference_of_its_own_round():
    # The machine became half as fast from round to round: the ratio within a round is the same.
    runs = [
        run("ours", 1, 0, 200.0),
        run("theirs", 1, 0, 220.0),
        run("theirs", 1, 1, 110.0, 8.0),
        run("ours", 1, 1, 100.0, 12.0),
    ]
    ours, theirs = summarise_engines(runs, "ours", 1)
    speed, by_cpu = "images_per_second", "images_per_cpu_second"
    assert (ours.first.engine, ours.n_runs, ours.ratio(speed), ours.ratio(by_cpu)) == ("ours", 2, 1.0, 1.0)
    assert (theirs.ratio(speed), *theirs.ratios(speed)) == pytest.approx((1.1, 1.1, 1.1))
    assert (min(theirs.ratios(by_cpu)), theirs.ratio(by_cpu), max(theirs.ratios(by_cpu))) == pytest.approx(
        (1.0, 1.25, 1.5)
    )
    assert theirs.median(speed) == pytest.approx(165)


def test_engines_stand_in_the_order_they_ran_first_and_by_batch():
    runs = [run("b", 32, 0, 1.0), run("a", 1, 0, 1.0), run("b", 4, 0, 1.0), run("a", 4, 0, 1.0)]
    assert [(way.first.engine, way.first.inference_batch) for way in summarise_engines(runs, "a", 1)] == [
        ("b", 4),
        ("b", 32),
        ("a", 1),
        ("a", 4),
    ]


def test_the_best_batch_of_each_engine_is_the_best_by_cpu():
    # While "a" ran four at once, others left the machine alone: it looked faster.
    a = [run("a", 1, 0, 100.0, 10.0), run("a", 4, 0, 150.0, 11.0)]
    b = [run("b", 1, 0, 50.0, 20.0), run("b", 4, 0, 80.0, 12.5), run("b", 32, 0, 70.0, 14.0)]
    best = best_batches(summarise_engines([*a, *b], "a", 1))
    assert {engine: (way.first.inference_batch, way.ratio("images_per_second")) for engine, way in best.items()} == {
        "a": (1, 1.0),
        "b": (4, 0.8),
    }


def test_faster_is_clear_if_every_round_agrees():
    reference = [run("a", 1, number, 100.0) for number in range(2)]
    clear = summarise_engines([*reference, run("b", 1, 0, 110.0, 9.0), run("b", 1, 1, 90.0, 9.9)], "a", 1)[1]
    unclear = summarise_engines([*reference, run("b", 1, 0, 130.0, 8.0), run("b", 1, 1, 110.0, 10.1)], "a", 1)[1]
    assert is_clear(clear)
    assert not is_clear(unclear)


def test_refuses_a_round_without_the_reference():
    with pytest.raises(ValueError, match="Round 1 has no run of a at batch 1"):
        summarise_engines([run("a", 1, 0, 1.0), run("b", 1, 1, 1.0), run("a", 4, 1, 1.0)], "a", 1)


def test_one_image_in_five_of_each_category_is_known():
    assert known_images(["a", "b", "a", "a", "a", "a", "a", "b"]) == [
        True,
        True,
        False,
        False,
        False,
        False,
        True,
        False,
    ]


def test_accuracy_is_the_share_whose_nearest_known_image_has_their_category():
    # By cosine: length does not matter. The last one, an "a", points where "b" is.
    features = np.array([[1, 0], [0, 1], [50, 1], [1, 9], [0.1, 2]], dtype=np.float32)
    assert nearest_neighbour_accuracy(features, ["a", "b", "a", "b", "a"]) == pytest.approx(2 / 3)


def test_accuracy_needs_an_image_to_recognise():
    with pytest.raises(ValueError, match="none to recognise"):
        nearest_neighbour_accuracy(np.eye(2, dtype=np.float32), ["a", "b"])


def test_quality_compares_with_the_reference():
    expected = np.array([[3, 4], [4, 3], [3, 5], [4, 2]], dtype=np.float32)
    same = quality("same", expected, expected, ["a", "b", "a", "b"])
    assert (same.engine, same.mean_cosine, same.largest_difference, same.accuracy, same.k) == (
        "same",
        pytest.approx(1),
        0,
        1,
        2,
    )
    found = expected.copy()
    found[0] = [4, 3]
    other = quality("other", found, expected, ["a", "b", "a", "b"])
    assert other.largest_difference == 1
    assert other.mean_cosine == pytest.approx((24 / 25 + 3) / 4)
