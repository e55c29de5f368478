"""Does with Ray Data what the features step does: read_binary_files, map_batches and write_parquet, on as many workers
as there are cores (see way_worker.py).

What is mapped is a function, not a class in a pool of actors. Ray keeps the processes that run functions, and so the
engine, from run to run, and lets the one that computes features write them, too. Actors start, import and load the
engine in every run, and pass everything on through the object store, which takes more CPU for an image
(benchmarks/README.md).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import ray
from pyarrow import fs
from ray.data import DataContext

from benchmarks.harness.machine import usable_cores
from benchmarks.harness.way_worker import seconds_since_process_start
from benchmarks.peers.embedding import IMAGES_AT_ONCE, S3Access, embed_images, find_published_embedder, output_key
from fruit_contract import lake, tables

if TYPE_CHECKING:
    from benchmarks.peers.embedding import EmbedderArtefact

PEER: Final = "ray"
# By default Ray would read such small files in two blocks, too few to keep all workers busy to the end.
_BLOCKS_PER_CORE: Final = 8


def start(temporary: str) -> dict[str, Any]:
    """Starts Ray on this machine, with its files in `temporary`, and answers the seconds since this process started."""
    ray.init(
        num_cpus=usable_cores(),
        include_dashboard=False,
        logging_level="warning",
        log_to_driver=False,
        _temp_dir=temporary,
    )
    DataContext.get_current().enable_progress_bars = False
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """Runs from the listing of the date to its features in the lake."""
    started = time.monotonic()
    access = S3Access.from_environment()
    scheme, _, endpoint = access.endpoint.partition("://")
    s3 = fs.S3FileSystem(
        endpoint_override=endpoint,
        scheme=scheme,
        region=access.region,
        access_key=access.access_key_id,
        secret_key=access.secret_access_key,
    )
    images = ray.data.read_binary_files(
        f"{bucket}/{lake.raw_prefix(ingest_date)}",
        include_paths=True,
        filesystem=s3,
        file_extensions=["jpg"],
        override_num_blocks=_BLOCKS_PER_CORE * usable_cores(),
    )
    embedder = find_published_embedder(bucket, release_id)
    features = images.map_batches(
        embed_batch, fn_kwargs={"embedder": embedder}, batch_size=IMAGES_AT_ONCE, batch_format="pyarrow"
    )
    # S3 has no folders to create.
    output = f"{bucket}/{output_key(PEER, ingest_date)}"
    features.write_parquet(output, partition_cols=[tables.CATEGORY], filesystem=s3, try_create_dir=False)
    return {"seconds": time.monotonic() - started}


def embed_batch(images: pa.Table, embedder: EmbedderArtefact) -> pa.Table:
    """Returns the rows of `features/` of some images, and their category."""
    found = embed_images(embedder, (content.as_py() for content in images["bytes"]), len(images))
    # A path is `<bucket>/<key>`.
    keys = [path.as_py().partition("/")[2] for path in images["path"]]
    ends = np.arange(0, found.features.size + 1, found.features.shape[1], dtype=np.int32)
    columns = {
        tables.IMAGE_KEY: keys,
        tables.CONTENT_SHA256: found.content_sha256,
        tables.WIDTH: found.width,
        tables.HEIGHT: found.height,
        tables.EMBEDDER_ID: [embedder.embedder_id] * len(keys),
        tables.VECTOR: pa.ListArray.from_arrays(ends, found.features.ravel()),
        tables.CATEGORY: [key.split("/")[2] for key in keys],
    }
    return pa.table(columns)
