"""Checks that a cluster as Airflow asks for it takes a release only as it was published."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake as lake_layout
from fruit_contract import release
from fruit_contract.failures import causes
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.emr.nodes.node_program import NODE_START
from fruit_pipeline.failures.logs import diagnose_bootstrap
from fruit_pipeline.failures.message import bootstrap_failure_message
from fruit_pipeline.lake.store import Lake
from fruit_pipeline.settings import Settings
from tests.local_cloud.running_cloud import BUCKET, LocalCloud, step

if TYPE_CHECKING:
    from typing import Any

JOB = b"print('a job')\n"
FILES = {
    release.BOOTSTRAP_ACTION: b"echo installed\n",
    release.EXTRACT_FEATURES_JOB: JOB,
    release.LIBRARY_ZIP: b"a zip",
}


@pytest.fixture
def lake(cloud: LocalCloud) -> Lake:
    return Lake(cloud.client("s3"), BUCKET)


def publish(lake: Lake, **changed: bytes) -> release.PinnedRelease:
    """Puts a release into the lake, and then other content in place of some of its files."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    name = release.release_id(digests)
    manifest = json.dumps({"format": release.RELEASE_FORMAT, "release": name, "files": digests}).encode()
    for file, content in (FILES | {release.RELEASE_MANIFEST: manifest} | changed).items():
        lake.write(lake_layout.release_prefix(name) + file, content, "text/plain")
    NODE_START.put(lake)
    return release.PinnedRelease(name, hashlib.sha256(manifest).hexdigest())


def bootstrap_actions(pinned: release.PinnedRelease) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = cluster_request(Settings(lake_bucket=BUCKET), pinned, "run", ["2026-11-22"])[
        "BootstrapActions"
    ]
    return actions


def test_a_step_runs_the_nodes_own_copy_of_a_release_that_is_as_published(cloud: LocalCloud, lake: Lake) -> None:
    read_job = step("read", "cat", f"{release.NODE_FOLDER}/{release.EXTRACT_FEATURES_JOB}")
    cluster = cloud.run_cluster(read_job, BootstrapActions=bootstrap_actions(publish(lake)))
    cloud.wait_for_cluster(cluster, "TERMINATED")
    (ran,) = cloud.steps(cluster)
    assert cloud.log(cluster, f"steps/{ran['Id']}/stdout") == JOB.decode()


@pytest.mark.parametrize("name", [release.LIBRARY_ZIP, release.BOOTSTRAP_ACTION])
def test_a_changed_file_ends_the_cluster_before_anything_of_the_release_runs_and_the_diagnosis_says_so(
    cloud: LocalCloud, lake: Lake, name: str
) -> None:
    pinned = publish(lake, **{name: FILES[name][:-1] + b"?"})
    cluster_id = cloud.run_cluster(step("never", "true"), keep_alive=True, BootstrapActions=bootstrap_actions(pinned))
    cloud.wait_for_cluster(cluster_id, "TERMINATED_WITH_ERRORS")
    cluster = cloud.client("emr").describe_cluster(ClusterId=cluster_id)["Cluster"]
    found = diagnose_bootstrap(lake, cluster)
    assert found.cause is causes.RELEASE_CHANGED
    message = bootstrap_failure_message(cluster, found)
    assert f"s3://{BUCKET}/{lake_layout.release_prefix(pinned.release_id)}{name} has SHA-256" in message
    assert causes.RELEASE_CHANGED.what_to_do in message
    assert cloud.steps(cluster_id)[0]["Status"]["State"] == "CANCELLED"
