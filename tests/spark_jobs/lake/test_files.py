"""Checks that the Parquet files of a lake are read as they were written, or are named as damaged."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import tables
from fruit_features.lake import files
from fruit_features.lake.vectors import to_list_array

if TYPE_CHECKING:
    from collections.abc import Iterator

N_IMAGES = 5
URI = "s3://lake/features/ingest_date=2026-11-22/category=Kiwi/a.parquet"
FOOTER_LENGTH_BYTES = 8  # with the magic word behind it


def rows_of(schema: pa.Schema) -> pa.Table:
    random = np.random.default_rng(7)

    def column(field: pa.Field) -> pa.Array:
        if field.name in {tables.MEAN, tables.SCATTER}:
            return pa.array([list(random.normal(size=40))] * N_IMAGES, field.type)
        if pa.types.is_list(field.type):
            return to_list_array(list(random.normal(size=(N_IMAGES, tables.N_FEATURES)).astype(np.float32)))
        return pa.array(
            [f"{field.name} {n}" if pa.types.is_string(field.type) else n for n in range(N_IMAGES)], field.type
        )

    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)


WRITTEN = {
    "features": (files.FEATURES, files.features_to_parquet),
    "projections": (files.PROJECTIONS, files.projections_to_parquet),
    "moments": (files.MOMENTS, files.moments_to_parquet),
    "ledger": (files.LEDGER, files.rows_to_parquet),
}
FILES = {name: (rows_of(schema), bytes(write(rows_of(schema)))) for name, (schema, write) in WRITTEN.items()}


@pytest.mark.parametrize("table", FILES)
def test_what_was_written_comes_back(table: str) -> None:
    rows, content = FILES[table]
    assert files.read_rows(URI, memoryview(content), rows.column_names).equals(rows)
    assert pa.Table.from_batches(files.read_batches(URI, memoryview(content), rows.column_names)).equals(rows)


def begin_of_footer(content: bytes) -> int:
    return len(content) - FOOTER_LENGTH_BYTES - int.from_bytes(content[-FOOTER_LENGTH_BYTES:-4], "little")


def damaged_and_read_by_others() -> Iterator[bytes]:
    """Yields copies of a file of moments with one bit changed each, in which another reader that compares checksums,
    too, finds other rows.
    """
    rows, content = FILES["moments"]
    for place, bit in product(range(4, begin_of_footer(content)), range(8)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        with suppress(pa.ArrowException, OSError):
            file = pq.ParquetFile(pa.BufferReader(bytes(damaged)), page_checksum_verification=True)
            if not file.read().equals(rows):
                yield bytes(damaged)


@pytest.mark.slow
def test_a_vector_that_comes_out_short_is_noticed() -> None:
    """The head of a page says how many values it holds, and its checksum does not cover that."""
    names = FILES["moments"][0].column_names
    found = list(damaged_and_read_by_others())
    assert len(found) >= 2
    for content, read in product(found, (files.read_rows, files.read_batches)):
        with pytest.raises(
            files.DamagedFileError, match=rf"{URI} is not as it was written: '.*' has \d+ values, and the file says \d+"
        ):
            list(read(URI, memoryview(content), names))


@pytest.mark.parametrize("table", FILES)
@given(data=st.data())
def test_a_bit_that_has_changed_in_the_rows_is_noticed(table: str, data: st.DataObject) -> None:
    rows, content = FILES[table]
    place = data.draw(st.integers(4, begin_of_footer(content) - 1), label="place")
    damaged = bytearray(content)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    with suppress(files.DamagedFileError):
        # Where the bit says something about the page that nobody asks for, the rows are as they were.
        assert files.read_rows(URI, memoryview(damaged), rows.column_names).equals(rows)


@pytest.mark.parametrize("content", [b"", b"not Parquet", FILES["features"][1][:-9], FILES["features"][1][100:]])
def test_what_is_no_whole_file_is_named(content: bytes) -> None:
    with pytest.raises(files.DamagedFileError, match=f"^{URI} is not as it was written: "):
        files.read_rows(URI, memoryview(content), files.FEATURES.names)
    with pytest.raises(files.DamagedFileError, match=URI):
        list(files.read_batches(URI, memoryview(content), files.FEATURES.names))


@pytest.mark.parametrize("table", FILES)
@given(data=st.data())
def test_a_footer_that_can_not_be_read_is_told_as_damage_and_nothing_else(table: str, data: st.DataObject) -> None:
    rows, content = FILES[table]
    damaged = bytearray(content)
    place = data.draw(st.integers(begin_of_footer(content), len(content) - 1), label="place")
    damaged[place] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    with suppress(files.DamagedFileError):
        assert files.read_rows(URI, memoryview(damaged), rows.column_names).column_names == rows.column_names
