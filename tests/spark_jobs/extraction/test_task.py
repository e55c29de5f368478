"""A task of the features step stops at features that are no numbers, and names the image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fruit_contract import tables
from fruit_features.embedding.artefact import EmbedderArtefact
from fruit_features.extraction import task
from fruit_features.extraction.task import SOURCE, FeaturesTask
from fruit_features.lake import files
from fruit_features.moments.algebra import NotFiniteError
from fruit_features.moments.of_files import moments_of_files
from fruit_features.moments.parts import ImageMoments
from tests.spark_jobs.written_dates import keys_in, put_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"
NAME = "category=Kiwi/w1-000000.parquet"


def test_names_the_image_whose_features_hold_a_nan(test_lake: LakeFolder) -> None:
    keys = put_with_nan(test_lake)
    features = files.read_rows(NAME, test_lake.store.read(f"features/ingest_date={DAY}/{NAME}"), files.FEATURES.names)

    with pytest.raises(NotFiniteError, match=keys[2]):
        ImageMoments().add(features.to_batches()[0])


def test_features_of_the_lake_that_hold_a_nan_are_named_too(test_lake: LakeFolder) -> None:
    keys = put_with_nan(test_lake)

    with pytest.raises(NotFiniteError, match=keys[2]):
        moments_of_files(None, test_lake.store, DAY, "w2", "m", {NAME: 4})


def test_the_images_of_a_category_come_file_by_file() -> None:
    """Whatever the order of their names says. Dates and categories stay in theirs, also where a name is the beginning
    of another.
    """
    names = [
        f"{day}/{category}/{name}"
        for day in (DAY, "2026-11-23")
        for category in ("Kiwi", "Kiwi 2")
        for name in ("a", "b/c", "d\n", "e")
    ]
    keys = sorted(f"raw/ingest_date={name}" for name in names)
    images = pa.table({"image_key": keys, SOURCE: ["y", None, "x", "y"] * 4})

    found = task.by_source(images)

    expected = [
        f"{start}{name}"
        for start in dict.fromkeys(key[: key.index("/", 27) + 1] for key in keys)
        for name in ("d\n", "a", "e", "b/c")
    ]
    assert found.column("image_key").to_pylist() == expected
    assert found.column(SOURCE).to_pylist() == ["x", "y", "y", None] * 4
    unknown = images.set_column(1, SOURCE, pa.nulls(len(keys), pa.string()))
    assert task.by_source(unknown) is unknown


@dataclass(frozen=True)
class OddEngine:
    """Plays an engine that is broken, or of another network."""

    features: NDArray[np.float32]
    inference_batch: int = 1

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([self.features] * len(images))


@pytest.mark.parametrize(
    ("features", "error"),
    [
        (np.full(tables.N_FEATURES, np.inf, np.float32), "raw/ingest_date=2026-11-22/Kiwi/1.jpg' hold NaN or infinity"),
        (np.ones(tables.N_FEATURES - 1, np.float32), "1 vectors hold 1279 numbers, expected 1280 each"),
    ],
)
def test_a_task_writes_no_features_that_are_none(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch, features: NDArray[np.float32], error: str
) -> None:
    """Nobody reads the vectors again to see whether they are sound: Airflow's check reads footers and short columns."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(picture, "JPEG")
    test_lake.put(f"raw/ingest_date={DAY}/Kiwi/1.jpg", picture.getvalue())
    listed = test_lake.store.list_images(f"raw/ingest_date={DAY}/")
    asked = listed.append_column(SOURCE, pa.array([""], pa.string()))
    monkeypatch.setattr(task, "load_embedder", lambda _: OddEngine(features))
    monkeypatch.setattr(task, "is_retry", lambda: False)
    artefact = EmbedderArtefact(test_lake.store, "r1", "m", "litert", "", "")

    with pytest.raises(ValueError, match=error):
        FeaturesTask(artefact, "w1")(task.to_stream(asked), 0)

    assert test_lake.store.list_keys("features/") == []


def put_with_nan(test_lake: LakeFolder) -> list[str]:
    images = tuple(f"{number}.jpg" for number in range(4))
    put_features(test_lake.store, DAY, NAME, images)
    path = f"features/ingest_date={DAY}/{NAME}"
    rows = files.read_rows(path, test_lake.store.read(path), files.FEATURES.names)
    values = np.array(rows.column(tables.VECTOR).to_pylist(), dtype=np.float32)
    values[2, 5] = np.nan
    vectors = pa.array(values.tolist(), rows.schema.field(tables.VECTOR).type)
    rows = rows.set_column(rows.schema.get_field_index(tables.VECTOR), rows.schema.field(tables.VECTOR), vectors)
    test_lake.store.write(path, files.features_to_parquet(rows))
    return keys_in(DAY, NAME, images)
