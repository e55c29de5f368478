"""Does with Daft what the features step does: its own reader lists and fetches the images, and a batch function in its
native runner computes the features (see way_worker.py).

The function runs in Daft's own process, on a thread for each core: it spends its time in the decoder and the network,
which let go of Python's lock. Daft's other way, a class with `max_concurrency=2`, starts two processes for every query,
loads the engine into both, and passes images and features between them as Arrow streams, which takes more CPU for an
image (benchmarks/README.md).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import daft
import numpy as np
import pyarrow as pa
from daft import DataType, col, lit
from daft.functions import download
from daft.io import IOConfig, S3Config

from benchmarks.harness.way_worker import seconds_since_process_start
from benchmarks.peers.embedding import IMAGES_AT_ONCE, S3Access, embed_images, find_published_embedder, output_key
from fruit_contract import lake, tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers.embedding import EmbedderArtefact

PEER: Final = "daft"
_PATH: Final = "path"
_CONTENT: Final = "content"
# GET requests at the same time: as many as the features step has in each of its two workers.
_CONNECTIONS: Final = 32
_COMPUTED: Final = DataType.struct(
    {
        tables.CONTENT_SHA256: DataType.string(),
        tables.WIDTH: DataType.int32(),
        tables.HEIGHT: DataType.int32(),
        tables.VECTOR: DataType.list(DataType.float32()),
    }
)


def start() -> dict[str, Any]:
    """Sets Daft up; it has nothing to start but its import. Answers the seconds since this process started."""
    daft.set_runner_native()
    # Its own Parquet writer uploads in parts only, and has not been tried with the local S3 server.
    daft.set_execution_config(native_parquet_writer=False)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """Runs from the listing of the date to its features in the lake."""
    started = time.monotonic()
    access = S3Access.from_environment()
    s3 = S3Config(
        endpoint_url=access.endpoint,
        region_name=access.region,
        key_id=access.access_key_id,
        access_key=access.secret_access_key,
        use_ssl=access.endpoint.startswith("https://"),
        max_connections=_CONNECTIONS,
    )
    io_config = IOConfig(s3=s3)
    embedder = find_published_embedder(bucket, release_id)
    compute = daft.func.batch(return_dtype=_COMPUTED, unnest=True, batch_size=IMAGES_AT_ONCE, use_process=False)(
        _computing(embedder)
    )
    # The pattern takes files below a category's folder, and so leaves out the batch's marker, which lies above them.
    listed = daft.from_glob_path(f"{lake.uri(bucket, lake.raw_prefix(ingest_date))}*/**", io_config=io_config)
    fetched = listed.select(
        _PATH, download(col(_PATH), max_connections=_CONNECTIONS, io_config=io_config).alias(_CONTENT)
    )
    features = fetched.select(
        col(_PATH).regexp_replace("^s3://[^/]+/", "").alias(tables.IMAGE_KEY),
        compute(col(_CONTENT)),
        lit(embedder.embedder_id).alias(tables.EMBEDDER_ID),
        col(_PATH).regexp_extract("^s3://[^/]+/raw/[^/]+/([^/]+)/", 1).alias(tables.CATEGORY),
    )
    features.write_parquet(
        lake.uri(bucket, output_key(PEER, ingest_date)), partition_cols=[tables.CATEGORY], io_config=io_config
    )
    return {"seconds": time.monotonic() - started}


def _computing(embedder: EmbedderArtefact) -> Callable[[Any], Any]:
    def compute(contents: Any) -> Any:
        found = embed_images(embedder, (content.as_py() for content in contents.to_arrow()), len(contents))
        ends = np.arange(0, found.features.size + 1, found.features.shape[1], dtype=np.int64)
        columns = {
            tables.CONTENT_SHA256: pa.array(found.content_sha256, pa.large_string()),
            tables.WIDTH: pa.array(found.width),
            tables.HEIGHT: pa.array(found.height),
            tables.VECTOR: pa.LargeListArray.from_arrays(ends, found.features.ravel()),
        }
        return pa.StructArray.from_arrays(list(columns.values()), list(columns))

    return compute
