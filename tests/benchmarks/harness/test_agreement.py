"""Features of two ways are compared image by image."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.harness.agreement import compare, read_features


def test_finds_an_image_by_its_key_and_by_its_address(tmp_path):
    vector = np.arange(1280, dtype=np.float32)
    key = "raw/ingest_date=2026-01-01/Apple Red 1/0_100.jpg"
    for column, place in (("image_key", key), ("path", f"s3://fruits-lake/{key}")):
        (tmp_path / column).mkdir()
        pq.write_table(pa.table({column: [place], "features": [vector]}), tmp_path / column / "part.parquet")
        found = read_features(tmp_path / column, column)
        assert list(found) == [("Apple Red 1", "0_100.jpg")]
        assert np.array_equal(found["Apple Red 1", "0_100.jpg"], vector)


def test_compares_only_what_both_have():
    some = {("Kiwi", "1"): np.array([3, 4], np.float32), ("Kiwi", "2"): np.array([1, 0], np.float32)}
    others = {("Kiwi", "1"): np.array([4, 3], np.float32), ("Lemon", "1"): np.array([1, 0], np.float32)}
    agreement = compare(some, others)
    assert (agreement.n_images, agreement.largest_difference) == (1, 1.0)
    assert agreement.mean_cosine == pytest.approx(24 / 25)


def test_refuses_to_compare_ways_without_a_common_image():
    with pytest.raises(ValueError, match="no image in common"):
        compare({("Kiwi", "1"): np.ones(2, np.float32)}, {("Kiwi", "2"): np.ones(2, np.float32)})
