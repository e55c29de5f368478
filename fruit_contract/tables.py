"""Names the columns of the lake's tables, the statuses and the reasons for rejecting an image."""

from __future__ import annotations

from typing import Final

from fruit_contract.newer_python import StrEnum

N_FEATURES: Final = 1280

IMAGE_KEY: Final = "image_key"
INGEST_DATE: Final = "ingest_date"
CATEGORY: Final = "category"
CONTENT_SHA256: Final = "content_sha256"
WIDTH: Final = "width"
HEIGHT: Final = "height"
EMBEDDER_ID: Final = "embedder_id"
VECTOR: Final = "features"
ETAG: Final = "etag"
SIZE_BYTES: Final = "size_bytes"
STATUS: Final = "status"
REASON: Final = "reason"
DETAIL: Final = "detail"
FILE: Final = "file"  # the ledger's: the key of the file of features/ that holds the image's row
N_SAMPLES: Final = "n_samples"
CONTENT_DIGEST: Final = "content_digest"
MEAN: Final = "mean"
SCATTER: Final = "scatter"
PCA_VERSION: Final = "pca_version"
COMPONENTS: Final = "components"
REUSED: Final = (
    "reused"  # in no table, but in a step's own results: features copied from the same content under another key
)

# The files have these columns, in this order. The partition columns (ingest_date, category, pca_version) are in the
# paths.
FEATURES_COLUMNS: Final = (IMAGE_KEY, CONTENT_SHA256, WIDTH, HEIGHT, EMBEDDER_ID, VECTOR)
REJECTED_COLUMNS: Final = (IMAGE_KEY, CATEGORY, CONTENT_SHA256, REASON, DETAIL)
MOMENTS_COLUMNS: Final = (EMBEDDER_ID, N_SAMPLES, MEAN, SCATTER, CONTENT_DIGEST)
PROJECTIONS_COLUMNS: Final = (IMAGE_KEY, COMPONENTS)
LEDGER_COLUMNS: Final = (
    IMAGE_KEY, ETAG, SIZE_BYTES, CATEGORY, CONTENT_SHA256, STATUS, REASON, DETAIL, EMBEDDER_ID, WIDTH, HEIGHT, FILE,
)  # fmt: skip

# A Parquet reader must see these types: strings, whole numbers of any width, and lists of 4- or 8-byte floats.
COLUMN_TYPES: Final = {
    IMAGE_KEY: "string",
    CATEGORY: "string",
    CONTENT_SHA256: "string",
    WIDTH: "int",
    HEIGHT: "int",
    EMBEDDER_ID: "string",
    VECTOR: "list<float>",
    ETAG: "string",
    SIZE_BYTES: "int",
    STATUS: "string",
    REASON: "string",
    DETAIL: "string",
    FILE: "string",
    N_SAMPLES: "int",
    CONTENT_DIGEST: "int",
    MEAN: "list<double>",
    SCATTER: "list<double>",
    COMPONENTS: "list<float>",
}


class Status(StrEnum):
    """Says what became of a listed image."""

    FEATURISED = "featurised"
    REJECTED = "rejected"


class RejectReason(StrEnum):
    """Says why an image has no features. `detail` in `rejected/` holds the decoder's own words."""

    EMPTY = "empty"  # the file has no bytes
    NOT_AN_IMAGE = "not_an_image"  # no decoder knows the format
    TRUNCATED = "truncated"  # the file ends before the image does, or its data is damaged
    TOO_LARGE = "too_large"  # it has more pixels or bytes than the limits allow
    TOO_COSTLY = "too_costly"  # decoding it takes more memory or time than a worker has
    CRASHED_THE_DECODER = "crashed_the_decoder"  # the process that decoded it died
    UNREADABLE = "unreadable"  # a decoder knows the format but fails on this file
    VANISHED = "vanished"  # it was listed, but gone when it was fetched
