from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fruit_contract.tables import RejectReason
from fruit_features.embedding.featurise import featurise
from fruit_features.embedding.fetching import FetchedImage
from fruit_features.lake.vectors import to_list_array, to_matrix
from fruit_features.packets import RESULT_SCHEMA
from tests.spark_jobs.lake_folder import jpeg

PREFIX = "raw/ingest_date=2026-11-22/Kiwi/"


class MeanEngine:
    """Every feature is the image's mean; remembers how many images came at once."""

    inference_batch = 8

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        return np.repeat(images.mean(axis=(1, 2, 3))[:, None], 1280, axis=1).astype(np.float32)


def fetched(name: str, content: bytes) -> FetchedImage:
    return FetchedImage(PREFIX + name, "etag-" + name, len(content), content)


def test_an_image_has_the_same_features_in_any_batch() -> None:
    images = [fetched(f"{index}.jpg", jpeg(index)) for index in range(21)]
    engine = MeanEngine()

    together = pa.Table.from_batches(featurise(images, engine, "m"))

    assert engine.batches == [8, 8, 5]
    rows = {row["image_key"]: row for row in together.to_pylist()}
    for image in images:
        (alone,) = pa.Table.from_batches(featurise([image], MeanEngine(), "m")).to_pylist()
        assert rows[image.image_key] == alone


def test_what_has_no_content_says_why() -> None:
    gone = FetchedImage(PREFIX + "gone.jpg", "e", 10, missing=RejectReason.VANISHED)
    huge = FetchedImage(PREFIX + "huge.jpg", "e", 2**40, missing=RejectReason.TOO_LARGE)

    table = pa.Table.from_batches(featurise([gone, huge], MeanEngine(), "m"))

    assert table.schema == RESULT_SCHEMA
    assert table["status"].to_pylist() == ["rejected", "rejected"]
    assert table["reason"].to_pylist() == ["vanished", "too_large"]
    assert "1,099,511,627,776 bytes" in table["detail"][1].as_py()
    assert table["features"].null_count == 2


def test_a_key_that_is_no_images_is_a_defect_not_a_reject() -> None:
    with pytest.raises(ValueError, match="not an image's key"):
        list(featurise([FetchedImage("raw/x", "e", 1, b"x")], MeanEngine(), "m"))


def test_vectors_survive_arrow_to_the_bit() -> None:
    vectors = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)

    column = to_list_array(list(vectors))

    np.testing.assert_array_equal(to_matrix(column, 5), vectors)
    np.testing.assert_array_equal(to_matrix(column.slice(2, 3), 5), vectors[2:5])
    assert to_list_array([vectors[0], None, vectors[1]]).to_pylist() == [vectors[0].tolist(), None, vectors[1].tolist()]
    assert to_matrix(to_list_array([]), 5).shape == (0, 5)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1280 each"):
        to_matrix(pa.array([[1.0, 2.0]], pa.list_(pa.float32())), 1280)
