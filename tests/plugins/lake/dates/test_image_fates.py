from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.increments import Fate, KnownImage, ListedImage, compare
from fruit_contract.lake import image_category, image_key, refused_category
from fruit_pipeline.lake.dates.image_fates import fates_of
from fruit_pipeline.lake.dates.image_rows import IMAGES, KNOWN, images_of, rows_of_pages
from fruit_pipeline.lake.listing_page import ListedPage

DAY = "2026-11-22"
PREFIX = f"raw/ingest_date={DAY}/"
# What is special to the rules, what UTF-8, UTF-16 and Python order in different ways, and anything else.
CHARACTERS = st.sampled_from(
    [*"/._= aZ0", "\n", "\t", "\x00", "\x85", "ä", "\u0308", "￿", "\ue000", "\U0001f34e"]
) | st.characters(exclude_categories=["Cs"])
NAMES = st.text(CHARACTERS, max_size=8)
KEYS = st.one_of(
    NAMES.map(lambda name: PREFIX + name),
    st.tuples(NAMES, NAMES).map(lambda names: f"{PREFIX}{'/'.join(names)}"),
    st.sampled_from(
        [
            f"{PREFIX}_SUCCESS",
            f"{PREFIX}_manifest.csv",
            f"{PREFIX}Kiwi/",
            f"{PREFIX}Kiwi/_old/1.jpg",
            f"{PREFIX}Kiwi/_1.jpg",
        ]
    ),
    NAMES,
)
CATEGORIES = st.sampled_from(["Kiwi", "Lemon", "Äpfel 50%", "\U0001f34e", "￿"])
IMAGE_KEYS = st.tuples(CATEGORIES, st.integers(0, 8)).map(lambda name: image_key(DAY, name[0], f"{name[1]}.jpg"))
LINE = st.tuples(
    st.sampled_from(["e1", "e2"]),
    st.sampled_from([("featurised", None), ("rejected", "truncated"), ("rejected", "vanished"), ("unknown", None)]),
    st.sampled_from(["m", "old", None]),
    st.booleans(),
)


def listed(etags: dict[str, str]) -> pa.Table:
    """Returns the rows of a listing whose pages have one key each."""
    times = ["2026-11-22T01:02:03"]
    return rows_of_pages([ListedPage([key], [etags[key]], [len(key)], times, is_last=False) for key in sorted(etags)])


def known_images(lines: dict[str, Any]) -> list[KnownImage]:
    found = []
    for key, (etag, (status, reason), embedder_id, has_features) in sorted(lines.items()):
        found.append(KnownImage(key, etag, str(image_category(key, DAY)), status, reason, embedder_id, has_features))
    return found


def rows_of(known: list[KnownImage]) -> pa.Table:
    return pa.Table.from_pylist([line._asdict() for line in known], schema=KNOWN)


@given(st.sets(KEYS, max_size=12))
def test_the_images_of_a_listing_are_those_that_the_contract_says(keys: set[str]) -> None:
    found = images_of(listed(dict.fromkeys(keys, "e")), DAY)
    expected = {key: image_category(key, DAY) for key in sorted(keys)}
    images = {key: category for key, category in expected.items() if category is not None}
    assert dict(zip(*(found.images.column(name).to_pylist() for name in ("key", "category")), strict=True)) == images
    own = {f"{PREFIX}_SUCCESS", f"{PREFIX}_manifest.csv"}
    strays = [
        key for key, category in expected.items() if category is None and not key.endswith("/") and key not in own
    ]
    assert (found.n_strays, found.strays) == (len(strays), strays)
    assert found.refused_categories == dict(filter(None, map(refused_category, strays)))
    assert found.images.schema.equals(IMAGES)


@given(
    images=st.dictionaries(IMAGE_KEYS, st.sampled_from(["e1", "e2"])),
    lines=st.dictionaries(IMAGE_KEYS, LINE),
    scope=st.sets(CATEGORIES),
    retry_rejected=st.booleans(),
)
def test_the_rule_by_columns_is_the_rule_by_rows(
    images: dict[str, str], lines: dict[str, Any], scope: set[str], *, retry_rejected: bool
) -> None:
    known = known_images(lines)
    rows = [ListedImage(key, etag, len(key), str(image_category(key, DAY))) for key, etag in sorted(images.items())]
    expected = list(compare(rows, known, "m", scope, retry_rejected=retry_rejected))

    found = fates_of(images_of(listed(images), DAY).images, rows_of(known), "m", scope, retry_rejected=retry_rejected)

    fates = {
        (True, True): Fate.UNCHANGED,
        (True, False): Fate.CHANGED,
        (False, False): Fate.NEW,
    }
    listed_ones = [(fate, image.key, line and line.image_key) for fate, image, line in expected if image is not None]
    assert [
        (fates[is_known, is_unchanged], key, line)
        for is_known, is_unchanged, key, line in zip(
            found.is_known.to_pylist(),
            found.is_unchanged.to_pylist(),
            found.images.column("key").to_pylist(),
            found.lines.column("image_key").to_pylist(),
            strict=True,
        )
    ] == listed_ones
    removed = [line.image_key for fate, _, line in expected if fate is Fate.REMOVED and line is not None]
    assert found.removed.column("image_key").to_pylist() == removed


@pytest.mark.parametrize("has_lines", [True, False])
def test_a_range_without_images_or_without_lines_is_compared_too(*, has_lines: bool) -> None:
    one = {image_key(DAY, "Kiwi", "1.jpg"): "e1"}
    lines = rows_of(known_images(dict.fromkeys(one, ("e1", ("featurised", None), "m", True)) if has_lines else {}))
    found = fates_of(images_of(listed({} if has_lines else one), DAY).images, lines, "m")
    assert (found.images.num_rows, found.removed.num_rows, found.is_known.to_pylist()) == (
        (0, 1, []) if has_lines else (1, 0, [False])
    )
