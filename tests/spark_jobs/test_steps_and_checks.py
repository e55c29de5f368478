"""Checks that Airflow's side finds sound what the steps write, and that nothing is left to do after it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import pytest

from fruit_contract import lake as lake_layout
from fruit_contract import release
from fruit_contract.pca import PolicySettings
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_pipeline.checks.output import check_run
from fruit_pipeline.lake.store import Lake
from fruit_pipeline.planning.planner import plan_run
from fruit_pipeline.request.params import RunDates
from fruit_pipeline.request.run_request import RunRequest
from fruit_pipeline.settings import Settings
from tests.block_network import block_network
from tests.fixtures import earlier_lake
from tests.fixtures.earlier_lake import history
from tests.fixtures.earlier_lake.network import weights
from tests.spark_jobs.conftest import publish_as_today, publish_network
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from fruit_pipeline.planning.run_plan import RunPlan

pytestmark = pytest.mark.spark
DAY, NEXT_DAY = "2026-11-22", "2026-11-23"
OTHER_EMBEDDER, OTHER_RELEASE = "mobilenetv2-other-p1", "otherrelease"


class Run:
    """Runs both steps on a lake, with Airflow's side beside them."""

    def __init__(
        self, spark: SparkSession, folder: LakeFolder, release_id: str = RELEASE, embedder_id: str = EMBEDDER_ID
    ) -> None:
        self._spark = spark
        self._folder = folder
        self.lake = Lake(boto3.Session().client("s3", region_name="eu-west-1"), folder.bucket)
        self.use(release_id, embedder_id)

    def use(self, release_id: str, embedder_id: str) -> None:
        self._release = release_id
        manifest = {"format": release.RELEASE_FORMAT, "release": release_id, "embedder_id": embedder_id, "files": {}}
        key = f"{lake_layout.release_prefix(release_id)}{release.RELEASE_MANIFEST}"
        self.lake.write_json(key, manifest)
        digest = hashlib.sha256(self.lake.read_bytes(key)).hexdigest()
        self.lake.write_json(lake_layout.CURRENT_RELEASE_KEY, {"release": release_id, "manifest_sha256": digest})

    def plan(self, *days: str) -> RunPlan:
        settings = Settings(lake_bucket=self._folder.bucket)
        request = RunRequest("planned", RunDates(days, waits=False), over_budget_allowed=True)
        return plan_run(settings, lambda _: self.lake, request, datetime.now(UTC), lambda _: False).plan

    def do(self, *days: str) -> list[str]:
        """Runs both steps, and returns the check's problems."""
        bucket = self._folder.bucket
        summaries = {
            release.EXTRACT_FEATURES_STEP: extract_features(
                self._spark, ExtractionRequest(bucket, self._release, "run", days, (), "litert")
            ),
            release.REFRESH_PCA_STEP: refresh_pca(
                lambda: self._spark,
                RefreshRequest(bucket, self._release, "run", PolicySettings(), days, grace_seconds=0),
            ),
        }
        for step, summary in summaries.items():
            self.lake.write_json(lake_layout.step_summary_key("run", step), json.loads(json.dumps(summary)))
        return check_run(self.lake, "run", days, [], datetime(2100, 1, 1, tzinfo=UTC)).problems


def pictures(*names: str, seed: int = 0) -> dict[str, bytes]:
    return {name: jpeg(seed + index) for index, name in enumerate(names)}


def test_day_after_day_is_sound_and_leaves_nothing_to_do(spark: SparkSession, published: LakeFolder) -> None:
    run = Run(spark, published)
    published.deliver(
        DAY,
        pictures("Kiwi/1.jpg", "Kiwi/2.jpg", "Äpfel 50%/1.jpg", "Äpfel 50%/ä b.jpg")
        | {"Kiwi/broken.jpg": b"\xff\xd8\xff"},
    )
    assert run.plan(DAY).new == 5
    assert run.do(DAY) == []
    assert not run.plan(DAY).has_work

    published.deliver(NEXT_DAY, pictures("Kiwi/1.jpg", "Fig/1.jpg", seed=20))
    published.put(lake_layout.image_key(DAY, "Kiwi", "1.jpg"), jpeg(40))
    published.delete(lake_layout.image_key(DAY, "Äpfel 50%", "1.jpg"))
    planned = run.plan(DAY, NEXT_DAY)
    assert (planned.new, planned.removed) == (3, 1)
    assert planned.refit is not None
    assert run.do(DAY, NEXT_DAY) == []
    assert not run.plan(DAY, NEXT_DAY).has_work


def test_a_change_of_the_embedder_is_sound_while_it_is_under_way_and_when_it_is_done(
    spark: SparkSession, published: LakeFolder, other_network: bytes
) -> None:
    run = Run(spark, published)
    for seed, day in enumerate((DAY, NEXT_DAY)):
        published.deliver(
            day,
            pictures("Kiwi/1.jpg", "Kiwi/2.jpg", "Fig/1.jpg", seed=10 * seed) | {"Kiwi/broken.jpg": b"\xff\xd8\xff"},
        )
    assert run.do(DAY, NEXT_DAY) == []

    publish_network(published, other_network, OTHER_RELEASE, OTHER_EMBEDDER)
    run.use(OTHER_RELEASE, OTHER_EMBEDDER)
    planned = run.plan(DAY)
    assert planned.migration is not None
    assert (planned.migration.images, planned.migration.n_ingest_dates, planned.refit) == (6, 2, None)
    assert run.do(DAY) == []
    assert not run.plan(DAY).has_work  # readers stay on the version that there is

    planned = run.plan(NEXT_DAY)
    assert planned.migration is not None
    assert planned.migration.images == 3
    assert planned.refit is not None
    assert planned.refit.reason == "the embedder changes"
    assert run.do(NEXT_DAY) == []
    assert run.plan(DAY, NEXT_DAY).migration is None
    assert not run.plan(DAY, NEXT_DAY).has_work


def test_what_a_former_release_left_is_taken_over_and_is_sound(spark: SparkSession, test_lake: LakeFolder) -> None:
    earlier_lake.unpack_earlier_lake(test_lake.folder)
    network = block_network(weights())
    publish_as_today(test_lake, earlier_lake.RELEASE, earlier_lake.EMBEDDER_ID, network)
    run = Run(spark, test_lake, earlier_lake.RELEASE, earlier_lake.EMBEDDER_ID)
    days = history.ALL_DATES
    for day in days:
        test_lake.put(lake_layout.success_marker_key(day), b"")
    assert run.plan(*days).earlier_form
    assert run.do(*days) == []
    planned = run.plan(*days)
    assert (planned.has_work, planned.earlier_form) == (False, [])
