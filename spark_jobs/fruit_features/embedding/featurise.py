"""Does the inner loop of a task: turns fetched bytes into Arrow record batches of features and rejects.

It knows nothing of S3, of Spark or of which engine runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from fruit_contract import tables
from fruit_contract.lake import ImageKey, parse_image_key
from fruit_features.embedding.preprocessing import DecodedImage, UnreadableImageError, decode_image, network_input
from fruit_features.embedding.resizing import IMAGE_SIDE
from fruit_features.lake import files
from fruit_features.lake.vectors import to_list_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from fruit_features.embedding.engines import Engine
    from fruit_features.embedding.fetching import FetchedImage

# A record batch has so many rows, which are in memory until it is handed on.
_ROWS_AT_ONCE: Final = 128
# A row tells what became of an image: its row of the ledger, whether its features are copied, and the features.
RESULTS: Final = pa.schema(
    [
        *(field for field in files.LEDGER if field.name != tables.FILE),
        pa.field(tables.REUSED, pa.bool_()),
        pa.field(tables.VECTOR, files.FEATURES.field(tables.VECTOR).type),
    ]
)


class KnownFeatures(NamedTuple):
    """Holds the features of a content that was computed before, float32[1280], and the picture's width and height."""

    vector: NDArray[np.float32]
    width: int
    height: int


Known = Callable[[str, str], KnownFeatures | None]


def nothing_known(image_key: str, content_sha256: str) -> KnownFeatures | None:  # noqa: ARG001 - one of many ways to know
    """Knows no features."""
    return None


@dataclass
class _Rows:
    """Gathers the results for one record batch."""

    columns: dict[str, list[object]] = field(
        default_factory=lambda: {name: [] for name in RESULTS.names if name != tables.VECTOR}
    )
    vectors: list[NDArray[np.float32] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.vectors)

    def add(self, row: dict[str, object], vector: NDArray[np.float32] | None) -> None:
        for name, values in self.columns.items():
            values.append(row.get(name))
        self.vectors.append(vector)

    def to_record_batch(self) -> pa.RecordBatch:
        arrays = {name: pa.array(values, RESULTS.field(name).type) for name, values in self.columns.items()}
        arrays[tables.VECTOR] = to_list_array(self.vectors)
        return pa.RecordBatch.from_arrays([arrays[name] for name in RESULTS.names], schema=RESULTS)


def featurise(
    images: Iterable[FetchedImage],
    engine: Engine,
    embedder_id: str,
    known: Known = nothing_known,
    decode: Callable[[bytes], DecodedImage] = decode_image,
) -> Iterator[tuple[ImageKey, pa.RecordBatch]]:
    """Yields one row of RESULTS for every image, in their order, in record batches.

    An image that can't be read becomes a reject, never an exception. A record batch has at most 128 images of one date
    and category, and comes with the parsed key of one of them. An image for which `known` finds features, by its key
    and the SHA-256 of its content, is neither decoded nor embedded: it gets those features and is marked as reused.
    """
    for _, together in groupby(images, _partition_of):
        yield from _featurise_together(together, engine, embedder_id, known, decode)


def _featurise_together(
    images: Iterable[FetchedImage],
    engine: Engine,
    embedder_id: str,
    known: Known,
    decode: Callable[[bytes], DecodedImage],
) -> Iterator[tuple[ImageKey, pa.RecordBatch]]:
    rows = _Rows()
    waiting: list[dict[str, object]] = []
    pixels = np.empty((engine.inference_batch, IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.uint8)

    def embed_waiting() -> None:
        vectors = engine.embed(network_input(pixels[: len(waiting)]))
        for row, vector in zip(waiting, vectors, strict=True):
            rows.add(row, vector)
        waiting.clear()

    for image in images:
        place = _place_of(image)
        row, found = _read(image, place, embedder_id, known, decode)
        if isinstance(found, DecodedImage):
            pixels[len(waiting)] = found.pixels
            waiting.append(row)
        else:
            rows.add(row, None if found is None else found.vector)
        if len(waiting) == engine.inference_batch:
            embed_waiting()
        if len(rows) >= _ROWS_AT_ONCE:
            yield place, rows.to_record_batch()
            rows = _Rows()
    if waiting:
        embed_waiting()
    if len(rows):
        yield place, rows.to_record_batch()


def _read(
    image: FetchedImage, place: ImageKey, embedder_id: str, known: Known, decode: Callable[[bytes], DecodedImage]
) -> tuple[dict[str, object], DecodedImage | KnownFeatures | None]:
    """Returns the image's row without its features, and what its features come from, which is None for a reject."""
    content_sha256 = None if image.content is None else hashlib.sha256(image.content).hexdigest()
    row = _describe(image, place.category, content_sha256, embedder_id)
    try:
        if image.content is None or content_sha256 is None:
            raise _without_content(image)
        features = known(image.image_key, content_sha256)
        if features is not None:
            size = {tables.WIDTH: features.width, tables.HEIGHT: features.height}
            return row | {tables.STATUS: tables.Status.FEATURISED, tables.REUSED: True} | size, features
        decoded = decode(image.content)
    except UnreadableImageError as error:
        return row | {
            tables.STATUS: tables.Status.REJECTED,
            tables.REASON: error.reason,
            tables.DETAIL: error.detail,
        }, None
    size = {tables.WIDTH: decoded.width, tables.HEIGHT: decoded.height}
    return row | {tables.STATUS: tables.Status.FEATURISED} | size, decoded


def _without_content(image: FetchedImage) -> UnreadableImageError:
    if image.missing == tables.RejectReason.TOO_LARGE:
        return UnreadableImageError(image.missing, f"its {image.size_bytes:,} bytes are more than a worker fetches")
    return UnreadableImageError(tables.RejectReason.VANISHED, "it was listed, and gone when it was fetched")


def _describe(image: FetchedImage, category: str, content_sha256: str | None, embedder_id: str) -> dict[str, object]:
    return {
        tables.IMAGE_KEY: image.image_key,
        tables.CATEGORY: category,
        tables.ETAG: image.etag,
        tables.SIZE_BYTES: image.size_bytes,
        tables.CONTENT_SHA256: content_sha256,
        tables.EMBEDDER_ID: embedder_id,
        tables.REUSED: False,
    }


def _partition_of(image: FetchedImage) -> tuple[str, str]:
    place = _place_of(image)
    return place.ingest_date, place.category


def _place_of(image: FetchedImage) -> ImageKey:
    parts = parse_image_key(image.image_key)
    if parts is None:
        raise ValueError(f"'{image.image_key}' is not an image's key: the listing must leave it out.")
    return parts
