from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruit_contract.commit import METADATA_KEY, Commit, commit_to_json
from fruit_contract.increments import KnownImage
from fruit_contract.lake import ledger_key
from fruit_pipeline.lake.dates.date_ledger import _LARGE_AT_ONCE, find_ledger, known_batches, ledger_schema, values_of
from tests.plugins.sample_lake import BUCKET, DAY, EMBEDDER, MemoryS3, commit_of, features_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugins.sample_lake import SampleLake


def known(sample: SampleLake, lost: set[str] | None = None) -> Iterator[KnownImage]:
    for batch in known_batches(sample.lake, find_ledger(sample.lake, DAY), lost or set()):
        yield from (KnownImage(**row) for row in batch.to_pylist())


def test_finds_the_commit(sample_lake: SampleLake) -> None:
    ledger = find_ledger(sample_lake.lake, DAY)
    assert ledger.commit == commit_of(sample_lake.images)
    assert not ledger.is_of_earlier_form
    assert [stored.key for stored in ledger.stored] == [ledger_key(DAY)]


def test_a_date_may_have_no_ledger(sample_lake: SampleLake) -> None:
    ledger = find_ledger(sample_lake.lake, "2026-11-23")
    assert (ledger.stored, ledger.commit, ledger.is_of_earlier_form) == ((), None, False)
    assert list(known_batches(sample_lake.lake, ledger)) == []


def test_tells_what_is_known_in_order(sample_lake: SampleLake) -> None:
    lines = list(known(sample_lake))
    assert [line.image_key for line in lines] == sorted(image.key for image in sample_lake.images)
    by_key = {image.key: image for image in sample_lake.images}
    for line in lines:
        image = by_key[line.image_key]
        assert (line.category, line.status, line.reason) == (image.category, image.status, image.reason)
        assert (line.etag, line.embedder_id, line.has_features) == (sample_lake.etag(image.key), EMBEDDER, True)


def test_an_image_whose_file_is_lost_has_no_features(sample_lake: SampleLake) -> None:
    lost = {
        line.image_key
        for line in known(sample_lake, {features_key("Kiwi"), "features/another"})
        if not line.has_features
    }
    assert lost == {image.key for image in sample_lake.featurised("Kiwi")}


def test_the_earlier_form_tells_the_same(sample_lake: SampleLake) -> None:
    before = list(known(sample_lake))
    sample_lake.write_earlier_ledger(sample_lake.images)
    ledger = find_ledger(sample_lake.lake, DAY)
    assert (ledger.is_of_earlier_form, len(ledger.stored)) == (True, 2)
    assert list(known(sample_lake)) == before
    assert ledger_schema(sample_lake.lake, ledger)[1] == 43


def test_what_a_step_left_of_the_earlier_form_does_not_count_beside_a_commit(sample_lake: SampleLake) -> None:
    content = sample_lake.client.objects[ledger_key(DAY)]
    sample_lake.write_earlier_ledger(sample_lake.images[:3])
    sample_lake.client.objects[ledger_key(DAY)] = content
    assert len(list(known(sample_lake))) == 43
    assert len(find_ledger(sample_lake.lake, DAY).leftovers) == 2


def write_large(client: MemoryS3, n: int) -> None:
    """Writes a ledger whose rows are written in groups, as the step streams them."""
    schema = pa.schema(
        [
            (name, pa.string())
            for name in ("image_key", "etag", "category", "status", "reason", "embedder_id", "file", "content_sha256")
        ]
    ).with_metadata({METADATA_KEY: commit_to_json(Commit(DAY, "w", n, 0))})
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, schema) as writer:
        for start in range(0, n, 10_000):
            keys = [f"raw/ingest_date={DAY}/Kiwi/{number:09}.jpg" for number in range(start, min(n, start + 10_000))]
            constants = [["e", "Kiwi", "featurised", None, "m", "f", "00"]] * len(keys)
            columns = [keys, *map(list, zip(*constants, strict=True))]
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=schema))
    client.put_object(Bucket=BUCKET, Key=ledger_key(DAY), Body=stream.getvalue())


@pytest.mark.slow
def test_a_ledger_of_many_rows_is_not_kept(empty_lake: SampleLake) -> None:
    def peak(n: int) -> int:
        write_large(empty_lake.client, n)
        before = pa.total_allocated_bytes()
        return max(
            pa.total_allocated_bytes() - before
            for _ in known_batches(empty_lake.lake, find_ledger(empty_lake.lake, DAY))
        )

    few, many = peak(10_000), peak(100_000)
    assert many < few + 2_000_000  # a row takes a hundred bytes


def test_of_large_ledgers_two_are_read_at_once(empty_lake: SampleLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run which looks at many large dates takes no more memory for it."""
    write_large(empty_lake.client, 50_000)
    ledger = find_ledger(empty_lake.lake, DAY)
    monkeypatch.setattr("fruit_pipeline.lake.dates.date_ledger._LARGE_BYTES", 0)
    first, second, third = (known_batches(empty_lake.lake, ledger) for _ in range(3))
    next(first)
    next(second)
    assert not _LARGE_AT_ONCE.acquire(blocking=False)
    assert sum(map(len, second)) > 0
    assert sum(map(len, third)) == 50_000
    del first
    assert [_LARGE_AT_ONCE.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    _LARGE_AT_ONCE.release(2)


def test_small_ledgers_wait_for_none(sample_lake: SampleLake) -> None:
    reading = [known_batches(sample_lake.lake, find_ledger(sample_lake.lake, DAY)) for _ in range(16)]
    assert [len(next(batches)) for batches in reading] == [43] * 16


def test_only_what_planning_needs_is_fetched_of_a_large_ledger(
    empty_lake: SampleLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fruit_pipeline.lake.dates.date_ledger.READ_AHEAD_BYTES", 0)
    write_large(empty_lake.client, 50_000)
    fetched = []
    get_object = MemoryS3.get_object

    def count(client: MemoryS3, **options: str) -> dict[str, io.BytesIO]:
        answer = get_object(client, **options)
        fetched.append(len(answer["Body"].getvalue()))
        return answer

    monkeypatch.setattr(MemoryS3, "get_object", count)
    assert sum(1 for _ in known(empty_lake)) == 50_000
    assert sum(fetched) < len(empty_lake.client.objects[ledger_key(DAY)][0]) * 1.5
    assert len(fetched) < 60


@pytest.mark.parametrize(
    "values", [[], ["a"], ["a", "b", "c"], ["a"] * 9, [None] * 9, ["a", None] * 9, [*"aaaaab", None]]
)
def test_a_column_is_the_same_whether_it_repeats_itself_or_not(values: list[str | None]) -> None:
    assert values_of(pa.array(values, pa.string())) == values
    assert values_of(pa.array([1, None], pa.int64())) == [1, None]
