"""Reads what the checks and the report need to know about the lake's Parquet files.

No vector is read where a footer tells enough: of a file of features, only the ranges of its short columns are fetched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import tables
from fruit_contract.commit import image_digest
from fruit_contract.lake import CURRENT_PCA_KEY, pca_prefix, pca_provenance_key, uri
from fruit_contract.tables import RejectReason
from fruit_pipeline.checks.ledger import EXAMPLES_NAMED, Images, LedgerRow, ListingDifferences, reject_digest
from fruit_pipeline.checks.pca import PcaFacts
from fruit_pipeline.checks.tables import FeaturesFacts, MomentsFacts, RejectedFacts, TableFacts, VectorFacts
from fruit_pipeline.errors import MissingObjectError
from fruit_pipeline.lake.dates.date_ledger import ledger_batches, ledger_schema, values_of
from fruit_pipeline.lake.dates.date_listing import parquet_files
from fruit_pipeline.lake.dates.image_fates import fates_of
from fruit_pipeline.lake.dates.image_rows import KEY, LISTED, images_of
from fruit_pipeline.lake.parquet import open_parquet

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from fruit_pipeline.lake.dates.date_ledger import DateLedger
    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.store import Lake

_ROWS_A_BATCH: Final = 8_192
# 1,024 rows of 1,280 float32 are 5 MB.
_VECTORS_A_BATCH: Final = 1_024


@dataclass(frozen=True)
class Projections:
    """Holds the first two principal components of one category's images, float32[n] each; `second` is all zeros if
    there is only one.
    """

    category: str
    first: NDArray[np.float32]
    second: NDArray[np.float32]


@dataclass(frozen=True)
class FeaturesRead:
    """Holds the facts of a file of features/, and its images' keys, with which its projections are compared."""

    facts: FeaturesFacts
    image_keys: pa.Array


def type_name(arrow_type: pa.DataType) -> str:
    """Returns the contract's word for a column's type. The widths of whole numbers and of string offsets don't matter
    to readers and are left out.
    """
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return "string"
    if pa.types.is_integer(arrow_type):
        return "int"
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return f"list<{type_name(arrow_type.value_type)}>"
    return str(arrow_type)


def read_ledger_facts(lake: Lake, ledger: DateLedger) -> TableFacts:
    schema, n_rows = ledger_schema(lake, ledger)
    return _table_facts(schema, n_rows)


def listing_differences(
    ingest_date: str, listed: pa.Table, known: pa.Table, categories: Sequence[str], listed_before: datetime
) -> ListingDifferences:
    """Compares a range of a date's listing (rows of LISTED) with the ledger's rows in it (rows of KNOWN), both
    ascending by key.

    An image that arrived, or changed, after the run's own listing need not be in the ledger as it is now. One that
    vanished after that listing keeps its row, with the reason `vanished`.
    """
    fates = fates_of(images_of(listed, ingest_date).images, known, "", categories)
    in_time = pc.less(fates.images.column("modified_at"), pa.scalar(listed_before, LISTED.field("modified_at").type))
    is_other = pc.fill_null(
        pc.not_equal(fates.lines.column(tables.ETAG), fates.images.column("etag")), fill_value=False
    )
    had_vanished = pc.fill_null(pc.equal(fates.removed.column(tables.REASON), RejectReason.VANISHED), fill_value=False)
    return ListingDifferences(
        unknown=_named(fates.images.column(KEY).filter(pc.and_not(in_time, fates.is_known))),
        gone=_named(fates.removed.column(tables.IMAGE_KEY).filter(pc.invert(had_vanished))),
        replaced=_named(fates.images.column(KEY).filter(pc.and_(in_time, is_other))),
    )


def ledger_rows(lake: Lake, ledger: DateLedger) -> Iterator[LedgerRow]:
    """Yields the rows of a ledger, one after the other."""
    for batch in ledger_batches(lake, ledger, LedgerRow._fields):
        yield from map(LedgerRow, *(values_of(batch.column(name)) for name in LedgerRow._fields))


def read_features(lake: Lake, stored: DatedObject, ledger_digests: array[int], named: array[int]) -> FeaturesRead:
    """Reads a file of features/ without its vectors.

    `ledger_digests` are those of all images of the ledger, ascending; if it is not empty, a row that is not among them
    counts as a stranger. `named` are the digests of the images that must be in the file; those that are not are
    counted.
    """
    columns = (tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.EMBEDDER_ID)
    with _opened(lake, stored) as file:
        vectors = _vector_facts(file, tables.VECTOR)
        if not set(columns) <= set(file.schema_arrow.names):
            return FeaturesRead(FeaturesFacts(vectors, 0, frozenset()), pa.array([], pa.string()))
        digest, embedders, strangers, keys = 0, set[str | None](), Images(), []
        own = np.empty(0, np.uint64)
        for batch in file.iter_batches(_ROWS_A_BATCH, columns=list(columns)):
            names, contents, _ = (batch.column(name).to_pylist() for name in columns)
            digests = [image_digest(image_key, content) for image_key, content in zip(names, contents, strict=True)]
            for one in digests:
                digest ^= one
            embedders.update(batch.column(tables.EMBEDDER_ID).unique().to_pylist())
            keys.append(batch.column(tables.IMAGE_KEY))
            if ledger_digests:
                numbers = np.array(digests, np.uint64)
                own = np.concatenate([own, numbers])
                for index in np.flatnonzero(~_are_in(numbers, np.frombuffer(ledger_digests, np.uint64))):
                    strangers.add(names[index])
    n_lacking = int((~_are_in(np.frombuffer(named, np.uint64), np.sort(own))).sum()) if named else 0
    facts = FeaturesFacts(vectors, digest, frozenset(embedders), strangers, n_lacking)
    return FeaturesRead(facts, pa.chunked_array(keys, pa.string()).combine_chunks())


def read_projections(lake: Lake, stored: DatedObject, image_keys: pa.Array | None) -> tuple[VectorFacts, Images | None]:
    """Reads a file of projections/ without its components. Also returns the images that only it or only `image_keys`
    has; None if `image_keys` is None, or if the file has no keys.
    """
    with _opened(lake, stored) as file:
        facts = _vector_facts(file, tables.COMPONENTS)
        if image_keys is None or tables.IMAGE_KEY not in file.schema_arrow.names:
            return facts, None
        own = file.read([tables.IMAGE_KEY]).column(0).combine_chunks()
    first, second = (keys.cast(pa.string()).sort() for keys in (image_keys, own))
    if first.equals(second):
        return facts, Images()
    apart = {
        *first.filter(pc.invert(pc.is_in(first, second))).to_pylist(),
        *second.filter(pc.invert(pc.is_in(second, first))).to_pylist(),
    }
    return facts, Images.of(apart or [str(first[0])])


def read_moments(lake: Lake, stored: DatedObject) -> MomentsFacts:
    """Reads a file of moments/ without its scatter, which is nearly all of it."""
    columns = [tables.EMBEDDER_ID, tables.N_SAMPLES]
    with _opened(lake, stored) as file:
        table = _table_facts(file.schema_arrow, file.metadata.num_rows)
        n_numbers = {name: _vector_facts(file, name).n_numbers for name in (tables.MEAN, tables.SCATTER)}
        if not set(columns) <= set(file.schema_arrow.names):
            return MomentsFacts(table, (), n_numbers)
        rows = file.read(columns)
        mean = _flat_numbers(file.read([tables.MEAN]).column(0)) if n_numbers[tables.MEAN] else np.empty(0)
    samples = tuple(zip(*(rows.column(name).to_pylist() for name in columns), strict=True))
    return MomentsFacts(table, samples, n_numbers, bool(np.isfinite(mean).all()))


def read_rejected(lake: Lake, stored: DatedObject) -> RejectedFacts:
    digest = 0
    with _opened(lake, stored) as file:
        table = _table_facts(file.schema_arrow, file.metadata.num_rows)
        if set(tables.REJECTED_COLUMNS) <= set(file.schema_arrow.names):
            for batch in file.iter_batches(_ROWS_A_BATCH, columns=list(tables.REJECTED_COLUMNS)):
                for row in zip(*(values_of(batch.column(name)) for name in tables.REJECTED_COLUMNS), strict=True):
                    digest ^= reject_digest(*row)
    return RejectedFacts(table, digest)


def read_pca(lake: Lake) -> PcaFacts | None:
    """Returns the facts of the current PCA version, or None if there is none yet. Raises MissingObjectError if the
    provenance or the model of the version is not there.
    """
    pointer = lake.read_json_if_there(CURRENT_PCA_KEY)
    if pointer is None:
        return None
    version = pointer["version"]
    provenance = lake.read_json(pca_provenance_key(version))
    model_files = list(parquet_files(lake, pca_prefix(version)).values())
    if not model_files:
        raise MissingObjectError(
            f"pca/current.json names version {version}, but {uri(lake.bucket, pca_prefix(version))} holds no model."
        )
    with open_parquet(lake, model_files[0]) as file:
        model = file.read().slice(0, 1)
    numbers = {name: _flat_numbers(model.column(name)) for name in model.column_names}
    components = model.column("components")[0].as_py()
    return PcaFacts(
        version=version,
        pointer_k=pointer["k"],
        provenance=provenance,
        mean_length=len(numbers["mean"]),
        scale_length=len(numbers["scale"]),
        n_components=len(components),
        component_lengths=frozenset(len(component) for component in components),
        explained_variance=numbers["explained_variance"].tolist(),
        explained_variance_ratio=numbers["explained_variance_ratio"].tolist(),
        spectrum=numbers["spectrum"].tolist(),
        n_not_finite=sum(int((~np.isfinite(values)).sum()) for values in numbers.values()),
    )


def read_first_two_components(lake: Lake, files: Sequence[DatedObject], category: str, max_images: int) -> Projections:
    """Returns the points of one category for the plot, at most `max_images` of them, in the files' order."""
    points = [np.zeros((0, 2), dtype=np.float32)]
    n_points = 0
    for stored in files:
        with open_parquet(lake, stored) as file:
            for batch in file.iter_batches(_VECTORS_A_BATCH, columns=[tables.COMPONENTS]):
                points.append(_first_two(batch.column(0)))
                n_points += len(batch)
                if n_points >= max_images:
                    break
        if n_points >= max_images:
            break
    together = np.concatenate(points)[:max_images]
    return Projections(category, together[:, 0], together[:, 1])


def _first_two(column: pa.Array) -> NDArray[np.float32]:
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), lengths[0])
    two = np.zeros((len(vectors), 2), dtype=np.float32)
    two[:, : min(2, vectors.shape[1])] = vectors[:, :2]
    return two


def _opened(lake: Lake, stored: DatedObject) -> AbstractContextManager[pq.ParquetFile]:
    """Opens a file of which only ranges are read: those of the columns that are asked for, neighbouring ones in one
    request.
    """
    return open_parquet(lake, stored, ranges_only=True, pre_buffer=True)


def _named(keys: pa.ChunkedArray) -> Images:
    return Images(len(keys), keys.slice(0, EXAMPLES_NAMED).to_pylist())


def _table_facts(schema: pa.Schema, n_rows: int) -> TableFacts:
    return TableFacts(tuple((name, type_name(schema.field(name).type)) for name in schema.names), n_rows)


def _vector_facts(file: pq.ParquetFile, column: str) -> VectorFacts:
    """Returns what the footer alone tells of a column of vectors: how many numbers they have, and, where the file has
    statistics, whether one is infinite or all of a row group are zero.
    """
    metadata = file.metadata
    n_numbers, has_infinite, has_zeros_only = 0, False, False
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            if chunk.path_in_schema.partition(".")[0] != column:
                continue
            n_numbers += chunk.num_values
            statistics = chunk.statistics
            if statistics is not None and statistics.has_min_max:
                has_infinite |= not (math.isfinite(statistics.min) and math.isfinite(statistics.max))
                has_zeros_only |= statistics.min == statistics.max == 0
    table = _table_facts(file.schema_arrow, metadata.num_rows)
    return VectorFacts(table.columns, table.n_rows, n_numbers, has_infinite, has_zeros_only)


def _are_in(numbers: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(numbers), np.bool_)
    places = np.minimum(np.searchsorted(ascending, numbers), len(ascending) - 1)
    return np.asarray(ascending[places] == numbers)


def _flat_numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: Any = column.combine_chunks()
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
