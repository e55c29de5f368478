"""Does one task of the features step: fetches, decodes and embeds images, and writes files as it goes.

Spark gets only a short account of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_features.embedding.artefact import load_embedder
from fruit_features.embedding.featurise import RESULTS, featurise
from fruit_features.embedding.fetching import fetch_images
from fruit_features.embedding.isolation import decode
from fruit_features.extraction.known_contents import SourceFiles
from fruit_features.lake import files
from fruit_features.lake.store import LISTED
from fruit_features.lake.transfer import Uploads
from fruit_features.moments.parts import ImageMoments, PartPlace, part_to_bytes
from fruit_features.spark.dealing import is_retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_features.embedding.artefact import EmbedderArtefact
    from fruit_features.extraction.progress import ImageCounters

# A task is given what the listing said of its images, and the file of features that probably has their content.
SOURCE: Final = "source"
IMAGES: Final = LISTED.append(pa.field(SOURCE, pa.string()))
# An account has the ledger's row of each image, and whether its features were copied.
ACCOUNT: Final = pa.schema([*files.LEDGER, pa.field(tables.REUSED, pa.bool_())])


def by_source(images: pa.Table) -> pa.Table:
    """Sorts the IMAGES of each category, which come sorted by key, by the file that has their content.

    The dates and categories keep their order. A worker keeps few such files, because each has up to 20 MB.
    """
    if images.column(SOURCE).null_count == images.num_rows:
        return images
    folder = pc.struct_field(
        pc.extract_regex(images.column(tables.IMAGE_KEY), r"(?s)^(?P<folder>[^/]*/[^/]*/[^/]*/)"), "folder"
    )
    order = pa.table({"folder": folder, SOURCE: images.column(SOURCE)})
    return images.take(pc.sort_indices(order, sort_keys=[("folder", "ascending"), (SOURCE, "ascending")]))


class TaskAccount(NamedTuple):
    """Says what a task did: rows of ACCOUNT as an Arrow stream, and the places of its parts of moments."""

    rows: bytes
    parts: list[PartPlace]

    def table(self) -> pa.Table:
        with pa.ipc.open_stream(self.rows) as reader:
            return reader.read_all()


@dataclass(frozen=True)
class FeaturesTask:
    """Computes some images.

    The names of its files consist of `write` and the attempt's number, so that no other attempt writes the same file.
    """

    embedder: EmbedderArtefact
    write: str
    counters: ImageCounters | None = None

    def __call__(self, images: bytes, attempt: int) -> TaskAccount:
        """Computes `images`, an Arrow stream of IMAGES in which those of a date and category stand together."""
        name = f"{self.write}-{attempt:06d}"
        rows: list[pa.Table] = []
        parts: list[PartPlace] = []
        with Uploads(self.embedder.store) as uploads:
            for ingest_date, partitions in groupby(self._compute(images), lambda found: found[0]):
                moments = ImageMoments()
                for _, category, results in partitions:
                    features = results.filter(results.column(tables.VECTOR).is_valid()).select(files.FEATURES.names)
                    key = f"{lake.partition_prefix(lake.FEATURES, ingest_date, category)}{name}.parquet"
                    rows.append(_account(results, key))
                    for batch in features.to_batches():
                        moments.add(batch)
                    if features.num_rows:
                        uploads.put(key, files.features_to_parquet(features))
                n_samples = moments.running.n_samples
                if n_samples:
                    key = f"{lake.moments_parts_prefix(ingest_date)}{name}.bin"
                    uploads.put(key, part_to_bytes(moments.running))
                    parts.append(PartPlace(ingest_date, key, n_samples, moments.digest))
        return TaskAccount(to_stream(pa.concat_tables(rows)), parts)

    def _compute(self, images: bytes) -> Iterator[tuple[str, str, pa.Table]]:
        """Yields each ingest date and category with its rows of RESULTS."""
        with pa.ipc.open_stream(images) as reader:
            asked = reader.read_all().to_pydict()
        keys, sources = asked[tables.IMAGE_KEY], asked[SOURCE]
        known = SourceFiles(
            self.embedder.store,
            self.embedder.embedder_id,
            {key: source for key, source in zip(keys, sources, strict=True) if source},
        )
        fetched = fetch_images(
            self.embedder.store, list(zip(keys, asked[tables.ETAG], asked[tables.SIZE_BYTES], strict=True))
        )
        careful = partial(decode, apart=is_retry())
        batches = featurise(fetched, load_embedder(self.embedder), self.embedder.embedder_id, known.find, careful)
        for (ingest_date, category), together in groupby(
            batches, lambda found: (found[0].ingest_date, found[0].category)
        ):
            results = []
            for _, batch in together:
                if self.counters is not None:
                    self.counters.count(batch)
                results.append(batch)
            yield ingest_date, category, pa.Table.from_batches(results, RESULTS)


def to_stream(rows: pa.Table) -> bytes:
    """Returns rows as a compressed Arrow stream. Half of a ledger's row is much like the row before it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _account(results: pa.Table, key: str) -> pa.Table:
    has_features: Any = results.column(tables.VECTOR).is_valid()
    file = pc.if_else(has_features, pa.scalar(key, pa.string()), pa.scalar(None, pa.string()))
    with_file = results.append_column(pa.field(tables.FILE, pa.string()), file)
    return with_file.select(ACCOUNT.names)
