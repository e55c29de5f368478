"""A small lake in memory, with tables that agree with each other; tests break one thing at a time."""

# ruff: noqa: ARG002, N803  # boto3 names its arguments so

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake as lake_layout
from fruit_pipeline.lake_reader import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "fruits-test"
DAY = "2026-11-22"
VERSION = "20261122T080000Z-0123456789ab"
EMBEDDER = "mobilenetv2-0123456789ab-p1"
RUN_ID = "manual__2026-11-22T08:00:00+00:00"
CATEGORIES = ("Äpfel 50%", "<script>alert(1)</script>", "Kiwi", "007", "柿", "Cost $5 or $6", "Banana")
IMAGES_A_CATEGORY = 6
TARGET = 0.95
STATE = "42-0000000000000007"
RELEASE = "r1"
JOB = "jobs/extract_features.py"


@dataclass(frozen=True)
class Image:
    key: str
    category: str
    status: str = "featurised"
    reason: str | None = None


@dataclass(frozen=True)
class SampleLake:
    """The lake, its S3 client, and what is in it."""

    lake: Lake
    client: Any
    images: list[Image] = field(default_factory=list)
    k: int = 0

    def etag(self, key: str) -> str:
        return etag_of(self.client.objects[key][0]).strip('"')

    def put_image(self, key: str, content: bytes = b"jpeg") -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete_below(self, prefix: str) -> None:
        for stored in list(self.lake.list_objects(prefix)):
            self.client.delete_object(Bucket=BUCKET, Key=stored.key)

    def write_table(self, prefix: str, columns: dict[str, Any], name: str = "part-00000.parquet") -> None:
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream)
        self.client.put_object(Bucket=BUCKET, Key=f"{prefix}{name}", Body=stream.getvalue())

    def featurised(self, category: str) -> list[Image]:
        return [image for image in self.images if image.category == category and image.status == "featurised"]

    def publish(self, release: str, embedder_id: str = EMBEDDER) -> None:
        """A release of one job, as `make publish` leaves it; it is the current one then."""
        self.lake.write(f"{lake_layout.release_prefix(release)}{JOB}", b"print()", "text/x-python")
        manifest = {"release": release, "embedder_id": embedder_id, "files": {JOB: "0123"}}
        self.lake.write_json(f"{lake_layout.release_prefix(release)}release.json", manifest)
        self.lake.write_json(lake_layout.CURRENT_RELEASE_KEY, {"release": release})

    def add_date(self, ingest_date: str) -> None:
        """Another date with the same images, as if the run had done both."""
        for key in [key for key in self.client.objects if f"ingest_date={DAY}/" in key]:
            content = self.client.objects[key][0]
            moved = _moved(content, ingest_date) if key.endswith(".parquet") else content
            self.client.put_object(Bucket=BUCKET, Key=_of_date(key, ingest_date), Body=moved)
        self.put_image(lake_layout.moments_state_key(ingest_date, EMBEDDER, STATE), b"")
        record = lake_layout.projected_record_key(VERSION)
        self.lake.write_json(record, self.lake.read_json(record) | {ingest_date: STATE})
        extract = lake_layout.step_summary_key(RUN_ID, "extract_features")
        self.lake.write_json(extract, _summary_with_date(self.lake.read_json(extract), ingest_date))

    def write_ledger(self, images: list[Image], **changed: list[Any]) -> None:
        columns: dict[str, Any] = {
            "image_key": [image.key for image in images],
            "etag": [f'"{self.etag(image.key)}"' for image in images],
            "size_bytes": pa.array([4] * len(images), pa.int64()),
            "category": [image.category for image in images],
            "content_sha256": pa.array(["00"] * len(images), pa.string()),
            "status": [image.status for image in images],
            "reason": pa.array([image.reason for image in images], pa.string()),
            "embedder_id": [EMBEDDER] * len(images),
        }
        self.write_table(lake_layout.date_prefix("ledger", DAY), columns | changed)

    def write_features(self, category: str, keys: list[str], vectors: np.ndarray, **changed: Any) -> None:
        n = len(keys)
        columns: dict[str, Any] = {
            "image_key": keys,
            "content_sha256": ["00"] * n,
            "width": pa.array([100] * n, pa.int32()),
            "height": pa.array([100] * n, pa.int32()),
            "embedder_id": [EMBEDDER] * n,
            "features": pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32())),
        }
        self.write_table(lake_layout.partition_prefix("features", DAY, category), columns | changed)

    def write_projections(self, category: str, keys: list[str], vectors: np.ndarray) -> None:
        columns = {"image_key": keys, "components": pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32()))}
        self.write_table(lake_layout.projections_partition_prefix(VERSION, DAY, category), columns)


@cache
def fitted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of all images, their mean, scale, all components and the spectrum."""
    features = (
        np.random.default_rng(7).gamma(1.0, 1.0, size=(len(CATEGORIES) * IMAGES_A_CATEGORY, 1280)).astype(np.float32).astype(np.float64)
    )
    mean, scale = features.mean(axis=0), features.std(axis=0, ddof=1)
    standardised = (features - mean) / scale
    _, singular, components = np.linalg.svd(standardised, full_matrices=False)
    spectrum = np.zeros(1280)
    spectrum[: len(singular)] = singular**2 / (singular**2).sum()
    return features, mean, scale, components, spectrum


class MemoryS3:
    """The few calls of boto3's S3 client that the lake needs, over a dictionary."""

    class exceptions:  # noqa: N801  # boto3's name
        class NoSuchKey(Exception):  # noqa: N818  # boto3's name
            pass

    def __init__(self, objects: dict[str, tuple[bytes, datetime]] | None = None) -> None:
        self.objects = dict(objects or {})

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str = "") -> None:
        self.objects[Key] = (Body, datetime.now(UTC))

    def delete_object(self, *, Bucket: str, Key: str) -> None:
        self.objects.pop(Key, None)

    def get_object(self, *, Bucket: str, Key: str, Range: str | None = None, IfMatch: str | None = None) -> dict[str, Any]:
        if Key not in self.objects:
            raise self.exceptions.NoSuchKey
        content = self.objects[Key][0]
        assert IfMatch in {None, etag_of(content)}
        if Range:
            first, last = (int(number) for number in Range.removeprefix("bytes=").split("-"))
            content = content[first : last + 1]
        return {"Body": io.BytesIO(content)}

    def get_paginator(self, operation: str) -> MemoryS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        found = [(key, *self.objects[key]) for key in sorted(self.objects) if key.startswith(Prefix)]
        for start in range(0, max(len(found), 1), 10):
            page = found[start : start + 10]
            entries = [{"Key": key, "Size": len(body), "ETag": etag_of(body), "LastModified": moment} for key, body, moment in page]
            yield {"Contents": entries} if entries else {}


def etag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def build_sample_lake() -> SampleLake:
    """One ingest date of seven categories, six images each and one broken image, as a run of a published release leaves it."""
    features, mean, scale, components, spectrum = fitted()
    k = int(np.argmax(np.cumsum(spectrum) >= TARGET)) + 1
    images = [
        Image(lake_layout.image_key(DAY, category, f"{number}.jpg"), category)
        for category in CATEGORIES
        for number in range(IMAGES_A_CATEGORY)
    ]
    broken = Image(lake_layout.image_key(DAY, "Kiwi", "<b>broken</b>.jpg"), "Kiwi", "rejected", "truncated")
    client = MemoryS3()
    sample = SampleLake(Lake(client, BUCKET), client, images=[*images, broken], k=k)
    for image in sample.images:
        sample.put_image(image.key)
    sample.put_image(lake_layout.success_marker_key(DAY), b"")
    sample.write_ledger(sample.images)
    projected = ((features - mean) / scale) @ components[:k].T
    for index, category in enumerate(CATEGORIES):
        rows = slice(index * IMAGES_A_CATEGORY, (index + 1) * IMAGES_A_CATEGORY)
        keys = [image.key for image in sample.featurised(category)]
        sample.write_features(category, keys, features[rows])
        sample.write_projections(category, keys, projected[rows])
    rejected = {
        "image_key": [broken.key],
        "category": ["Kiwi"],
        "content_sha256": ["00"],
        "reason": ["truncated"],
        "detail": ["<i>cut</i> off"],
    }
    sample.write_table(lake_layout.date_prefix("rejected", DAY), rejected)
    _write_moments(sample, features, mean)
    _write_pca(sample, mean, scale, components, spectrum)
    _write_summaries(sample, spectrum)
    sample.publish(RELEASE)
    return sample


def _of_date(key: str, ingest_date: str) -> str:
    return key.replace(f"ingest_date={DAY}/", f"ingest_date={ingest_date}/")


def _moved(content: bytes, ingest_date: str) -> bytes:
    """A table with the image keys of another date."""
    table = pq.read_table(io.BytesIO(content))
    if "image_key" in table.column_names:
        keys = [_of_date(key, ingest_date) for key in table.column("image_key").to_pylist()]
        table = table.set_column(table.column_names.index("image_key"), "image_key", pa.array(keys, pa.string()))
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _summary_with_date(summary: dict[str, Any], ingest_date: str) -> dict[str, Any]:
    rejects = [reject | {"image_key": _of_date(reject["image_key"], ingest_date)} for reject in summary["rejects"]]
    return summary | {
        "ingest_dates": [*summary["ingest_dates"], ingest_date],
        "touched_ingest_dates": [*summary["touched_ingest_dates"], ingest_date],
        "by_category": summary["by_category"] | {ingest_date: summary["by_category"][DAY]},
        "rejects": summary["rejects"] + rejects,
        "rejected_by_reason": {reason: 2 * count for reason, count in summary["rejected_by_reason"].items()},
        "rejected_by_reason_by_date": summary["rejected_by_reason_by_date"] | {ingest_date: summary["rejected_by_reason_by_date"][DAY]},
    }


def _write_moments(sample: SampleLake, features: np.ndarray, mean: np.ndarray) -> None:
    scatter = (features - mean).T @ (features - mean)
    columns = {
        "embedder_id": [EMBEDDER],
        "n_samples": pa.array([len(features)], pa.int64()),
        "mean": pa.array([mean]),
        "scatter": pa.array([scatter[np.triu_indices(1280)]]),
        "content_digest": pa.array([7], pa.int64()),
    }
    sample.write_table(lake_layout.date_prefix("moments", DAY), columns)
    sample.put_image(lake_layout.moments_state_key(DAY, EMBEDDER, STATE), b"")
    sample.lake.write_json(lake_layout.projected_record_key(VERSION), {DAY: STATE})


def _write_pca(sample: SampleLake, mean: np.ndarray, scale: np.ndarray, components: np.ndarray, spectrum: np.ndarray) -> None:
    model = {
        "mean": pa.array([mean]),
        "scale": pa.array([scale]),
        "components": pa.array([list(components[: sample.k])]),
        "explained_variance": pa.array([spectrum[: sample.k] * 1280]),
        "explained_variance_ratio": pa.array([spectrum[: sample.k]]),
        "spectrum": pa.array([spectrum]),
    }
    sample.write_table(lake_layout.pca_prefix(VERSION), model, "model.parquet")
    provenance = {
        "version": VERSION,
        "embedder_id": EMBEDDER,
        "n_samples": len(CATEGORIES) * IMAGES_A_CATEGORY,
        "ingest_dates": [DAY],
        "target_variance": TARGET,
        "k": sample.k,
        "variance_kept": float(spectrum[: sample.k].sum()),
        "target_reached": True,
        "release": RELEASE,
    }
    sample.lake.write_json(lake_layout.pca_provenance_key(VERSION), provenance)
    sample.lake.write_json(lake_layout.CURRENT_PCA_KEY, {"version": VERSION, "k": sample.k, "embedder_id": EMBEDDER})


def _write_summaries(sample: SampleLake, spectrum: np.ndarray) -> None:
    counts: dict[str, Counter[str]] = {category: Counter() for category in CATEGORIES}
    for image in sample.images:
        counts[image.category].update(["listed", "new", image.status])
    names = ("listed", "new", "unchanged", "reused", "removed", "featurised", "rejected")
    extract = {
        "step": "extract_features",
        "run_id": RUN_ID,
        "release": RELEASE,
        "embedder_id": EMBEDDER,
        "engine": "onnxruntime",
        "ingest_dates": [DAY],
        "touched_ingest_dates": [DAY],
        "by_category": {DAY: {category: {name: found[name] for name in names} for category, found in counts.items()}},
        "rejects": [
            {"image_key": image.key, "reason": image.reason, "detail": "<i>cut</i> off"} for image in sample.images if image.reason
        ],
        "rejected_by_reason": {"truncated": 1},
        "rejected_by_reason_by_date": {DAY: {"truncated": 1}},
        "images_computed": 43,
        "images_per_second": 71.5,
        "timings_seconds": {"list": 0.3, "find_known_contents": 0.1, "compute": 12.9, "write_features": 1.4, "total": 18.1},
    }
    refresh = {
        "step": "refresh_pca",
        "run_id": RUN_ID,
        "release": RELEASE,
        "embedder_id": EMBEDDER,
        "policy": "always",
        "moments_read": 1,
        "action": "fitted",
        "reason": "the policy is 'always'",
        "pca_version": VERSION,
        "k": sample.k,
        "n_samples": len(CATEGORIES) * IMAGES_A_CATEGORY,
        "target_variance": TARGET,
        "variance_kept": float(spectrum[: sample.k].sum()),
        "target_reached": True,
        "n_samples_fitted": len(CATEGORIES) * IMAGES_A_CATEGORY,
        "retained_variance": float(spectrum[: sample.k].sum()),
        "retained_variance_by_date": {DAY: 0.9512},
        "projected_ingest_dates": [DAY],
        "unsettled_ingest_dates": [],
        "removed_versions": [],
        "timings_seconds": {"merge_moments": 4.0, "fit": 1.5, "project": 2.0, "total": 9.0},
    }
    for summary in (extract, refresh):
        sample.lake.write_json(lake_layout.step_summary_key(RUN_ID, str(summary["step"])), summary)
