"""What the checks and the report need to know about the lake's Parquet files, read one batch of rows at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fruit_contract import tables
from fruit_contract.lake import CURRENT_PCA_KEY, pca_prefix, pca_provenance_key, uri
from fruit_pipeline.checks import LedgerRow, MomentsFacts, TableFacts, VectorFacts
from fruit_pipeline.lake_reader import MissingObjectError
from fruit_pipeline.pca_checks import PcaFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fruit_pipeline.lake_reader import Lake
    from fruit_pipeline.stored_object import StoredObject

# 1,024 rows of 1,280 float32 are 5 MB.
_ROWS_A_BATCH: Final = 1024


@dataclass(frozen=True)
class Projections:
    """The first two principal components of one category's images, float32[n] each; `second` is zero if there is only one."""

    category: str
    first: NDArray[np.float32]
    second: NDArray[np.float32]


class _TableScan:
    """Goes through all Parquet files below a prefix once, and remembers their schemas and rows."""

    def __init__(self, lake: Lake, prefix: str) -> None:
        self._lake = lake
        self._files = parquet_files(lake, prefix)
        self._schemas: set[tuple[tuple[str, str], ...]] = set()
        self.n_rows = 0

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The wanted columns of every file; a file that lacks one of them yields nothing (its schema says why)."""
        for stored in self._files:
            with self._lake.open(stored) as stream, pq.ParquetFile(stream) as file:
                schema = file.schema_arrow
                self._schemas.add(tuple((name, type_name(schema.field(name).type)) for name in schema.names))
                self.n_rows += file.metadata.num_rows
                if set(columns) <= set(schema.names):
                    yield from file.iter_batches(_ROWS_A_BATCH, columns=list(columns))

    @property
    def schemas(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        return tuple(sorted(self._schemas))


def parquet_files(lake: Lake, prefix: str) -> list[StoredObject]:
    """The data files below a prefix; names that begin with '.' or '_' are markers and unfinished work."""
    return [
        stored
        for stored in lake.list_objects(prefix)
        if stored.key.endswith(".parquet") and not any(part.startswith((".", "_")) for part in stored.key.removeprefix(prefix).split("/"))
    ]


def type_name(arrow_type: pa.DataType) -> str:
    """The contract's word for a column's type: widths of whole numbers and of string offsets don't matter to readers."""
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return "string"
    if pa.types.is_integer(arrow_type):
        return "int"
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return f"list<{type_name(arrow_type.value_type)}>"
    return str(arrow_type)


def read_ledger(lake: Lake, prefix: str) -> tuple[TableFacts, list[LedgerRow]]:
    scan = _TableScan(lake, prefix)
    columns = (tables.IMAGE_KEY, tables.ETAG, tables.CATEGORY, tables.STATUS, tables.REASON, tables.EMBEDDER_ID)
    rows = [
        LedgerRow(*values)
        for batch in scan.batches(columns)
        for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    ]
    return TableFacts(scan.schemas, scan.n_rows), rows


def read_rejected(lake: Lake, prefix: str, categories: Sequence[str]) -> tuple[TableFacts, dict[str, str | None], int]:
    """Facts, image key to reason, and the number of rows; of the chosen categories only, if any are chosen."""
    scan = _TableScan(lake, prefix)
    columns = (tables.IMAGE_KEY, tables.REASON, tables.CATEGORY)
    reasons: dict[str, str | None] = {}
    n_rows = 0
    for batch in scan.batches(columns):
        for key, reason, category in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
            if not categories or category in categories:
                reasons[key] = reason
                n_rows += 1
    return TableFacts(scan.schemas, scan.n_rows), reasons, n_rows


def read_vectors(lake: Lake, prefix: str, vector_column: str, length: int) -> VectorFacts:
    """Every vector below a partition is looked at; only counts and keys are kept."""
    scan = _TableScan(lake, prefix)
    has_embedder = vector_column == tables.VECTOR
    columns = [tables.IMAGE_KEY, vector_column, *([tables.EMBEDDER_ID] if has_embedder else [])]
    keys: list[str] = []
    embedders: set[str] = set()
    counts: Counter[str] = Counter()
    for batch in scan.batches(columns):
        keys += batch.column(tables.IMAGE_KEY).to_pylist()
        if has_embedder:
            embedders.update(batch.column(tables.EMBEDDER_ID).unique().to_pylist())
        counts.update(_vector_counts(batch.column(vector_column), length))
    return VectorFacts(
        scan.schemas,
        scan.n_rows,
        image_keys=keys,
        embedder_ids=embedders,
        n_wrong_length=counts["wrong_length"],
        n_not_finite=counts["not_finite"],
        n_all_zero=counts["all_zero"],
    )


def read_moments(lake: Lake, prefix: str) -> MomentsFacts:
    scan = _TableScan(lake, prefix)
    samples: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    n_scatter = tables.N_FEATURES * (tables.N_FEATURES + 1) // 2
    for batch in scan.batches(tables.MOMENTS_COLUMNS):
        for embedder, n_samples in zip(
            batch.column(tables.EMBEDDER_ID).to_pylist(), batch.column(tables.N_SAMPLES).to_pylist(), strict=True
        ):
            samples[embedder] += n_samples
        counts.update(_vector_counts(batch.column(tables.MEAN), tables.N_FEATURES))
        counts.update(_vector_counts(batch.column(tables.SCATTER), n_scatter))
    return MomentsFacts(
        scan.schemas,
        scan.n_rows,
        n_samples_by_embedder=dict(samples),
        n_wrong_length=counts["wrong_length"],
        n_not_finite=counts["not_finite"],
    )


def read_pca(lake: Lake) -> PcaFacts | None:
    """The current PCA version, or None if there is none yet."""
    pointer = lake.read_json_if_there(CURRENT_PCA_KEY)
    if pointer is None:
        return None
    version = pointer["version"]
    provenance = lake.read_json(pca_provenance_key(version))
    model_files = parquet_files(lake, pca_prefix(version))
    if not model_files:
        raise MissingObjectError(f"pca/current.json names version {version}, but {uri(lake.bucket, pca_prefix(version))} holds no model.")
    with lake.open(model_files[0]) as stream:
        model = pq.read_table(stream).slice(0, 1)
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


def read_first_two_components(lake: Lake, prefix: str, category: str, max_images: int) -> Projections:
    """The points of one category for the plot, at most `max_images` of them, in the files' order."""
    points: list[NDArray[np.float32]] = []
    n_points = 0
    for batch in _TableScan(lake, prefix).batches([tables.COMPONENTS]):
        column = batch.column(tables.COMPONENTS)
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), lengths[0])
        two = np.zeros((len(vectors), 2), dtype=np.float32)
        two[:, : min(2, vectors.shape[1])] = vectors[:, :2]
        points.append(two)
        n_points += len(two)
        if n_points >= max_images:
            break
    together = np.concatenate(points)[:max_images] if points else np.zeros((0, 2), dtype=np.float32)
    return Projections(category, together[:, 0], together[:, 1])


def _vector_counts(column: pa.Array, length: int) -> dict[str, int]:
    """How many vectors are missing or of another length, hold a number that is not finite, or are zero throughout."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    right = lengths == length
    vectors = column.filter(pa.array(right)).flatten().to_numpy(zero_copy_only=False).reshape(int(right.sum()), length)
    return {
        "wrong_length": int((~right).sum()),
        "not_finite": int((~np.isfinite(vectors).all(axis=1)).sum()),
        "all_zero": int((~vectors.any(axis=1)).sum()),
    }


def _flat_numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: Any = column.combine_chunks()
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
