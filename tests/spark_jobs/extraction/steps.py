"""Holds what the tests of the features step share: a request, images to deliver, and a table as a user reads it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from fruit_contract import tables
from fruit_features.embedding.artefact import find_embedder
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.step import ExtractionRequest
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_features.embedding.artefact import EmbedderArtefact


DAY = "2026-11-22"


def extraction(published: LakeFolder, *dates: str, categories: tuple[str, ...] = ()) -> ExtractionRequest:
    return ExtractionRequest(published.bucket, RELEASE, "run-1", dates or (DAY,), categories, "litert")


def read(test_lake: LakeFolder, table: str) -> Any:
    """Returns the table as a user reads it; empty if it has no files."""
    folder = test_lake.folder / table
    return pd.read_parquet(folder) if any(folder.rglob("*.parquet")) else pd.DataFrame()


def files_of(*categories: str, images: int = 3) -> dict[str, bytes]:
    return {
        f"{category}/{index}.jpg": jpeg(hash_of(f"{category}/{index}"))
        for category in categories
        for index in range(images)
    }


def hash_of(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


@contextmanager
def another_embedder() -> Iterator[None]:
    """Makes the step find an embedder of another name that computes the same, as for a release of other weights."""

    def find(*arguments: Any) -> EmbedderArtefact:
        return replace(find_embedder(*arguments), embedder_id="another")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction_step, "find_embedder", find)
        yield


def lines_of(test_lake: LakeFolder, table: str) -> list[str]:
    """Returns the rows of a table without the names of files, which differ from write to write."""
    rows = read(test_lake, table).drop(columns=tables.FILE, errors="ignore")
    return sorted(
        str({name: value.tolist() if isinstance(value, np.ndarray) else str(value) for name, value in row.items()})
        for row in rows.to_dict("records")
    )
