from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from fruit_contract.tables import RejectReason
from fruit_features.embedding.featurise import RESULTS, KnownFeatures, featurise
from fruit_features.embedding.fetching import FetchedImage
from fruit_features.lake.vectors import to_list_array, to_matrix
from tests.spark_jobs.lake_folder import jpeg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fruit_contract.lake import ImageKey

PREFIX = "raw/ingest_date=2026-11-22/Kiwi/"


class MeanEngine:
    """Fills every feature with the image's mean, and remembers how many images came at once."""

    inference_batch = 8

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        return np.repeat(images.mean(axis=(1, 2, 3))[:, None], 1280, axis=1).astype(np.float32)


def fetched(name: str, content: bytes) -> FetchedImage:
    return FetchedImage(PREFIX + name, "etag-" + name, len(content), content)


def table_of(batches: Iterable[tuple[ImageKey, pa.RecordBatch]]) -> pa.Table:
    return pa.Table.from_batches([batch for _, batch in batches], RESULTS)


def test_an_image_has_the_same_features_in_any_batch() -> None:
    images = [fetched(f"{index}.jpg", jpeg(index)) for index in range(21)]
    engine = MeanEngine()

    together = table_of(featurise(images, engine, "m"))

    assert engine.batches == [8, 8, 5]
    rows = {row["image_key"]: row for row in together.to_pylist()}
    for image in images:
        (alone,) = table_of(featurise([image], MeanEngine(), "m")).to_pylist()
        assert rows[image.image_key] == alone


def test_what_has_no_content_says_why() -> None:
    gone = FetchedImage(PREFIX + "gone.jpg", "e", 10, missing=RejectReason.VANISHED)
    huge = FetchedImage(PREFIX + "huge.jpg", "e", 2**40, missing=RejectReason.TOO_LARGE)

    table = table_of(featurise([gone, huge], MeanEngine(), "m"))

    assert table.schema == RESULTS
    assert table["status"].to_pylist() == ["rejected", "rejected"]
    assert table["reason"].to_pylist() == ["vanished", "too_large"]
    assert "1,099,511,627,776 bytes" in table["detail"][1].as_py()
    assert table["features"].null_count == 2


def test_record_batches_are_of_one_date_and_category_and_bounded() -> None:
    places = [
        ("2026-11-21", "Kiwi", 3),
        ("2026-11-21", "Lemon", 300),
        ("2026-11-22", "Kiwi", 2),
        ("2026-11-22", "Lemon", 1),
    ]
    images = [
        FetchedImage(f"raw/ingest_date={day}/{category}/{number:04}.jpg", "e", 1, b"x")
        for day, category, n in places
        for number in range(n)
    ]

    found = [(place.ingest_date, place.category, batch) for place, batch in featurise(images, MeanEngine(), "m")]

    assert [(day, category, batch.num_rows) for day, category, batch in found] == [
        ("2026-11-21", "Kiwi", 3),
        ("2026-11-21", "Lemon", 128),
        ("2026-11-21", "Lemon", 128),
        ("2026-11-21", "Lemon", 44),
        ("2026-11-22", "Kiwi", 2),
        ("2026-11-22", "Lemon", 1),
    ]
    keys = [key for _, _, batch in found for key in batch.column("image_key").to_pylist()]
    assert sorted(keys) == sorted(image.image_key for image in images)
    for day, category, batch in found:
        assert all(
            key.startswith(f"raw/ingest_date={day}/{category}/") for key in batch.column("image_key").to_pylist()
        )


def test_known_features_are_copied_and_nothing_is_computed_for_them() -> None:
    images = [fetched(f"{index}.jpg", jpeg(index)) for index in range(5)]
    vector = np.arange(1280, dtype=np.float32)
    asked: list[tuple[str, str]] = []

    def known(image_key: str, content_sha256: str) -> KnownFeatures | None:
        asked.append((image_key, content_sha256))
        return KnownFeatures(vector, 7, 9) if image_key.endswith("/2.jpg") else None

    engine = MeanEngine()
    rows = {row["image_key"]: row for row in table_of(featurise(images, engine, "m", known)).to_pylist()}

    assert engine.batches == [4]
    assert asked == [(image.image_key, hashlib.sha256(image.content).hexdigest()) for image in images]
    row = rows[PREFIX + "2.jpg"]
    assert (row["reused"], row["width"], row["height"], row["status"], row["reason"]) == (
        True,
        7,
        9,
        "featurised",
        None,
    )
    np.testing.assert_array_equal(row["features"], vector)
    assert [key for key, found in rows.items() if found["reused"]] == [PREFIX + "2.jpg"]


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
