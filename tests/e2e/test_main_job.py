"""Runs the main job through the real scheduler, a real S3 API and real Spark, with the real weights."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from fruit_cli.commands.run import run_date
from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.lake.delivery import deliver
from fruit_contract import lake
from fruit_contract.release import EMBEDDER, TENSORFLOW_GRAPH
from fruit_contract.runs import RunType
from fruit_pipeline.emr.clusters import steps_of_cluster
from local_cloud.faults import Fault, FaultKind
from local_cloud.stack.sweep import STACK_MARK, marked_processes
from tests.local_cloud.running_cloud import command_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psutil

    from fruit_cli.airflow_client.api import TaskState
    from tests.e2e.conftest import Product
    from tests.e2e.messages import Messages

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FIRST_DAY, SECOND_DAY, BROKEN_DAY, BUSY_DAY = "2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08"
IMAGES_PER_CATEGORY = 8
DRAWN = CATEGORIES[:5]
HELD_SECONDS = 600
STARTED_BY_EVENT = {"run_type": RunType.ASSET_TRIGGERED}


def draw_batch(folder: Path, first_image: int) -> Path:
    for category in DRAWN:
        (folder / category).mkdir(parents=True)
        for index in range(first_image, first_image + IMAGES_PER_CATEGORY):
            (folder / category / f"{index}_100.jpg").write_bytes(draw_jpeg(category, index, 2 * IMAGES_PER_CATEGORY))
    return folder


@pytest.fixture(scope="module")
def two_days(product: Product, messages: Messages, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Delivers and runs two image batches one after the other, each with one broken file, and returns the run ids by
    ingest date.

    The first run is started by hand, the second by S3's message.
    """

    def run_by_hand(day: str) -> str:
        return run_date(product.api, day, [], product.console).run_id

    def run_by_event(day: str) -> str:
        messages.tell_of_marker(product.connection.bucket, day)
        wait_until(lambda: any(run.is_finished for run in product.api.dag_runs(STARTED_BY_EVENT)))
        (run,) = product.api.dag_runs(STARTED_BY_EVENT)
        assert run.state == "success"
        return run.run_id

    runs = {}
    for number, (day, start) in enumerate({FIRST_DAY: run_by_hand, SECOND_DAY: run_by_event}.items()):
        batch = draw_batch(tmp_path_factory.mktemp("batch"), number * IMAGES_PER_CATEGORY)
        whole = (batch / DRAWN[0] / f"{number * IMAGES_PER_CATEGORY}_100.jpg").read_bytes()
        (batch / DRAWN[0] / "broken.jpg").write_bytes((whole[: len(whole) // 2], b"not an image")[number])
        deliver(product.connection, batch, day, console=product.console)
        runs[day] = start(day)
    return runs


def test_every_listed_image_has_one_line_in_the_ledger(product: Product, two_days: dict[str, str]) -> None:
    ledger = pd.read_parquet(product.lake / "ledger")

    listed = {str(path.relative_to(product.lake)) for path in (product.lake / "raw").rglob("*.jpg")}
    assert len(listed) == 2 * (len(DRAWN) * IMAGES_PER_CATEGORY + 1)
    assert sorted(ledger["image_key"]) == sorted(listed)
    rejected = ledger[ledger["status"] == "rejected"].set_index("image_key")["reason"]
    assert rejected.to_dict() == {
        f"raw/ingest_date={FIRST_DAY}/{DRAWN[0]}/broken.jpg": "truncated",
        f"raw/ingest_date={SECOND_DAY}/{DRAWN[0]}/broken.jpg": "not_an_image",
    }


def test_features_and_projections_are_read_with_plain_pandas(product: Product, two_days: dict[str, str]) -> None:
    features = pd.read_parquet(product.lake / "features").sort_values("image_key")
    pointer = json.loads((product.lake / lake.CURRENT_PCA_KEY).read_text())
    projections = pd.read_parquet(product.lake / lake.projections_prefix(pointer["version"])).sort_values("image_key")

    vectors = np.stack(features["features"].to_list())
    assert vectors.shape == (2 * len(DRAWN) * IMAGES_PER_CATEGORY, 1280)
    assert np.isfinite(vectors).all()
    assert 0 <= vectors.min() < vectors.max() <= 6  # MobileNetV2 ends in ReLU6
    assert features["embedder_id"].unique().tolist() == [pointer["embedder_id"]]
    assert sorted(set(features["category"])) == sorted(DRAWN)
    assert projections["image_key"].to_list() == features["image_key"].to_list()
    assert np.stack(projections["components"].to_list()).shape == (len(features), pointer["k"])


def test_the_real_network_tells_fruit_apart(product: Product, two_days: dict[str, str]) -> None:
    features = pd.read_parquet(product.lake / "features")
    vectors = np.stack(features["features"].to_list())
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(distances, np.inf)

    nearest = features["category"].to_numpy()[distances.argmin(axis=1)]

    assert np.mean(nearest == features["category"].to_numpy()) > 0.9


def test_both_engines_give_the_same_features(product: Product, two_days: dict[str, str]) -> None:
    """In a process of its own: TensorFlow takes its thread settings once."""
    features = pd.read_parquet(product.lake / "features").groupby("category", observed=True).head(2)
    release = json.loads((product.lake / lake.CURRENT_RELEASE_KEY).read_text())["release"]
    graph = product.lake / lake.release_prefix(release) / EMBEDDER / TENSORFLOW_GRAPH
    program = """
import sys, numpy as np
from pathlib import Path
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input
graph, output, *images = sys.argv[1:]
pixels = np.stack([decode_image(Path(image).read_bytes()).pixels for image in images])
np.save(output, load_engine("tensorflow", Path(graph).read_bytes()).embed(network_input(pixels)))
"""
    output = product.home / "tensorflow.npy"
    images = [str(product.lake / key) for key in features["image_key"]]
    subprocess.run([sys.executable, "-c", program, str(graph), str(output), *images], check=True)

    np.testing.assert_allclose(np.load(output), np.stack(features["features"].to_list()), atol=1e-4)


def test_the_components_keep_95_percent_of_the_variance_of_both_days(
    product: Product, two_days: dict[str, str]
) -> None:
    pointer = json.loads((product.lake / lake.CURRENT_PCA_KEY).read_text())
    model = pd.read_parquet(product.lake / lake.pca_prefix(pointer["version"]) / "model.parquet").iloc[0]
    provenance = json.loads((product.lake / lake.pca_prefix(pointer["version"]) / "provenance.json").read_text())

    ratios = np.array(model["spectrum"])
    assert pointer["k"] == int(np.argmax(np.cumsum(ratios) >= 0.95)) + 1
    assert provenance["ingest_dates"] == [FIRST_DAY, SECOND_DAY]
    assert provenance["n_samples"] == 2 * len(DRAWN) * IMAGES_PER_CATEGORY


def test_the_report_and_the_runs_record_are_there(product: Product, two_days: dict[str, str]) -> None:
    for day, run_id in two_days.items():
        folder = product.lake / lake.report_prefix(day)
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert "broken.jpg" in page
        assert "data:image/png;base64," in page
        assert len(list(folder.glob("*.png"))) == 2
        record = json.loads((product.lake / lake.run_key(run_id)).read_text())
        counts = record["by_category"][day].values()
        assert sum(count["featurised"] for count in counts) == len(DRAWN) * IMAGES_PER_CATEGORY
        assert record["checks"]["problems"] == []


def test_the_clusters_have_ended(product: Product, two_days: dict[str, str]) -> None:
    for run_id in two_days.values():
        assert product.cluster_of(run_id)["Status"]["State"] == "TERMINATED"


def test_a_killed_step_fails_its_task_and_the_run_and_the_cluster_ends(
    product: Product, messages: Messages, tmp_path: Path, commit: Callable[..., None]
) -> None:
    deliver(product.connection, draw_batch(tmp_path / "batch", 0), BROKEN_DAY, console=product.console)
    commit(
        Fault(
            "until its task waits",
            FaultKind.SLOW_STEP,
            cluster=BROKEN_DAY,
            step="extract_features",
            seconds=HELD_SECONDS,
        )
    )
    run_id = product.api.trigger({"ingest_date": BROKEN_DAY, "categories": []})
    wait_until(lambda: task_of(product, run_id, "extract_features").state == "deferred")

    commit()
    kill_step(product.home, "jobs/extract_features.py")
    wait_until(lambda: product.api.dag_run(run_id).is_finished)

    states = {task.task_id: task.state for task in product.api.tasks(run_id)}
    assert product.api.dag_run(run_id).state == "failed"
    assert states["extract_features"] == "failed"
    assert states["refresh_pca"] == "upstream_failed"
    assert states["terminate_cluster"] == "success"
    assert product.cluster_of(run_id)["Status"]["State"] == "TERMINATED"
    (killed,) = steps_of_cluster(product.emr, product.cluster_of(run_id)["Id"])
    assert (killed["Name"], killed["Status"]["State"]) == ("extract_features", "FAILED")
    assert "ended by signal 9" in killed["Status"]["FailureDetails"]["Message"]
    assert not (product.lake / lake.date_prefix(lake.LEDGER, BROKEN_DAY)).exists()

    told: list[dict[str, Any]] = []

    def is_told() -> bool:
        """Airflow tells after the run has ended."""
        told.extend(message for message in messages.told() if run_id in message["Message"])
        return bool(told)

    wait_until(is_told)
    (alert,) = told
    assert alert["MessageAttributes"]["event"]["Value"] == "run_failed"
    assert "extract_features" in alert["Message"]


def test_the_run_after_a_failed_one_does_the_work(product: Product) -> None:
    run_date(product.api, BROKEN_DAY, [], product.console)

    ledger = pd.read_parquet(product.lake / lake.date_prefix(lake.LEDGER, BROKEN_DAY))
    assert len(ledger) == len(DRAWN) * IMAGES_PER_CATEGORY


def test_a_second_run_of_a_date_waits_until_the_first_is_over(
    product: Product, tmp_path: Path, commit: Callable[..., None]
) -> None:
    deliver(product.connection, draw_batch(tmp_path / "batch", 0), BUSY_DAY, console=product.console)
    commit(
        Fault(
            "until another run waits",
            FaultKind.SLOW_STEP,
            cluster=BUSY_DAY,
            step="extract_features",
            seconds=HELD_SECONDS,
        )
    )
    first = product.api.trigger({"ingest_date": BUSY_DAY, "categories": []})
    wait_until(lambda: task_of(product, first, "create_cluster").state == "success")
    second = product.api.trigger({"ingest_date": BUSY_DAY, "categories": []})
    # In the triggerer, without a worker slot.
    wait_until(lambda: task_of(product, second, "plan_run").state == "deferred")

    commit()
    wait_until(lambda: all(product.api.dag_run(run_id).is_finished for run_id in (first, second)))

    assert [product.api.dag_run(run_id).state for run_id in (first, second)] == ["success", "success"]
    assert task_of(product, second, "plan_run").try_number == 1
    assert json.loads((product.lake / lake.run_key(second)).read_text())["plan"]["nothing_new"] == [BUSY_DAY]
    assert task_of(product, second, "create_cluster").state == "skipped"
    features = pd.read_parquet(product.lake / lake.date_prefix(lake.FEATURES, BUSY_DAY))
    assert len(features) == features["image_key"].nunique() == len(DRAWN) * IMAGES_PER_CATEGORY


def task_of(product: Product, run_id: str, task_id: str) -> TaskState:
    return next(task for task in product.api.tasks(run_id) if task.task_id == task_id)


def kill_step(home: Path, script: str) -> None:
    """Kills the JVM of the step that runs `script`, as a machine out of memory would."""
    found: list[psutil.Process] = []

    def is_running() -> bool:
        # It is killed as it was found: in a second look it may be turning into another program, and then it shows no
        # environment.
        found[:] = [
            process
            for process in marked_processes(STACK_MARK, str(home))
            if _is_spark_step(command_of(process), script)
        ]
        return bool(found)

    wait_until(is_running)
    for process in found:
        process.kill()


def _is_spark_step(command: str, script: str) -> bool:
    """Says whether this is the JVM of the step: not the shell that becomes it, and not the other JVM, which writes its
    command line.
    """
    is_java = command.partition(" ")[0].endswith("/java")
    return (
        is_java
        and "org.apache.spark.deploy.SparkSubmit" in command
        and "org.apache.spark.launcher" not in command
        and script in command
    )


def wait_until(holds: Callable[[], bool], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(1)
