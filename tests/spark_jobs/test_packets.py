"""Packets carry what they were given, and say what became of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fruit_contract import tables
from fruit_features.lake.vectors import to_list_array, to_matrix
from fruit_features.packets import (
    FEATURES_SCHEMA,
    RESULT_SCHEMA,
    ROW_SCHEMA,
    ROWS_PER_PACKET,
    Outcome,
    outcomes_of,
    pack_features,
    pack_results,
    read_stream,
)

DAY = "2026-11-22"


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=tables.N_FEATURES).astype(np.float32)


def results(*ends: tuple[str, str | None, bool], category: str = "Kiwi") -> pa.RecordBatch:
    """A row for each (status, reason, reused)."""
    rows = []
    vectors = []
    for number, (status, reason, reused) in enumerate(ends):
        has_features = status == "featurised" and not reused
        vectors.append(vector(number) if has_features else None)
        row = dict.fromkeys(ROW_SCHEMA.names) | {
            "image_key": f"raw/ingest_date={DAY}/{category}/{number}.jpg", "ingest_date": DAY, "category": category, "etag": "e",
            "size_bytes": 7, "content_sha256": f"sha-{number}", "width": 60, "height": 40, "embedder_id": "m",
            "status": status, "reason": reason, "reused": reused,
        }  # fmt: skip
        rows.append(row)
    columns = pa.RecordBatch.from_pylist(rows, schema=ROW_SCHEMA).columns
    return pa.RecordBatch.from_arrays([*columns, to_list_array(vectors)], schema=RESULT_SCHEMA)


def placed(*places: tuple[str, str, str]) -> pa.RecordBatch:
    """Rows of features/ for each (date, category, name)."""
    vectors = to_list_array([vector(number) for number in range(len(places))])
    keys = pa.array([f"raw/ingest_date={day}/{category}/{name}" for day, category, name in places])
    texts = [pa.array([f"sha-{number}" for number in range(len(places))]), *[pa.array([1] * len(places), pa.int32())] * 2]
    days, categories = pa.array([place[0] for place in places]), pa.array([place[1] for place in places])
    embedders = pa.array(["m"] * len(places))
    names = [*FEATURES_SCHEMA.names, tables.INGEST_DATE, tables.CATEGORY]
    return pa.RecordBatch.from_arrays([keys, *texts, embedders, vectors, days, categories], names=names)


def test_every_row_is_in_the_packet_and_only_the_featurised_have_features() -> None:
    batch = results(("featurised", None, False), ("rejected", "empty", False), ("featurised", None, True), ("featurised", None, False))

    packet = pack_results(batch)

    assert (packet.ingest_date, packet.category) == (DAY, "Kiwi")
    assert packet.first_image_key == f"raw/ingest_date={DAY}/Kiwi/0.jpg"
    rows, features = read_stream(packet.rows), read_stream(packet.features)
    assert rows.schema == ROW_SCHEMA
    assert rows.to_pylist() == [{name: row[name] for name in ROW_SCHEMA.names} for row in batch.to_pylist()]
    assert features.schema == FEATURES_SCHEMA
    assert [key.rpartition("/")[2] for key in features["image_key"].to_pylist()] == ["0.jpg", "3.jpg"]
    vectors = to_matrix(features[tables.VECTOR].combine_chunks(), tables.N_FEATURES)
    np.testing.assert_array_equal(vectors, [vector(0), vector(3)])


def test_a_packet_counts_what_became_of_its_images() -> None:
    packet = pack_results(results(("featurised", None, False), ("rejected", "empty", False), ("rejected", "empty", False)))

    assert sorted(outcomes_of(packet.ingest_date, packet.category, packet.outcomes), key=str) == sorted(
        [Outcome(DAY, "Kiwi", "featurised", None, False, 1), Outcome(DAY, "Kiwi", "rejected", "empty", False, 2)], key=str
    )


def test_a_packet_of_rejects_alone_has_no_features() -> None:
    assert pack_results(results(("rejected", "empty", False))).features == b""


def test_rows_of_features_are_packed_by_date_and_category_in_key_order() -> None:
    rows = placed((DAY, "Lemon", "2.jpg"), (DAY, "Kiwi", "9.jpg"), ("2026-11-21", "Lemon", "1.jpg"), (DAY, "Lemon", "1.jpg"))

    packets = list(pack_features(rows))

    assert [(packet.ingest_date, packet.category) for packet in packets] == [("2026-11-21", "Lemon"), (DAY, "Kiwi"), (DAY, "Lemon")]
    keys = [key for packet in packets for key in read_stream(packet.features)["image_key"].to_pylist()]
    assert [key.rpartition("/")[2] for key in keys] == ["1.jpg", "9.jpg", "1.jpg", "2.jpg"]
    assert all(packet.rows == b"" and outcomes_of(DAY, "Kiwi", packet.outcomes) == [] for packet in packets)
    by_key = dict(zip(rows["image_key"].to_pylist(), to_matrix(rows[tables.VECTOR], tables.N_FEATURES), strict=True))
    for packet in packets:
        features = read_stream(packet.features)
        for key, found in zip(features["image_key"].to_pylist(), features[tables.VECTOR].to_pylist(), strict=True):
            np.testing.assert_array_equal(np.asarray(found, np.float32), by_key[key])


def test_no_packet_is_larger_than_a_worker_should_hold() -> None:
    packets = list(pack_features(placed(*((DAY, "Kiwi", f"{number:04d}.jpg") for number in range(2 * ROWS_PER_PACKET + 1)))))

    assert [len(read_stream(packet.features)) for packet in packets] == [ROWS_PER_PACKET, ROWS_PER_PACKET, 1]


def test_features_that_are_gone_are_refused_by_the_images_name() -> None:
    rows = placed((DAY, "Kiwi", "1.jpg"))
    rows = rows.set_column(rows.schema.get_field_index(tables.VECTOR), tables.VECTOR, to_list_array([None]))

    with pytest.raises(ValueError, match=r"features for raw/ingest_date=2026-11-22/Kiwi/1\.jpg were there"):
        list(pack_features(rows))
