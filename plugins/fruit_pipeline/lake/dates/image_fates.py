"""Decides what becomes of images, by columns of Arrow: applies the rule of `fruit_contract.increments` to thousands of
rows at once.

The steps apply the rule row by row. Tests check that both decide the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import tables
from fruit_contract.tables import RejectReason, Status
from fruit_pipeline.lake.dates.image_rows import KEY

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True)
class ImageFates:
    """Holds listed images beside what the ledger knows of them: `lines` has a row for each image, of nulls if it is
    new.

    `is_unchanged` says whether an image is as the ledger has it. `removed` are the rows of images that are not listed,
    without those that are out of scope.
    """

    images: pa.Table
    lines: pa.Table
    is_known: pa.ChunkedArray
    is_unchanged: pa.ChunkedArray
    removed: pa.Table


def fates_of(
    images: pa.Table, known: pa.Table, embedder_id: str, scope: Collection[str] = (), *, retry_rejected: bool = False
) -> ImageFates:
    """Decides what becomes of images (rows of IMAGES) and of what is known (rows of KNOWN) in the same range of
    keys.
    """
    chosen = pa.array(sorted(scope), pa.string())
    if scope:
        images = images.filter(pc.is_in(images.column("category"), chosen))
    keys, known_keys = images.column(KEY).combine_chunks(), known.column(tables.IMAGE_KEY).combine_chunks()
    place = pc.index_in(keys, known_keys)
    lines = known if keys.equals(known_keys) else known.take(place)
    removed = known.filter(pc.invert(pc.is_in(known_keys, keys)))
    if scope:
        removed = removed.filter(pc.is_in(removed.column(tables.CATEGORY), chosen))
    is_known = pa.chunked_array([pc.is_valid(place)])
    return ImageFates(
        images, lines, is_known, _are_unchanged(images, lines, embedder_id, retry_rejected=retry_rejected), removed
    )


def _are_unchanged(images: pa.Table, lines: pa.Table, embedder_id: str, *, retry_rejected: bool) -> pa.ChunkedArray:
    """Returns for each image whether its line has the same ETag, this embedder, and features. An image without a line
    is not unchanged.
    """
    same = pc.and_(
        pc.equal(lines.column(tables.ETAG), images.column("etag")),
        pc.equal(lines.column(tables.EMBEDDER_ID), embedder_id),
    )
    kept = pc.and_(same, lines.column("has_features"))
    kept = pc.and_not(
        kept, pc.fill_null(pc.equal(lines.column(tables.REASON), RejectReason.VANISHED), fill_value=False)
    )
    if retry_rejected:
        kept = pc.and_not(kept, pc.equal(lines.column(tables.STATUS), Status.REJECTED))
    return pc.fill_null(kept, fill_value=False)
