"""Counts what is to be done for the images of a date, by columns of Arrow, a range of keys at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import tables
from fruit_contract.tables import Status
from fruit_pipeline.lake.dates.image_fates import fates_of
from fruit_pipeline.lake.dates.image_rows import images_of
from fruit_pipeline.planning.date_plan import DateCounts

if TYPE_CHECKING:
    from collections.abc import Sequence


def count_images(
    ingest_date: str,
    listed: pa.Table,
    known: pa.Table,
    embedder_id: str,
    categories: Sequence[str],
    *,
    retry_rejected: bool,
) -> DateCounts:
    """Returns the counts of one range of a date's keys: `listed` are rows of LISTED, `known` rows of KNOWN, and both
    ascend by key.
    """
    found = images_of(listed, ingest_date)
    fates = fates_of(found.images, known, embedder_id, categories, retry_rejected=retry_rejected)
    new = fates.images.filter(pc.invert(fates.is_unchanged))
    leaving = pa.concat_tables([fates.lines.filter(pc.and_not(fates.is_known, fates.is_unchanged)), fates.removed])
    featurised = leaving.filter(pc.equal(leaving.column(tables.STATUS), Status.FEATURISED))
    return DateCounts(
        images_by_category=_by_value(fates.images.column("category")),
        new_by_category=_by_value(new.column("category")),
        removed=fates.removed.num_rows,
        size_bytes=pc.sum(new.column("size_bytes"), min_count=0).as_py(),
        n_leaving=_by_value(pc.fill_null(featurised.column(tables.EMBEDDER_ID), "")),
        n_strays=found.n_strays,
        strays=found.strays,
        refused_categories={} if categories else found.refused_categories,
        categories_there=frozenset(found.images.column("category").unique().to_pylist()),
    )


def _by_value(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({found["values"]: found["counts"] for found in column.value_counts().to_pylist()})
