"""Parts of moments: whatever they are split by, merged they are the moments of all rows."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from fruit_contract import tables
from fruit_features.lake.vectors import to_list_array
from fruit_features.moments.algebra import moments_of
from fruit_features.moments.parts import PartRow, PartsOfDates, merge_parts, read_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fruit_features.moments.parts import Part


def rows(names: Sequence[str], embedders: Sequence[str] | None = None) -> pa.RecordBatch:
    vectors = to_list_array([vector(name) for name in names])
    columns = {
        tables.IMAGE_KEY: pa.array(names),
        tables.CONTENT_SHA256: pa.array([f"sha of {name}" for name in names]),
        tables.EMBEDDER_ID: pa.array(embedders or ["m"] * len(names)),
        tables.VECTOR: vectors,
    }
    return pa.RecordBatch.from_pydict(columns)


def vector(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).normal(size=tables.N_FEATURES).astype(np.float32)


def merged(found: Iterable[PartRow]) -> dict[tuple[str, str], Part]:
    batch = pa.RecordBatch.from_pylist([row._asdict() for row in found])
    in_order = sorted(read_parts([batch]), key=lambda member: member[0])
    return dict(merge_parts(in_order))


def test_rows_of_several_dates_and_embedders_are_kept_apart() -> None:
    parts = PartsOfDates()
    found = [
        *parts.add("2026-11-21", "Kiwi", rows(["a", "b"])),
        *parts.add("2026-11-21", "Lemon", rows(["c", "d"], ["m", "other"])),
        *parts.add("2026-11-22", "Kiwi", rows(["e"])),
        *parts.finish(),
    ]

    assert [(row.ingest_date, row.embedder_id, row.n_samples) for row in found] == [
        ("2026-11-21", "m", 3), ("2026-11-21", "other", 1), ("2026-11-22", "m", 1),
    ]  # fmt: skip
    expected = moments_of(np.stack([vector(name) for name in "abc"]))
    moments = merged(found)["2026-11-21", "m"].moments
    np.testing.assert_allclose(moments.scatter, expected.scatter, atol=1e-12 * np.abs(expected.scatter).max())
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-12)


def test_only_one_date_is_held_at_a_time() -> None:
    parts = PartsOfDates()
    assert list(parts.add("2026-11-21", "Kiwi", rows(["a"]))) == []
    assert [row.ingest_date for row in parts.add("2026-11-22", "Kiwi", rows(["b"]))] == ["2026-11-21"]
    assert [row.ingest_date for row in parts.finish()] == ["2026-11-22"]
    assert list(parts.finish()) == []


def test_a_digest_does_not_depend_on_order_or_split_and_changes_with_every_image() -> None:
    def digest(splits: Sequence[Sequence[str]], category: str = "Kiwi") -> int:
        found: list[PartRow] = []
        for names in splits:
            parts = PartsOfDates()
            found += [*parts.add("2026-11-21", category, rows(names)), *parts.finish()]
        return merged(found)["2026-11-21", "m"].digest

    whole = digest([["a", "b", "c"]])
    assert all(digest([order[:1], order[1:]]) == whole for order in permutations("abc"))
    assert len({whole, digest([["a", "b"]]), digest([["a", "b", "d"]]), digest([["a", "b", "c"]], "Lemon")}) == 4
