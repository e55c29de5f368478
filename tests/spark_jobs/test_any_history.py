"""Whatever happens to the lake, in whatever order, settled runs leave what a run from an empty lake would have written.

Random sequences of deliveries, late, replaced and vanished images, runs of some dates and categories, crashes between any two writes
(and in the middle of one), and refits, on real Spark and a real S3 API, against a model that recomputes everything in numpy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from pyspark.sql import functions as F  # noqa: N812

from fruit_contract import lake, tables
from fruit_contract.tables import Status
from fruit_features import date_tables, hadoop_files
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake import store as object_store
from fruit_features.lake_tables import TABLE_COLUMNS
from fruit_features.pca import projecting
from fruit_features.pca.policy import PolicySettings, RefreshPolicy
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.pca.versions import load_version
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1200)]

DAYS = ("2026-03-31", "2026-04-01", "2026-11-22")
CATEGORIES = ("Kiwi", "Äpfel 50%", "007")
N_CONTENTS = 10


class CrashError(Exception):
    """The process is gone: nothing after this happens."""


@dataclass
class Writes:
    """Counts the writes of a run and crashes at one of them; `torn` takes away what that write was about to replace."""

    crash_at: int | None = None
    torn: bool = False
    done: int = 0

    def count(self, tear: Callable[[], None]) -> None:
        self.done += 1
        if self.crash_at is not None and self.done >= self.crash_at:
            if self.torn:
                tear()
            raise CrashError


@dataclass(frozen=True)
class Content:
    """A file that may be delivered under any name: its bytes, and what becomes of them."""

    data: bytes
    status: str
    reason: str | None
    features: np.ndarray | None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture(scope="module")
def contents(small_network: bytes) -> list[Content]:
    engine = load_engine("onnxruntime", small_network)
    found = [Content(b"no image at all", Status.REJECTED, "not_an_image", None), Content(b"", Status.REJECTED, "empty", None)]
    for seed in range(N_CONTENTS):
        data = jpeg(seed)
        found.append(Content(data, Status.FEATURISED, None, engine.embed(network_input(decode_image(data).pixels[None]))[0]))
    return found


def test_settled_runs_leave_what_one_run_over_everything_would(  # noqa: C901 - one state machine
    spark, s3_server, small_network: bytes, contents: list[Content], new_lake: Callable[[], LakeFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    class History(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.lake = new_lake()
            self.images: dict[str, Content] = {}
            self.n_delivered = 0

        @initialize(content=st.lists(st.sampled_from(range(N_CONTENTS)), min_size=2, max_size=4, unique=True))
        def first_delivery(self, content: list[int]) -> None:
            for index in content:
                self.put(DAYS[0], CATEGORIES[0], contents[index + 2])

        @rule(
            day=st.sampled_from(DAYS),
            category=st.sampled_from(CATEGORIES),
            chosen=st.lists(st.integers(0, N_CONTENTS + 1), min_size=1, max_size=3),
        )
        def images_arrive(self, day: str, category: str, chosen: list[int]) -> None:
            for index in chosen:
                self.put(day, category, contents[index])

        @precondition(lambda self: self.images)
        @rule(which=st.integers(0, 10**6), content=st.integers(0, N_CONTENTS + 1))
        def an_image_is_replaced(self, which: int, content: int) -> None:
            key = sorted(self.images)[which % len(self.images)]
            self.lake.put(key, contents[content].data)
            self.images[key] = contents[content]

        @precondition(lambda self: self.images)
        @rule(which=st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
        def images_vanish(self, which: list[int]) -> None:
            for number in which:
                if self.images:
                    key = sorted(self.images)[number % len(self.images)]
                    self.lake.delete(key)
                    del self.images[key]

        @rule(
            days=st.sets(st.sampled_from(DAYS), min_size=1),
            scope=st.sets(st.sampled_from(CATEGORIES), max_size=1),
            policy=st.sampled_from(RefreshPolicy),
            retry_rejected=st.booleans(),
            crash_at=st.one_of(st.none(), st.integers(1, 30)),
            torn=st.booleans(),
        )
        def a_run(
            self, days: set[str], scope: set[str], policy: RefreshPolicy, retry_rejected: bool, crash_at: int | None, torn: bool
        ) -> None:
            self.run(sorted(days), tuple(scope), policy, Writes(crash_at, torn), retry_rejected=retry_rejected)

        def teardown(self) -> None:
            """The runs of the days after, undisturbed."""
            self.run(list(DAYS), (), RefreshPolicy.ALWAYS, Writes())
            self.run(list(DAYS), (), RefreshPolicy.AUTO, Writes())
            self.check()
            shutil.rmtree(self.lake.folder)

        def put(self, day: str, category: str, content: Content) -> None:
            self.n_delivered += 1
            key = lake.image_key(day, category, f"{self.n_delivered}.jpg")
            self.lake.put(key, content.data)
            self.images[key] = content

        def run(
            self, days: list[str], scope: tuple[str, ...], policy: RefreshPolicy, writes: Writes, *, retry_rejected: bool = False
        ) -> None:
            hadoop = spark.sparkContext._jsc.hadoopConfiguration()
            hadoop.set(f"fs.viewfs.mounttable.{self.lake.bucket}.linkFallback", self.lake.folder.as_uri())
            with monkeypatch.context() as patch:
                crash_between_writes(patch, spark, writes)
                try:
                    summary = extract_features(
                        spark, ExtractionRequest(self.lake.bucket, RELEASE, "run", tuple(days), scope, "onnxruntime", retry_rejected)
                    )
                    request = RefreshRequest(
                        self.lake.bucket, RELEASE, "run", PolicySettings(policy, always_below=0), tuple(days), writer_grace_seconds=0
                    )
                    refresh_pca(spark, request)
                except CrashError:
                    return
            # A date that an interrupted run left half written is done in full, whatever was asked for.
            for day, books in summary["by_category"].items():
                for category, counts in books.items():
                    listed = [key for key in self.images if key.startswith(lake.raw_prefix(day) + category + "/")]
                    assert counts["listed"] == len(listed)

        def check(self) -> None:
            folder = self.lake.folder
            featurised = {key: content for key, content in self.images.items() if content.status == Status.FEATURISED}
            features = read(folder / lake.FEATURES)
            assert sorted(features["image_key"]) == sorted(featurised)
            for row in features.itertuples():
                content = featurised[row.image_key]
                parts = lake.parse_image_key(row.image_key)
                assert (row.content_sha256, row.embedder_id, row.width, row.height) == (content.sha256, EMBEDDER_ID, 60, 40)
                assert (row.ingest_date, row.category) == (parts.ingest_date, parts.category)
                np.testing.assert_allclose(row.features, content.features, atol=1e-5)
            ledger = read(folder / lake.LEDGER)
            lines = {row.image_key: (row.status, row.reason, row.content_sha256, row.etag, row.size_bytes) for row in ledger.itertuples()}
            assert len(ledger) == len(lines)
            assert lines == {
                key: (
                    content.status,
                    content.reason,
                    content.sha256,
                    hashlib.md5(content.data, usedforsecurity=False).hexdigest(),
                    len(content.data),
                )
                for key, content in self.images.items()
            }
            rejected = read(folder / lake.REJECTED)
            assert sorted(zip(rejected["image_key"], rejected["reason"], strict=True)) == sorted(
                (key, content.reason) for key, content in self.images.items() if content.status == Status.REJECTED
            )
            assert not list((folder / "ledger/_in_progress").glob("*"))
            self.check_pca(features, {key: content.features for key, content in featurised.items()})

        def check_pca(self, features: pd.DataFrame, vectors: dict[str, np.ndarray]) -> None:
            moments = read(self.lake.folder / lake.MOMENTS)
            by_day = features.groupby("ingest_date", observed=True).size()
            assert dict(zip(moments["ingest_date"], moments["n_samples"], strict=True)) == by_day.to_dict()
            written = np.stack(features["features"].to_list()).astype(np.float64) if len(features) else np.zeros((0, 1280))
            if len(np.unique(written, axis=0)) < 2:
                return
            pointer = object_store.read_json(self.lake.bucket, lake.CURRENT_PCA_KEY)
            model, provenance = load_version(self.lake.bucket, pointer["version"])
            assert provenance.n_samples == len(written)
            scale = written.std(axis=0, ddof=1)
            standardised = np.divide(written - written.mean(axis=0), scale, out=np.zeros_like(written), where=scale > 0)
            eigenvalues = np.zeros(1280)
            singular = np.linalg.svd(standardised, compute_uv=False) ** 2 / (len(written) - 1)
            eigenvalues[: len(singular)] = singular
            np.testing.assert_allclose(model.explained_variance, eigenvalues[: model.k], atol=1e-9 * eigenvalues[0])
            projections = read(self.lake.folder / lake.projections_prefix(pointer["version"]))
            assert sorted(projections["image_key"]) == sorted(vectors)
            rows = features.set_index("image_key")["features"]
            for row in projections.itertuples():
                values = np.divide(rows[row.image_key] - model.mean, model.scale, out=np.zeros(1280), where=model.scale > 0)
                np.testing.assert_allclose(row.components, values @ model.components.T, atol=1e-3)

    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=int(os.environ.get("FRUITS_TEST_HISTORIES", "7")),
            stateful_step_count=9,
            deadline=None,
            # An example takes seconds: what was drawn is reported as it is, not made smaller first.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def crash_between_writes(patch: pytest.MonkeyPatch, spark: Any, writes: Writes) -> None:
    """Every write of a step goes through one of these, or through those of `crash_among_files`."""
    replace_partitions, remove = date_tables.replace_partitions, hadoop_files.remove

    def replacing(rows: Any, bucket: str, table: str) -> None:
        def tear() -> None:
            partition = rows.select(*TABLE_COLUMNS[table][1]).first()
            if partition is not None:
                folders = (f"{name}={lake.escape_partition_value(value)}" for name, value in partition.asDict().items())
                remove(spark, lake.uri(bucket, f"{table}/{'/'.join(folders)}/"))

        writes.count(tear)
        replace_partitions(rows, bucket, table)

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            writes.count(lambda: None)
            write(*arguments)

        return run

    crash_among_files(patch, writes)
    patch.setattr(date_tables, "replace_partitions", replacing)
    patch.setattr(hadoop_files, "remove", counted(remove))
    patch.setattr(object_store, "write_object", counted(object_store.write_object))
    patch.setattr(object_store, "delete_object", counted(object_store.delete_object))


def crash_among_files(patch: pytest.MonkeyPatch, writes: Writes) -> None:
    """What workers write, and what is removed, file by file: a crash leaves some of the files."""
    write_parts, remove_other_files = date_tables.write_parts, date_tables.remove_other_files
    project_files = projecting.project_files

    def features_files(bucket: str) -> set[str]:
        return set(object_store.list_plain_keys(bucket, f"{lake.FEATURES}/"))

    # Computing the parts of moments writes the files of features.
    def writing_parts(spark: Any, bucket: str, days: Any, parts: Any) -> Any:
        def tear() -> None:
            before = features_files(bucket)
            write_parts(spark, bucket, days[:1], parts.where(F.col(tables.INGEST_DATE) == days[0]))
            object_store.delete_plain_objects(bucket, sorted(features_files(bucket) - before)[::2])

        writes.count(tear)
        return write_parts(spark, bucket, days, parts)

    def removing(bucket: str, write_id: str, partitions: Any) -> None:
        writes.count(lambda: remove_other_files(bucket, write_id, set(sorted(partitions)[::2])))
        remove_other_files(bucket, write_id, partitions)

    def projecting_files(spark: Any, bucket: str, model: Any, version: Any, days: Any) -> None:
        def tear() -> None:
            project_files(spark, bucket, model, version, days)
            left = sorted(object_store.list_plain_keys(bucket, lake.projections_prefix(version.version)))
            object_store.delete_plain_objects(bucket, left[::2])

        writes.count(tear)
        project_files(spark, bucket, model, version, days)

    patch.setattr(date_tables, "write_parts", writing_parts)
    patch.setattr(date_tables, "remove_other_files", removing)
    patch.setattr(projecting, "project_files", projecting_files)


def read(folder: Any) -> pd.DataFrame:
    """A table with its partition values as text, as they are meant (`007`); no rows if it has no files."""
    names = [name for columns in TABLE_COLUMNS.values() for name in (*columns[0], *columns[1])]
    files = [path for path in folder.rglob("*.parquet") if not any(part.startswith("_") for part in path.relative_to(folder).parts)]
    names_in_paths = (tables.PCA_VERSION, tables.INGEST_DATE, tables.CATEGORY)
    partitions = [name for name in names_in_paths if files and f"{name}=" in str(files[0].relative_to(folder))]
    partitioning = ds.partitioning(pa.schema([(name, pa.string()) for name in partitions]), flavor="hive")
    return pd.read_parquet(folder, partitioning=partitioning) if files else pd.DataFrame({name: [] for name in dict.fromkeys(names)})
