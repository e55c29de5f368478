"""Checks whether two ways gave the same features, without which their speeds can't be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from fruit_contract import lake, tables
from fruit_contract.tables import N_FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    # By (category, file name), float32[1280] each.
    Features = Mapping[tuple[str, str], NDArray[np.float32]]


@dataclass(frozen=True)
class Agreement:
    """Says how alike two ways' features of the same images are."""

    n_images: int
    mean_cosine: float
    smallest_cosine: float
    largest_difference: float


def read_features(folder: Path, key_column: str) -> Features:
    """Returns the features in the Parquet files below `folder`, by category and file name.

    `key_column` holds an image's key, or its s3:// address. Raises ValueError if it holds anything else.
    """
    found: dict[tuple[str, str], NDArray[np.float32]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(file, columns=[key_column, tables.VECTOR], partitioning=None).combine_chunks()
        vectors = table[tables.VECTOR].combine_chunks().flatten().to_numpy().reshape(-1, N_FEATURES)
        for place, vector in zip(table[key_column].to_pylist(), vectors, strict=True):
            key = lake.parse_image_key(lake.split_uri(place)[1] if "://" in place else place)
            if key is None:
                raise ValueError(f"'{place}' is not an image of a lake.")
            found[key.category, key.file_name] = vector
    return found


def compare(some: Features, others: Features) -> Agreement:
    """Compares the images that both have. Raises ValueError if they have none in common."""
    common = sorted(some.keys() & others.keys())
    if not common:
        raise ValueError("The two ways have no image in common: their features can't be compared.")
    left = np.stack([some[key] for key in common]).astype(np.float64)
    right = np.stack([others[key] for key in common]).astype(np.float64)
    cosines = (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
    return Agreement(len(common), float(cosines.mean()), float(cosines.min()), float(np.abs(left - right).max()))
