"""Plans a date: compares its listing with its ledger, and the files that lie there with those that the ledger names."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.commit import file_key
from fruit_contract.increments import Fate, KnownImage, ListedImage, compare
from fruit_contract.tables import Status
from fruit_features.lake import files
from fruit_features.lake.commit import DateFiles, Ledger, is_of_earlier_ledger, list_date, read_ledger
from fruit_features.lake.store import LISTED, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fruit_features.lake.store import Store

# So many dates are planned at once. Their requests wait together, and what is listed of them is in memory.
_DATES_AT_ONCE: Final = 8
_ROWS_AT_ONCE: Final = 8192
FORMER: Final = pa.schema(
    [files.FEATURES.field(name) for name in (tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.WIDTH, tables.HEIGHT)]
).append(files.LEDGER.field(tables.FILE))
_KNOWN_COLUMNS: Final = (
    tables.IMAGE_KEY,
    tables.ETAG,
    tables.CATEGORY,
    tables.STATUS,
    tables.REASON,
    tables.EMBEDDER_ID,
    tables.FILE,
)


@dataclass(frozen=True)
class DateWork:
    """Says what one features step has to do for a date.

    `images` are to be computed: rows of LISTED, sorted by key. `changed` are the ledger's rows of those that it knows.
    `gone` are the numbers of the ledger's rows that the next commit leaves out, because the image or its file of
    features has vanished. `restored` are new rows for images that this embedder featurised before another one did. The
    counts are of images in the chosen categories.
    """

    ingest_date: str
    ledger: Ledger
    there: DateFiles
    images: pa.Table
    changed: pa.Table
    restored: pa.Table
    gone: NDArray[np.int64]
    lost_files: frozenset[str]
    counts: dict[Fate, Counter[str]] = field(default_factory=dict)

    @property
    def has_earlier_ledger(self) -> bool:
        """Says whether an earlier release's ledger lies there, or what an interrupted takeover has left of one."""
        return any(map(is_of_earlier_ledger, self.there.ledger))

    @property
    def lost_moments(self) -> frozenset[str]:
        """Returns the ids of the embedders whose moments are not where the commit says."""
        embedders = self.ledger.commit.embedders if self.ledger.commit else {}
        return frozenset(
            embedder_id
            for embedder_id, found in embedders.items()
            if found.moments and found.moments.key not in self.there.moments
        )

    @property
    def versions_by_file(self) -> dict[str, frozenset[str]]:
        """Returns the PCA versions under which a file has projections, by the file's name below the date's prefix."""
        versions: defaultdict[str, set[str]] = defaultdict(set)
        for key in self.there.projections:
            _, version, _, name = key.split("/", 3)
            versions[name].add(version)
        return {name: frozenset(found) for name, found in versions.items()}

    @property
    def is_touched(self) -> bool:
        """Says whether the date needs a commit: for its images, or because something was interrupted or lost."""
        commit = self.ledger.commit
        return bool(
            self.images.num_rows
            or self.restored.num_rows
            or len(self.gone)
            or self.lost_files
            or self.lost_moments
            or not self.there.has_rejected(commit)
            or self.there.garbage(commit)
        )


def plan_dates(
    store: Store,
    ingest_dates: Sequence[str],
    embedder_id: str,
    scope: Sequence[str],
    versions: Sequence[str],
    *,
    retry_rejected: bool,
) -> list[DateWork]:
    """Plans each date. `versions` are the PCA versions whose projections are listed. Raises what the store raises."""

    def plan(ingest_date: str) -> DateWork:
        return plan_date(store, ingest_date, embedder_id, scope, versions, retry_rejected=retry_rejected)

    return at_once(plan, ingest_dates, _DATES_AT_ONCE)


def plan_date(
    store: Store,
    ingest_date: str,
    embedder_id: str,
    scope: Sequence[str],
    versions: Sequence[str],
    *,
    retry_rejected: bool,
) -> DateWork:
    """Plans one date. An image whose features are gone counts as new."""
    requests: list[Callable[[], Any]] = [
        partial(store.list_images, lake.raw_prefix(ingest_date)),
        partial(read_ledger, store, ingest_date),
        partial(list_date, store, ingest_date, versions),
    ]
    listed, ledger, there = at_once(lambda request: request(), requests)
    former = read_former(store, ledger, there, embedder_id)
    return _compared(ingest_date, listed, ledger, there, former, embedder_id, scope, retry_rejected=retry_rejected)


def read_former(store: Store, ledger: Ledger, there: DateFiles, embedder_id: str) -> pa.Table:
    """Returns the images that an embedder featurised before another one did, if their features are still there.

    They are rows of FORMER. There are some after a release was rolled back, and then every file of that embedder is
    read, without the vectors.
    """
    found = ledger.commit.embedders.get(embedder_id) if ledger.commit else None
    if found is None or found.n_images == found.n_rows:
        return FORMER.empty_table()

    def read(key: str) -> pa.Table:
        content = store.find(key)
        rows = (
            files.FEATURES.empty_table()
            if content is None
            else files.read_rows(store.uri(key), content, FORMER.names[:-1])
        )
        return rows.select(FORMER.names[:-1]).append_column(tables.FILE, pa.array([key] * rows.num_rows, pa.string()))

    keys = sorted({file_key(ledger.ingest_date, name) for name in found.files} & there.features)
    return pa.concat_tables([FORMER.empty_table(), *at_once(read, keys)])


def _compared(
    ingest_date: str,
    listed: pa.Table,
    ledger: Ledger,
    there: DateFiles,
    former: pa.Table,
    embedder_id: str,
    scope: Sequence[str],
    *,
    retry_rejected: bool,
) -> DateWork:
    named = ledger.commit.features_keys() if ledger.commit else set()
    lost = frozenset(named - there.features)
    asked = _Asked()
    counts: dict[Fate, Counter[str]] = {fate: Counter() for fate in Fate}
    gone, changed, restored = [], [], []
    rows, is_former = _with_former(ledger.rows, former, embedder_id)
    compared = compare(
        _images(ingest_date, listed), _known(rows, lost), embedder_id, scope, retry_rejected=retry_rejected
    )
    for row, (fate, image, known) in _numbered(compared):
        if image is not None and fate in (Fate.NEW, Fate.CHANGED):
            asked.add(image)
        if known is not None and (fate is Fate.REMOVED or not known.has_features):
            gone.append(row)
        if fate is Fate.CHANGED:
            changed.append(row)
        if fate is Fate.UNCHANGED and is_former[row]:
            restored.append(row)
        counts[fate][image.category if image is not None else known.category if known is not None else ""] += 1
    changed_rows, restored_rows = (
        ledger.rows.take(pa.array(changed, pa.int64())),
        rows.take(pa.array(restored, pa.int64())),
    )
    return DateWork(
        ingest_date,
        ledger,
        there,
        asked.table(),
        changed_rows,
        restored_rows,
        np.array(gone, dtype=np.int64),
        lost,
        counts,
    )


class _Asked:
    """Gathers images as rows of LISTED. Few are Python objects at a time, which take several times as much memory."""

    def __init__(self) -> None:
        self._tables = [LISTED.empty_table()]
        self._waiting: list[ListedImage] = []

    def add(self, image: ListedImage) -> None:
        self._waiting.append(image)
        if len(self._waiting) == _ROWS_AT_ONCE:
            self._settle()

    def table(self) -> pa.Table:
        self._settle()
        return pa.concat_tables(self._tables)

    def _settle(self) -> None:
        columns = zip(*(image[:3] for image in self._waiting), strict=True) if self._waiting else ([], [], [])
        self._tables.append(
            pa.table(
                [pa.array(values, field.type) for values, field in zip(columns, LISTED, strict=True)], schema=LISTED
            )
        )
        self._waiting.clear()


def _with_former(rows: pa.Table, former: pa.Table, embedder_id: str) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Returns a ledger's rows as they would be with their `former` features, and says which rows have some."""
    if not former.num_rows:
        return rows, np.zeros(rows.num_rows, dtype=bool)
    index = pc.index_in(rows.column(tables.IMAGE_KEY), former.column(tables.IMAGE_KEY).combine_chunks())
    found = former.take(index)
    is_same = pc.equal(found.column(tables.CONTENT_SHA256), rows.column(tables.CONTENT_SHA256))
    is_former = pc.fill_null(pc.and_(is_same, pc.not_equal(rows.column(tables.EMBEDDER_ID), embedder_id)), False)
    values: dict[str, Any] = {
        tables.EMBEDDER_ID: pa.scalar(embedder_id),
        tables.STATUS: pa.scalar(Status.FEATURISED.value),
        tables.REASON: pa.scalar(None, pa.string()),
        tables.DETAIL: pa.scalar(None, pa.string()),
        **{name: found.column(name) for name in (tables.WIDTH, tables.HEIGHT, tables.FILE)},
    }
    columns = {name: pc.if_else(is_former, value, rows.column(name)) for name, value in values.items()}
    return files.with_ledger_columns(rows, columns), is_former.to_numpy()


def _images(ingest_date: str, listed: pa.Table) -> Iterator[ListedImage]:
    for batch in listed.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for key, etag, size_bytes in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            parts = lake.parse_image_key(key)
            if parts is not None and parts.ingest_date == ingest_date:
                yield ListedImage(key, etag, size_bytes, parts.category)


def _known(rows: pa.Table, lost: frozenset[str]) -> Iterator[KnownImage]:
    """Yields the rows of a ledger. Only a few are Python objects at a time, which take ten times as much memory."""
    for batch in rows.select(_KNOWN_COLUMNS).to_batches(max_chunksize=_ROWS_AT_ONCE):
        for *values, file in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield KnownImage._make((*values, file not in lost))


def _numbered(
    compared: Iterator[tuple[Fate, ListedImage | None, KnownImage | None]],
) -> Iterator[tuple[int, tuple[Fate, ListedImage | None, KnownImage | None]]]:
    """Adds the number of the ledger's row to each comparison. It means nothing for an image without a row."""
    row = -1
    for found in compared:
        row += found[2] is not None
        yield row, found
