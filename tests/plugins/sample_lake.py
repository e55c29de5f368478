"""Builds a small lake in memory with tables that agree with each other, for tests that break one thing at a time."""

# ruff: noqa: ARG002, N803  # boto3 names its arguments so

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from fruit_contract import lake as lake_layout
from fruit_contract.commit import (
    METADATA_KEY,
    Commit,
    EmbedderFiles,
    MomentsObject,
    commit_from_json,
    commit_to_json,
    digest_text,
    file_key,
    images_digest,
)
from fruit_contract.release import RELEASE_FORMAT
from fruit_pipeline.claims.claim_book import DatesBook
from fruit_pipeline.claims.claims import Wish
from fruit_pipeline.lake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BUCKET = "fruits-test"
DAY = "2026-11-22"
VERSION = "20261122T080000Z-0123456789ab"
EMBEDDER = "mobilenetv2-0123456789ab-p1"
NEXT_EMBEDDER = "mobilenetv2-ba9876543210-p1"
RUN_ID = "manual__2026-11-22T08:00:00+00:00"
WRITE = "0a1b2c3d4e5f"
CATEGORIES = ("Äpfel 50%", "<script>alert(1)</script>", "Kiwi", "007", "柿", "Cost $5 or $6", "Banana")
IMAGES_A_CATEGORY = 6
TARGET = 0.95
RELEASE = "r1"
JOB = "jobs/extract_features.py"


@dataclass(frozen=True)
class Image:
    key: str
    category: str
    status: str = "featurised"
    reason: str | None = None

    @property
    def content_sha256(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()


@dataclass(frozen=True)
class SampleLake:
    """Holds the lake, its S3 client, and what is in it."""

    lake: Lake
    client: Any
    images: list[Image] = field(default_factory=list)
    k: int = 0

    def etag(self, key: str) -> str:
        return etag_of(self.client.objects[key][0]).strip('"')

    def put_image(self, key: str, content: bytes = b"jpeg") -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def delete_below(self, prefix: str) -> None:
        for stored in list(self.lake.list_objects(prefix)):
            self.delete(stored.key)

    def write_table(self, key: str, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
        stream = io.BytesIO()
        pq.write_table(
            pa.table(columns, metadata=metadata), stream, use_dictionary=False
        )  # a dictionary of a million numbers takes a second
        self.client.put_object(Bucket=BUCKET, Key=key, Body=stream.getvalue())

    def featurised(self, category: str) -> list[Image]:
        return [image for image in self.images if image.category == category and image.status == "featurised"]

    def publish(self, release: str, embedder_id: str = EMBEDDER) -> None:
        """Publishes a release of one job, as `make publish` leaves it, and makes it the current one."""
        self.lake.write(f"{lake_layout.release_prefix(release)}{JOB}", b"print()", "text/x-python")
        manifest = {"format": RELEASE_FORMAT, "release": release, "embedder_id": embedder_id, "files": {JOB: "0123"}}
        key = f"{lake_layout.release_prefix(release)}release.json"
        self.lake.write_json(key, manifest)
        digest = hashlib.sha256(self.lake.read_bytes(key)).hexdigest()
        self.lake.write_json(lake_layout.CURRENT_RELEASE_KEY, {"release": release, "manifest_sha256": digest})

    def add_date(self, ingest_date: str) -> None:
        """Adds another date with the same images, as if the run had done both."""
        write_date(self, ingest_date, [_of_date(image, ingest_date) for image in self.images])
        extract = lake_layout.step_summary_key(RUN_ID, "extract_features")
        self.lake.write_json(extract, _summary_with_date(self.lake.read_json(extract), ingest_date))

    def commit(self, ingest_date: str = DAY) -> Commit:
        content = self.client.objects[lake_layout.ledger_key(ingest_date)][0]
        return commit_from_json(pq.read_schema(io.BytesIO(content)).metadata[METADATA_KEY.encode()].decode())

    def put_commit(self, commit: Commit, ingest_date: str = DAY) -> None:
        """Puts another commit over the same rows."""
        key = lake_layout.ledger_key(ingest_date)
        table = pq.read_table(io.BytesIO(self.client.objects[key][0]))
        self.write_table(
            key, dict(zip(table.column_names, table.columns, strict=True)), {METADATA_KEY: commit_to_json(commit)}
        )

    def change_embedder_files(self, ingest_date: str = DAY, **changed: Any) -> None:
        """Puts another commit, in which these facts of the embedder's files are changed."""
        commit = self.commit(ingest_date)
        self.put_commit(
            replace(commit, embedders={EMBEDDER: replace(commit.embedders[EMBEDDER], **changed)}), ingest_date
        )

    def write_ledger(
        self, images: Sequence[Image], ingest_date: str = DAY, commit: Commit | None = None, **changed: list[Any]
    ) -> None:
        """Writes the ledger of these images, with their commit unless another one is given."""
        images = sorted(images, key=lambda image: image.key)
        featurised = [image.status == "featurised" for image in images]
        columns: dict[str, Any] = {
            "image_key": [image.key for image in images],
            "etag": [self.etag(image.key) for image in images],
            "size_bytes": pa.array([4] * len(images), pa.int64()),
            "category": [image.category for image in images],
            "content_sha256": pa.array([image.content_sha256 for image in images], pa.string()),
            "status": [image.status for image in images],
            "reason": pa.array([image.reason for image in images], pa.string()),
            "detail": pa.array(["<i>cut</i> off" if image.reason else None for image in images], pa.string()),
            "embedder_id": [EMBEDDER] * len(images),
            "width": pa.array([100 if has else None for has in featurised], pa.int32()),
            "height": pa.array([100 if has else None for has in featurised], pa.int32()),
            "file": pa.array(
                [
                    features_key(image.category, ingest_date) if has else None
                    for image, has in zip(images, featurised, strict=True)
                ],
                pa.string(),
            ),
        }
        text = commit_to_json(commit or commit_of(images, ingest_date))
        self.write_table(lake_layout.ledger_key(ingest_date), columns | changed, {METADATA_KEY: text})

    def write_earlier_ledger(self, images: Sequence[Image], ingest_date: str = DAY) -> None:
        """Writes the ledger as the release before did: Spark's files, in no order, without a commit."""
        self.delete(lake_layout.ledger_key(ingest_date))
        for number, part in enumerate((images[1::2], images[::2])):
            columns: dict[str, Any] = {
                "image_key": [image.key for image in part],
                "etag": [f'"{self.etag(image.key)}"' for image in part],
                "size_bytes": pa.array([4] * len(part), pa.int64()),
                "category": [image.category for image in part],
                "content_sha256": [image.content_sha256 for image in part],
                "status": [image.status for image in part],
                "reason": pa.array([image.reason for image in part], pa.string()),
                "embedder_id": [EMBEDDER] * len(part),
            }
            self.write_table(
                f"{lake_layout.date_prefix('ledger', ingest_date)}part-{number:05}-ab.c000.zstd.parquet", columns
            )

    def write_features(
        self,
        category: str,
        images: Sequence[Image],
        vectors: np.ndarray,
        ingest_date: str = DAY,
        key: str = "",
        **changed: Any,
    ) -> None:
        n = len(images)
        columns: dict[str, Any] = {
            "image_key": pa.array([image.key for image in images], pa.string()),
            "content_sha256": pa.array([image.content_sha256 for image in images], pa.string()),
            "width": pa.array([100] * n, pa.int32()),
            "height": pa.array([100] * n, pa.int32()),
            "embedder_id": pa.array([EMBEDDER] * n, pa.string()),
            "features": pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32())),
        }
        self.write_table(key or features_key(category, ingest_date), columns | changed)

    def write_projections(
        self,
        category: str,
        images: Sequence[Image],
        vectors: np.ndarray,
        ingest_date: str = DAY,
        version: str = VERSION,
    ) -> None:
        keys = pa.array([image.key for image in images], pa.string())
        columns = {"image_key": keys, "components": pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32()))}
        self.write_table(lake_layout.projections_file_key(version, features_key(category, ingest_date)), columns)

    def write_rejected(
        self, images: Sequence[Image], ingest_date: str = DAY, write: str = WRITE, **changed: Any
    ) -> None:
        columns = {
            "image_key": [image.key for image in images],
            "category": [image.category for image in images],
            "content_sha256": [image.content_sha256 for image in images],
            "reason": [image.reason for image in images],
            "detail": ["<i>cut</i> off"] * len(images),
        }
        self.write_table(lake_layout.rejected_key(ingest_date, write), columns | changed)


def features_key(category: str, ingest_date: str = DAY) -> str:
    return f"{lake_layout.partition_prefix('features', ingest_date, category)}{WRITE}-0.parquet"


def moments_object_key(ingest_date: str = DAY) -> str:
    return lake_layout.moments_key(ingest_date, WRITE, EMBEDDER)


def commit_of(images: Iterable[Image], ingest_date: str = DAY) -> Commit:
    """Returns the commit of a date of these images, whose featurised ones lie in one file for each category."""
    images = list(images)
    featurised = [image for image in images if image.status == "featurised"]
    files = Counter(
        features_key(image.category, ingest_date).removeprefix(file_key(ingest_date, "")) for image in featurised
    )
    digest = images_digest((image.key, image.content_sha256) for image in featurised)
    moments = MomentsObject(moments_object_key(ingest_date), len(featurised), digest_text(digest))
    embedders = {EMBEDDER: EmbedderFiles(len(featurised), dict(files), moments)} if featurised else {}
    return Commit(ingest_date, WRITE, len(images), len(images) - len(featurised), embedders)


@cache
def fitted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns features of all images, their mean and scale, all components, and the spectrum."""
    features = (
        np.random.default_rng(7)
        .gamma(1.0, 1.0, size=(len(CATEGORIES) * IMAGES_A_CATEGORY, 1280))
        .astype(np.float32)
        .astype(np.float64)
    )
    mean, scale = features.mean(axis=0), features.std(axis=0, ddof=1)
    standardised = (features - mean) / scale
    _, singular, components = np.linalg.svd(standardised, full_matrices=False)
    spectrum = np.zeros(1280)
    spectrum[: len(singular)] = singular**2 / (singular**2).sum()
    return features, mean, scale, components, spectrum


class MemoryS3:
    """Has the few methods of boto3's S3 client that the lake needs, over a dictionary."""

    class exceptions:  # noqa: N801  # boto3's name
        class NoSuchKey(Exception):  # noqa: N818  # boto3's name
            pass

    lists_in_order = True

    def __init__(self, objects: dict[str, tuple[bytes, datetime]] | None = None) -> None:
        self.objects = dict(objects or {})

    def get_bucket_location(self, *, Bucket: str) -> dict[str, str]:
        return {"LocationConstraint": "eu-west-1"}

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes,
        ContentType: str = "",
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
    ) -> None:
        there = etag_of(self.objects[Key][0]) if Key in self.objects else None
        if (IfMatch and IfMatch != there) or (IfNoneMatch and there):
            raise ClientError(
                {"Error": {"Code": "PreconditionFailed", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 412}},
                "PutObject",
            )
        self.objects[Key] = (Body, datetime.now(UTC))

    def delete_object(self, *, Bucket: str, Key: str) -> None:
        self.objects.pop(Key, None)

    def get_object(
        self, *, Bucket: str, Key: str, Range: str | None = None, IfMatch: str | None = None
    ) -> dict[str, Any]:
        if Key not in self.objects:
            raise self.exceptions.NoSuchKey
        content = self.objects[Key][0]
        assert IfMatch in {None, etag_of(content)}
        if Range:
            first, last = (int(number) for number in Range.removeprefix("bytes=").split("-"))
            content = content[first : last + 1]
        return {"Body": io.BytesIO(content), "ETag": etag_of(self.objects[Key][0])}

    def get_paginator(self, operation: str) -> MemoryS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(
        self, *, Bucket: str, Prefix: str, Delimiter: str = "", StartAfter: str = ""
    ) -> Iterator[dict[str, Any]]:
        in_order = sorted(self.objects) if self.lists_in_order else [*self.objects]
        keys = [key for key in in_order if key.startswith(Prefix) and key > StartAfter]
        if Delimiter:
            below = (key.removeprefix(Prefix).partition(Delimiter) for key in keys)
            yield {
                "CommonPrefixes": [
                    {"Prefix": f"{Prefix}{name}{slash}"}
                    for name, slash in dict.fromkeys((n, s) for n, s, _ in below if s)
                ]
            }
            return
        found = [(key, *self.objects[key]) for key in keys]
        for start in range(0, max(len(found), 1), 10):
            page = found[start : start + 10]
            entries = [
                {"Key": key, "Size": len(body), "ETag": etag_of(body), "LastModified": moment}
                for key, body, moment in page
            ]
            yield {"Contents": entries, "IsTruncated": start + 10 < len(found)} if entries else {}


def hold_dates(lake: Lake, run_id: str, *ingest_dates: str) -> None:
    """Has a run claim dates that are free."""
    assert DatesBook(lake).take(Wish(run_id, ingest_dates), lambda _: True).held == ingest_dates


def held_dates(lake: Lake) -> dict[str, list[str]]:
    """Returns the dates that each run holds."""
    return {claim.run_id: [*claim.names] for claim in DatesBook(lake).read()}


def etag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def build_sample_lake() -> SampleLake:
    """Builds one ingest date of seven categories with six images each, and one broken image, as a run of a published
    release leaves it.
    """
    _, mean, scale, components, spectrum = fitted()
    images = [
        Image(lake_layout.image_key(DAY, category, f"{number}.jpg"), category)
        for category in CATEGORIES
        for number in range(IMAGES_A_CATEGORY)
    ]
    broken = Image(lake_layout.image_key(DAY, "Kiwi", "<b>broken</b>.jpg"), "Kiwi", "rejected", "truncated")
    client = MemoryS3()
    sample = SampleLake(
        Lake(client, BUCKET), client, images=[*images, broken], k=int(np.argmax(np.cumsum(spectrum) >= TARGET)) + 1
    )
    write_date(sample, DAY, sample.images)
    _write_pca(sample, mean, scale, components, spectrum)
    _write_summaries(sample, spectrum)
    sample.publish(RELEASE)
    return sample


def write_date(sample: SampleLake, ingest_date: str, images: Sequence[Image]) -> None:
    """Writes everything of a date, its commit last."""
    features, mean, scale, components, _ = fitted()
    projected = ((features - mean) / scale) @ components[: sample.k].T
    for image in images:
        sample.put_image(image.key)
    sample.put_image(lake_layout.success_marker_key(ingest_date), b"")
    for index, category in enumerate(CATEGORIES):
        rows = slice(index * IMAGES_A_CATEGORY, (index + 1) * IMAGES_A_CATEGORY)
        featurised = [image for image in images if image.category == category and image.status == "featurised"]
        sample.write_features(category, featurised, features[rows], ingest_date)
        sample.write_projections(category, featurised, projected[rows], ingest_date)
    sample.write_rejected([image for image in images if image.status == "rejected"], ingest_date)
    _write_moments(sample, features, mean, ingest_date)
    sample.write_ledger(images, ingest_date)


def _of_date(image: Image, ingest_date: str) -> Image:
    return replace(image, key=image.key.replace(f"ingest_date={DAY}/", f"ingest_date={ingest_date}/"))


def _summary_with_date(summary: dict[str, Any], ingest_date: str) -> dict[str, Any]:
    of_the_day = f"ingest_date={DAY}/"
    rejects = [
        reject | {"image_key": reject["image_key"].replace(of_the_day, f"ingest_date={ingest_date}/")}
        for reject in summary["rejects"]
        if of_the_day in reject["image_key"]
    ]
    by_reason = summary["rejected_by_reason_by_date"][DAY]
    return summary | {
        "ingest_dates": [*summary["ingest_dates"], ingest_date],
        "touched_ingest_dates": [*summary["touched_ingest_dates"], ingest_date],
        "by_category": summary["by_category"] | {ingest_date: summary["by_category"][DAY]},
        "rejects": summary["rejects"] + rejects,
        "rejected_by_reason": {
            reason: count + by_reason[reason] for reason, count in summary["rejected_by_reason"].items()
        },
        "rejected_by_reason_by_date": summary["rejected_by_reason_by_date"] | {ingest_date: by_reason},
    }


def _write_moments(sample: SampleLake, features: np.ndarray, mean: np.ndarray, ingest_date: str) -> None:
    scatter = (features - mean).T @ (features - mean)
    columns = {
        "embedder_id": [EMBEDDER],
        "n_samples": pa.array([len(features)], pa.int64()),
        "mean": pa.array([mean]),
        "scatter": pa.array([scatter[np.triu_indices(1280)]]),
        "content_digest": pa.array([7], pa.int64()),
    }
    sample.write_table(moments_object_key(ingest_date), columns)


def _write_pca(
    sample: SampleLake, mean: np.ndarray, scale: np.ndarray, components: np.ndarray, spectrum: np.ndarray
) -> None:
    model = {
        "mean": pa.array([mean]),
        "scale": pa.array([scale]),
        "components": pa.array([list(components[: sample.k])]),
        "explained_variance": pa.array([spectrum[: sample.k] * 1280]),
        "explained_variance_ratio": pa.array([spectrum[: sample.k]]),
        "spectrum": pa.array([spectrum]),
    }
    sample.write_table(f"{lake_layout.pca_prefix(VERSION)}model.parquet", model)
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
    pointer = {
        "version": VERSION,
        "k": sample.k,
        "embedder_id": EMBEDDER,
        "since": "2026-11-22T08:10:00+00:00",
        "former": [],
    }
    sample.lake.write_json(lake_layout.CURRENT_PCA_KEY, pointer)


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
        "engine": "litert",
        "ingest_dates": [DAY],
        "touched_ingest_dates": [DAY],
        "by_category": {DAY: {category: {name: found[name] for name in names} for category, found in counts.items()}},
        "rejects": [
            {"image_key": image.key, "reason": image.reason, "detail": "<i>cut</i> off"}
            for image in sample.images
            if image.reason
        ],
        "rejected_by_reason": {"truncated": 1},
        "rejected_by_reason_by_date": {DAY: {"truncated": 1}},
        "images_computed": 43,
        "images_per_second": 71.5,
        "timings_seconds": {
            "list": 0.3,
            "find_known_contents": 0.1,
            "compute": 12.9,
            "write_features": 1.4,
            "total": 18.1,
        },
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
