"""What a task of the write does, without Spark: packets to files in a store, and parts of moments."""

from __future__ import annotations

import io
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruit_contract import tables
from fruit_features import features_writing
from fruit_features.features_writing import write_packets
from fruit_features.lake import store as object_store
from fruit_features.lake.vectors import to_list_array, to_matrix
from fruit_features.packets import FEATURES_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY = "2026-11-22"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A store of objects; files and row groups in it are small."""
    objects: dict[str, bytes] = {}

    def put(_: str, key: str, content: memoryview) -> None:
        objects[key] = bytes(content)

    monkeypatch.setattr(object_store, "write_plain_object", put)
    monkeypatch.setattr(features_writing, "MOST_ROWS_PER_FILE", 8)
    monkeypatch.setattr(features_writing, "_ROWS_PER_ROW_GROUP", 4)
    return objects


def vector(number: int) -> np.ndarray:
    return np.full(tables.N_FEATURES, number, np.float32)


def packet(category: str, file_number: int, numbers: Sequence[int]) -> tuple[str, str, int, bytes]:
    n = len(numbers)
    columns = [
        pa.array([f"{number:03d}.jpg" for number in numbers]),
        pa.array(["sha"] * n),
        *[pa.array([1] * n, pa.int32())] * 2,
        pa.array(["m"] * n),
        to_list_array([vector(number) for number in numbers]),
    ]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, FEATURES_SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=FEATURES_SCHEMA))
    return DAY, category, file_number, sink.getvalue()


def read_numbers(store: dict[str, bytes], folder: str) -> list[int]:
    """Of every row below `folder`, its number, which its key and its features must agree on."""
    numbers = []
    for key in sorted(store):
        if key.startswith(f"features/ingest_date={DAY}/{folder}/"):
            table = pq.read_table(io.BytesIO(store[key]))
            matrix = to_matrix(table[tables.VECTOR].combine_chunks(), tables.N_FEATURES)
            found = [int(name[:3]) for name in table[tables.IMAGE_KEY].to_pylist()]
            np.testing.assert_array_equal(matrix[:, 0], found)
            numbers += found
    return numbers


@pytest.mark.parametrize("n_rows", [1, 3, 4, 7, 8, 9, 11, 12, 16, 17, 30])
def test_every_row_is_in_one_file_wherever_files_and_row_groups_end(store: dict[str, bytes], n_rows: int) -> None:
    packets = [packet("Kiwi", 0, range(start, min(start + 3, n_rows))) for start in range(0, n_rows, 3)]

    parts = list(write_packets(packets, "bucket", "w1"))

    assert read_numbers(store, "category=Kiwi") == list(range(n_rows))
    assert all(pq.read_metadata(io.BytesIO(content)).num_rows for content in store.values())
    assert [(part.ingest_date, part.embedder_id, part.n_samples) for part in parts] == [(DAY, "m", n_rows)]
    assert len(store) >= n_rows // 12


def test_partitions_and_numbers_of_files_are_kept_apart(store: dict[str, bytes]) -> None:
    list(write_packets([packet("Äpfel 50%", 0, [1]), packet("Kiwi", 0, [2, 3]), packet("Kiwi", 1, [4])], "bucket", "w1"))

    assert sorted(store) == [
        f"features/ingest_date={DAY}/category=Kiwi/part-00000-000-w1.parquet",
        f"features/ingest_date={DAY}/category=Kiwi/part-00001-000-w1.parquet",
        f"features/ingest_date={DAY}/category=Äpfel 50%25/part-00000-000-w1.parquet",
    ]


def test_a_task_that_is_tried_again_replaces_what_it_wrote(store: dict[str, bytes]) -> None:
    packets = [packet("Kiwi", 0, range(start, start + 3)) for start in range(0, 30, 3)] + [packet("Lemon", 0, [99])]
    # It comes as far as its first part, or is cut off after some files.
    for cut_off_after in (4, 9):
        list(write_packets(islice(packets, cut_off_after), "bucket", "w1"))

    list(write_packets(packets, "bucket", "w1"))

    assert read_numbers(store, "category=Kiwi") == list(range(30))
    assert read_numbers(store, "category=Lemon") == [99]
