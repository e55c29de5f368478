"""The inner loop of a task: fetched bytes in, Arrow record batches out. Knows no S3, no Spark and not which engine runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fruit_contract import tables
from fruit_contract.lake import parse_image_key
from fruit_features.embedding.preprocessing import IMAGE_SIDE, UnreadableImageError, decode_image, network_input
from fruit_features.lake.vectors import to_list_array
from fruit_features.packets import RESULT_SCHEMA, ROW_SCHEMA, ROWS_PER_PACKET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from fruit_features.embedding.engines import Engine
    from fruit_features.embedding.fetching import FetchedImage

NOTHING_KNOWN: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass
class _Rows:
    """Results gathered for one record batch."""

    columns: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in ROW_SCHEMA.names})
    vectors: list[NDArray[np.float32] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.vectors)

    def add(self, row: dict[str, object], vector: NDArray[np.float32] | None) -> None:
        for name, values in self.columns.items():
            values.append(row.get(name))
        self.vectors.append(vector)

    def to_record_batch(self) -> pa.RecordBatch:
        arrays = {name: pa.array(values, RESULT_SCHEMA.field(name).type) for name, values in self.columns.items()}
        arrays[tables.VECTOR] = to_list_array(self.vectors)
        return pa.RecordBatch.from_arrays([arrays[name] for name in RESULT_SCHEMA.names], schema=RESULT_SCHEMA)


def featurise(
    images: Iterable[FetchedImage], engine: Engine, embedder_id: str, known_sha256: Mapping[str, str] = NOTHING_KNOWN
) -> Iterator[pa.RecordBatch]:
    """One row of RESULT_SCHEMA for every image; an image that can't be read becomes a reject, never an exception.

    A record batch has images of one date and category, at most a packet of them. An image whose content has the SHA-256 that `known_sha256`
    holds for its key is neither decoded nor embedded: it gets a row without features, marked as reused.
    """
    for _, together in groupby(images, _place_of):
        yield from _featurise_together(together, engine, embedder_id, known_sha256)


def _featurise_together(
    images: Iterable[FetchedImage], engine: Engine, embedder_id: str, known_sha256: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    rows = _Rows()
    waiting: list[dict[str, object]] = []
    pixels = np.empty((engine.inference_batch, IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.uint8)

    def embed_waiting() -> None:
        vectors = engine.embed(network_input(pixels[: len(waiting)]))
        for row, vector in zip(waiting, vectors, strict=True):
            rows.add(row, vector)
        waiting.clear()

    for image in images:
        row, decoded = _read(image, embedder_id, known_sha256.get(image.image_key))
        if decoded is None:
            rows.add(row, None)
        else:
            pixels[len(waiting)] = decoded
            waiting.append(row)
        if len(waiting) == engine.inference_batch:
            embed_waiting()
        if len(rows) >= ROWS_PER_PACKET:
            yield rows.to_record_batch()
            rows = _Rows()
    if waiting:
        embed_waiting()
    if len(rows):
        yield rows.to_record_batch()


def _read(image: FetchedImage, embedder_id: str, known_sha256: str | None) -> tuple[dict[str, object], NDArray[np.uint8] | None]:
    """The image's row without its features, and its pixels; no pixels for a reject or for a known content."""
    row = _describe(image, embedder_id)
    if known_sha256 is not None and row[tables.CONTENT_SHA256] == known_sha256:
        return row | {tables.STATUS: tables.Status.FEATURISED, tables.REUSED: True}, None
    try:
        if image.content is None:
            raise _without_content(image)
        decoded = decode_image(image.content)
    except UnreadableImageError as error:
        return row | {tables.STATUS: tables.Status.REJECTED, tables.REASON: error.reason, tables.DETAIL: error.detail}, None
    size = {tables.WIDTH: decoded.width, tables.HEIGHT: decoded.height}
    return row | {tables.STATUS: tables.Status.FEATURISED} | size, decoded.pixels


def _without_content(image: FetchedImage) -> UnreadableImageError:
    if image.missing == tables.RejectReason.TOO_LARGE:
        return UnreadableImageError(image.missing, f"its {image.size_bytes:,} bytes are more than a worker fetches")
    return UnreadableImageError(tables.RejectReason.VANISHED, "it was listed, and gone when it was fetched")


def _describe(image: FetchedImage, embedder_id: str) -> dict[str, object]:
    ingest_date, category = _place_of(image)
    return {
        tables.IMAGE_KEY: image.image_key,
        tables.INGEST_DATE: ingest_date,
        tables.CATEGORY: category,
        tables.ETAG: image.etag,
        tables.SIZE_BYTES: image.size_bytes,
        tables.CONTENT_SHA256: None if image.content is None else hashlib.sha256(image.content).hexdigest(),
        tables.EMBEDDER_ID: embedder_id,
        tables.REUSED: False,
    }


def _place_of(image: FetchedImage) -> tuple[str, str]:
    parts = parse_image_key(image.image_key)
    if parts is None:
        raise ValueError(f"'{image.image_key}' is not an image's key: the listing must leave it out.")
    return parts.ingest_date, parts.category
