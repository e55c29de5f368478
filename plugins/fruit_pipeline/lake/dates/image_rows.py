"""Turns listings and ledgers into rows of Arrow, and tells which rows of a listing are images. A million rows take a
fraction of a second.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract.increments import UnsortedImagesError
from fruit_contract.lake import MANIFEST, SUCCESS_MARKER, image_key, parse_image_key, raw_prefix, refused_category
from fruit_pipeline.lake.facts import REFUSED_CATEGORIES_NAMED, STRAYS_NAMED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fruit_pipeline.lake.listing_page import ListedPage

KEY: Final = "key"
LISTED: Final = pa.schema(
    [(KEY, pa.string()), ("etag", pa.string()), ("size_bytes", pa.int64()), ("modified_at", pa.timestamp("us", "UTC"))]
)
IMAGES: Final = LISTED.append(pa.field("category", pa.string()))
# It has the columns of a KnownImage.
KNOWN: Final = pa.schema(
    [(name, pa.string()) for name in ("image_key", "etag", "category", "status", "reason", "embedder_id")]
    + [("has_features", pa.bool_())]
)


@dataclass(frozen=True)
class ListedImages:
    """Holds the images among some listed objects, as rows of IMAGES in their order, and counts objects that are neither
    images nor the delivery's own.

    `strays` and `refused_categories` (with the reason) are the first few only.
    """

    images: pa.Table
    n_strays: int = 0
    strays: list[str] = field(default_factory=list)
    refused_categories: dict[str, str] = field(default_factory=dict)


def rows_of_pages(pages: Sequence[ListedPage]) -> pa.Table:
    """Returns the objects of pages as rows of LISTED."""
    return pa.Table.from_batches([_rows_of(page) for page in pages], LISTED)


def check_ascending(keys: pa.Array | pa.ChunkedArray, before: str | None = None) -> None:
    """Raises UnsortedImagesError if a key does not come after the one before it. `before` is the key before the first
    one.
    """
    keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    if not len(keys):
        return
    after_each = pc.greater(keys[1:], keys[:-1])
    if before is not None and keys[0].as_py() <= before:
        first, second = before, keys[0].as_py()
    elif not pc.all(after_each, min_count=0).as_py():
        place = after_each.index(pa.scalar(value=False)).as_py()
        first, second = keys[place].as_py(), keys[place + 1].as_py()
    else:
        return
    raise UnsortedImagesError(
        f"'{second}' comes after '{first}': images must come in ascending order of their keys, each once."
    )


def images_of(listed: pa.Table, ingest_date: str) -> ListedImages:
    """Finds the images of a date among objects that ascend by key. The rule is
    `fruit_contract.lake.parse_image_key`'s.
    """
    listed = listed.combine_chunks()
    images, strays, refused, n_strays = [IMAGES.empty_table()], list[str](), dict[str, str](), 0
    for folder, start, end in _folders(listed.column(KEY), raw_prefix(ingest_date)):
        rows = listed.slice(start, end - start)
        is_image = _are_images(rows.column(KEY), ingest_date, folder)
        own = rows.filter(is_image)
        images.append(own.append_column("category", pa.repeat(folder, own.num_rows)))
        others = rows.filter(pc.invert(is_image)).column(KEY).to_pylist() if own.num_rows < rows.num_rows else []
        found = [key for key in others if _is_stray(key, ingest_date)]
        n_strays += len(found)
        strays += found[: STRAYS_NAMED - len(strays)]
        refused.update(filter(None, map(refused_category, found)))
    return ListedImages(
        pa.concat_tables(images), n_strays, strays, dict(sorted(refused.items())[:REFUSED_CATEGORIES_NAMED])
    )


def _rows_of(page: ListedPage) -> pa.RecordBatch:
    times = pa.array(page.times, pa.string()).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    columns = [
        pa.array(page.keys, pa.string()),
        pa.array(page.etags, pa.string()),
        pa.array(page.sizes, pa.int64()),
        times,
    ]
    return pa.record_batch(columns, schema=LISTED)


def _folders(keys: pa.ChunkedArray, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Yields each folder below `prefix`, and where its keys begin and end. A key that is in no folder comes as a folder
    without a name.
    """
    start = 0
    while start < len(keys):
        key = keys[start].as_py()
        folder, slash, _ = key.removeprefix(prefix).partition("/") if key.startswith(prefix) else ("", "", "")
        # '0' is the character after '/'.
        end = bisect_left(keys, f"{prefix}{folder}0", lo=start, key=_text) if slash and folder else start + 1
        yield (folder if slash else ""), start, end
        start = end


def _are_images(keys: pa.ChunkedArray, ingest_date: str, folder: str) -> pa.ChunkedArray:
    """Returns which keys of one folder are images."""
    if not folder or parse_image_key(image_key(ingest_date, folder, "any")) is None:
        return pa.chunked_array([pa.repeat(pa.scalar(value=False), len(keys))])
    is_hidden = pc.or_(pc.match_substring(keys, "/."), pc.match_substring_regex(keys, "/_[^/]*/"))
    return pc.invert(pc.or_(is_hidden, pc.ends_with(keys, "/")))


def _is_stray(key: str, ingest_date: str) -> bool:
    """Returns whether an object does not belong there. Folder placeholders and the delivery's own files do."""
    name = key.removeprefix(raw_prefix(ingest_date))
    return not key.endswith("/") and name not in {SUCCESS_MARKER, MANIFEST}


def _text(scalar: pa.StringScalar) -> str:
    return cast("str", scalar.as_py())
