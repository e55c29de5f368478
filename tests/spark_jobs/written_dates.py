"""Writes dates of a lake that are committed without a features step: drawn vectors, any files, any embedders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fruit_contract import lake, tables
from fruit_contract.commit import Commit, EmbedderFiles, file_key, images_digest
from fruit_features.lake import files
from fruit_features.lake.commit import Ledger, no_ledger, put_ledger
from fruit_features.lake.vectors import to_list_array
from fruit_features.moments.algebra import moments_of
from fruit_features.moments.store import write_moments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fruit_features.lake.store import Store

EMBEDDER = "m"
# Files of features by their names below the date's prefix, with the names of the images in each.
Files = Mapping[str, tuple[str, ...]]


def vector(image_key: str) -> NDArray[np.float32]:
    """Returns the features that an image has in these tests."""
    seed = int.from_bytes(hashlib.sha256(image_key.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(3, 2, tables.N_FEATURES).astype(np.float32)


def vectors(keys: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([vector(key) for key in keys]) if keys else np.zeros((0, tables.N_FEATURES), np.float32)


def content(image_key: str) -> str:
    return hashlib.sha256(image_key.encode()).hexdigest()


def features_rows(keys: Sequence[str], embedder_id: str = EMBEDDER) -> pa.Table:
    sides = pa.array([60] * len(keys), pa.int32())
    columns = [pa.array(keys, pa.string()), pa.array([content(key) for key in keys], pa.string()), sides, sides]
    columns += [pa.array([embedder_id] * len(keys), pa.string()), to_list_array([vector(key) for key in keys])]
    return pa.Table.from_arrays(columns, schema=files.FEATURES)


def category_of(name: str) -> str:
    return lake.unescape_partition_value(name.partition("/")[0].partition("=")[2])


def keys_in(day: str, name: str, images: Iterable[str]) -> list[str]:
    return [lake.image_key(day, category_of(name), image) for image in images]


def put_features(store: Store, day: str, name: str, images: Iterable[str], embedder_id: str = EMBEDDER) -> None:
    store.write(file_key(day, name), files.features_to_parquet(features_rows(keys_in(day, name, images), embedder_id)))


def ledger_rows(day: str, by_embedder: Mapping[str, Files], rejected: Mapping[str, str] | None = None) -> pa.Table:
    """Returns the rows of a date's ledger. `rejected` has reasons by `<category>/<image>`."""
    lines = []
    for embedder_id, named in by_embedder.items():
        for name, images in named.items():
            for key in keys_in(day, name, images):
                known = {
                    "status": "featurised",
                    "content_sha256": content(key),
                    "width": 60,
                    "height": 60,
                    "file": file_key(day, name),
                }
                lines.append(line_of(key, category_of(name), embedder_id) | known)
    for image, reason in (rejected or {}).items():
        category = image.partition("/")[0]
        known = {"status": "rejected", "reason": reason, "detail": f"it is {reason}"}
        lines.append(line_of(lake.raw_prefix(day) + image, category, next(iter(by_embedder), EMBEDDER)) | known)
    return pa.Table.from_pylist(sorted(lines, key=lambda line: line["image_key"]), schema=files.LEDGER)


def line_of(key: str, category: str, embedder_id: str) -> dict[str, Any]:
    empty = dict.fromkeys(files.LEDGER.names)
    return empty | {
        "image_key": key,
        "category": category,
        "embedder_id": embedder_id,
        "etag": f"etag of {key}",
        "size_bytes": 7,
    }


def write_date(
    store: Store,
    day: str,
    named: Files | Mapping[str, Files],
    *,
    write: str = "w1",
    before: Ledger | None = None,
    rejected: Mapping[str, str] | None = None,
    with_moments: bool = False,
) -> Ledger:
    """Commits a date of these files (by embedder, or of EMBEDDER). Files that exist stay as they are."""
    first = next(iter(named.values()), ())
    by_embedder: Mapping[str, Files] = named if isinstance(first, dict) else {EMBEDDER: named} if named else {}  # type: ignore[dict-item,assignment]
    embedders = {}
    for embedder_id, own in by_embedder.items():
        for name, images in own.items():
            if store.find(file_key(day, name)) is None:
                put_features(store, day, name, images, embedder_id)
        keys = [key for name, images in own.items() for key in keys_in(day, name, images)]
        digest = images_digest((key, content(key)) for key in keys)
        moments = (
            write_moments(store, day, write, embedder_id, moments_of(vectors(keys)), digest) if with_moments else None
        )
        embedders[embedder_id] = EmbedderFiles(
            len(keys), {name: len(images) for name, images in sorted(own.items())}, moments
        )
    rows = ledger_rows(day, by_embedder, rejected)
    commit = Commit(day, write, rows.num_rows, len(rejected or {}), embedders)
    return put_ledger(store, before or no_ledger(day), rows, commit)


def damage(store: Store, key: str) -> None:
    """Changes one bit of a Parquet file, among its rows."""
    content = bytearray(store.read(key))
    n_footer = int.from_bytes(content[-8:-4], "little") + 8
    content[(len(content) - n_footer) // 2] ^= 1
    store.write(key, bytes(content))
