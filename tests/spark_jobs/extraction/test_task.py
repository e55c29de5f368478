"""A task of the features step stops at features that are no numbers, and names the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from fruit_contract import tables
from fruit_features.lake import files
from fruit_features.moments.algebra import NotFiniteError
from fruit_features.moments.of_files import moments_of_files
from fruit_features.moments.parts import ImageMoments
from tests.spark_jobs.written_dates import keys_in, put_features

if TYPE_CHECKING:
    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"
NAME = "category=Kiwi/w1-000000.parquet"


def test_names_the_image_whose_features_hold_a_nan(test_lake: LakeFolder) -> None:
    keys = put_with_nan(test_lake)
    features = files.read_rows(test_lake.store.read(f"features/ingest_date={DAY}/{NAME}"), files.FEATURES.names)

    with pytest.raises(NotFiniteError, match=keys[2]):
        ImageMoments().add(features.to_batches()[0])


def test_features_of_the_lake_that_hold_a_nan_are_named_too(test_lake: LakeFolder) -> None:
    keys = put_with_nan(test_lake)

    with pytest.raises(NotFiniteError, match=keys[2]):
        moments_of_files(None, test_lake.store, DAY, "w2", "m", {NAME: 4})


def put_with_nan(test_lake: LakeFolder) -> list[str]:
    images = tuple(f"{number}.jpg" for number in range(4))
    put_features(test_lake.store, DAY, NAME, images)
    path = f"features/ingest_date={DAY}/{NAME}"
    rows = files.read_rows(test_lake.store.read(path), files.FEATURES.names)
    values = np.array(rows.column(tables.VECTOR).to_pylist(), dtype=np.float32)
    values[2, 5] = np.nan
    vectors = pa.array(values.tolist(), rows.schema.field(tables.VECTOR).type)
    rows = rows.set_column(rows.schema.get_field_index(tables.VECTOR), rows.schema.field(tables.VECTOR), vectors)
    test_lake.store.write(path, files.features_to_parquet(rows))
    return keys_in(DAY, NAME, images)
