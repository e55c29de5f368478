"""Moves vectors between numpy and Arrow list columns by their buffers, without pandas or a Python object a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def to_list_array(vectors: Sequence[NDArray[np.float32] | None]) -> pa.ListArray:
    """Returns a list<float32> array with one entry for each vector. None becomes null."""
    offsets = np.zeros(len(vectors) + 1, dtype=np.int32)
    np.cumsum([0 if vector is None else len(vector) for vector in vectors], out=offsets[1:])
    kept = [vector for vector in vectors if vector is not None]
    values = np.concatenate(kept, dtype=np.float32) if kept else np.empty(0, np.float32)
    missing = None if len(kept) == len(vectors) else pa.array([vector is None for vector in vectors])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=missing)


def to_matrix(column: pa.ListArray, width: int) -> NDArray[np.float32]:
    """Returns a list<float32> column as float32[n, width], which is read-only and shares Arrow's buffer.

    Raises ValueError if a vector is null or has another length.
    """
    values = column.flatten()
    if len(values) != len(column) * width or column.null_count:
        raise ValueError(f"{len(column)} vectors hold {len(values)} numbers, expected {width} each.")
    buffer = values.buffers()[1]
    flat = (
        np.frombuffer(buffer, dtype=np.float32, count=len(values), offset=values.offset * 4)
        if buffer
        else np.empty(0, np.float32)
    )
    return flat.reshape(len(column), width)


def rows_of_embedder(rows: Rows, embedder_id: str) -> Rows:
    """Returns the rows of one embedder. Nothing is copied if all rows are."""
    its_own = pc.equal(rows.column(tables.EMBEDDER_ID), embedder_id)
    return rows if pc.all(its_own).as_py() else rows.filter(its_own)
