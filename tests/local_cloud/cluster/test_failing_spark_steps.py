"""Checks steps that really fail on the local cloud, and what the diagnosis makes of the logs that EMR would have
copied.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING, Any

import pytest

from fruit_cli.release.content import LIBRARY_PACKAGES, library_zip
from fruit_pipeline.failures.diagnosis import TOLD, diagnose
from fruit_pipeline.failures.logs import diagnose_bootstrap, diagnose_step, logs_prefix, read_step_logs
from fruit_pipeline.failures.message import bootstrap_failure_message, emr_words, step_failure_message
from fruit_pipeline.lake.store import Lake
from local_cloud.project import PROJECT
from tests.local_cloud.running_cloud import BUCKET, LocalCloud, shell, step, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.spark


@dataclass(frozen=True)
class Failing:
    """Describes a script and how its failure must be told. `tells` says whether the script can tell it itself before it
    ends, as a job does.
    """

    script: str
    cause: str
    error: str  # a pattern
    failing_line: str  # of the script, as the context shows it; empty if none of its lines is to blame
    submit: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    tells: bool = True

    def as_step(self, name: str) -> str:
        """Returns the script as a job's `main` is written."""
        head = "from fruit_features.failure import failure_told\n"
        return (
            f"{head}with failure_told({BUCKET!r}, {RUN_ID!r}, {name!r}):\n{indent(self.script, '    ')}"
            if self.tells
            else self.script
        )


RUN_ID = "manual__2026-11-22"
SPARK = "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n"
FAILING: Mapping[str, Failing] = {
    "missing-package": Failing(
        SPARK
        + """
def embed(batches):
    import engine_that_no_node_has
    yield from batches

spark.range(4).mapInArrow(embed, "id long").collect()
""",
        "package_missing",
        r"ModuleNotFoundError: No module named 'engine_that_no_node_has'",
        "import engine_that_no_node_has",
    ),
    "missing-key": Failing(
        """
import boto3
boto3.client("s3").get_object(Bucket="fruits-lake", Key="code/never-published/release.json")
""",
        "key_not_found",
        r"NoSuchKey",
        'Key="code/never-published/release.json"',
    ),
    "missing-path": Failing(
        SPARK + 'spark.read.parquet("s3://fruits-lake/features/ingest_date=1999-01-01").count()\n',
        "key_not_found",
        r"PATH_NOT_FOUND.*s3://fruits-lake/features/ingest_date=1999-01-01",
        'spark.read.parquet("s3://fruits-lake/features/ingest_date=1999-01-01")',
    ),
    "missing-script": Failing("", "key_not_found", r"FileNotFoundException.*never-published\.py", "", tells=False),
    "wrong-credentials": Failing(
        """
import boto3
wrong = boto3.client("s3", aws_access_key_id="AKIAWRONGWRONGWRONG1", aws_secret_access_key="wrong")
wrong.get_object(Bucket="fruits-lake", Key="code/failing/missing-key.py")
""",
        "permission",
        r"ClientError: An error occurred \((?:AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId|403)\)",
        'wrong.get_object(Bucket="fruits-lake"',
    ),
    "driver-heap": Failing(
        SPARK + 'spark.range(0, 40_000_000, 1, 1).selectExpr("collect_list(id)").collect()\n',
        "out_of_memory",
        r"java\.lang\.OutOfMemoryError",
        "",
        ("--driver-memory", "512m"),
        tells=False,
    ),
    "worker-memory": Failing(
        SPARK
        + """
def hoard(batches):
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    hoarded = bytearray(64 << 30)
    yield from batches

spark.range(4, numPartitions=1).mapInArrow(hoard, "id long").collect()
""",
        "out_of_memory",
        r"MemoryError",
        "hoarded = bytearray(64 << 30)",
    ),
    "killed-worker": Failing(
        SPARK
        + """
import os, signal
spark.sparkContext.parallelize([0], 1).foreach(lambda _: os.kill(os.getpid(), signal.SIGKILL))
""",
        "out_of_memory",
        r"Python worker exited unexpectedly \(crashed\)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    ),
    "bad-argument": Failing(
        """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--engine", choices=["litert", "tensorflow"])
parser.parse_args()
""",
        "bad_arguments",
        r"bad-argument\.py: error: argument --engine: invalid choice: 'abacus'",
        "usage: bad-argument.py",
        (),
        ("--engine", "abacus"),
        tells=False,
    ),
    "defect": Failing(
        SPARK
        + """
from pyspark.sql.functions import udf

@udf("double")
def share(count):
    return 1 / count

spark.range(2).select(share("id")).write.parquet("s3://fruits-lake/failing/defect", mode="overwrite")
""",
        "code_error",
        r"ZeroDivisionError: division by zero",
        "return 1 / count",
    ),
    "refused-connection": Failing(
        """
import boto3
from botocore.config import Config
nobody = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1}))
nobody.list_buckets()
""",
        "network",
        r"Connection refused",
        "nobody.list_buckets()",
    ),
    "another-writer": Failing(
        """
from fruit_features.lake.store import Store
Store("fruits-lake").replace("code/failing/endless.py", b"mine", "the ETag of what was there before")
""",
        "another_writer",
        r"LostPlaceError: s3://fruits-lake/code/failing/endless\.py was replaced by another writer meanwhile",
        'Store("fruits-lake").replace(',
    ),
    "not-finite": Failing(
        SPARK
        + """
from fruit_features.moments.algebra import NotFiniteError
from fruit_features.spark.dealing import stream_tasks

def embed(key, _):
    raise NotFiniteError(f"{key} has NaN among its features")

list(stream_tasks(spark, ["raw/ingest_date=2026-11-22/Kiwi/1.jpg"], embed))
""",
        "features_not_finite",
        r"NotFiniteError: raw/ingest_date=2026-11-22/Kiwi/1\.jpg has NaN among its features",
        'raise NotFiniteError(f"{key} has NaN among its features")',
    ),
    "full-disk": Failing(
        SPARK
        + """
def spill(_):
    with open("/dev/full", "w") as full:
        full.write("x" * 1_000_000)

spark.sparkContext.parallelize([0], 1).foreach(spill)
""",
        "disk_full",
        r"OSError: \[Errno 28\] No space left on device",
        'full.write("x" * 1_000_000)',
    ),
}


@dataclass(frozen=True)
class Failed:
    """Holds a step and its cluster as EMR tells them, and its logs as the product reads them."""

    step: dict[str, Any]
    cluster: dict[str, Any]
    logs: dict[str, str]
    lake: Lake


def put_library(s3: Any) -> str:
    """Puts the jobs' library into the bucket, as a release has it, and returns its address."""
    library = library_zip([PROJECT / package for package in LIBRARY_PACKAGES])
    s3.put_object(Bucket=BUCKET, Key="code/failing/library.zip", Body=library)
    return f"s3://{BUCKET}/code/failing/library.zip"


@pytest.fixture(scope="module")
def failed(cloud: LocalCloud) -> dict[str, Failed]:
    """Runs all failing steps on one cluster, two at a time, and returns them by name."""
    s3 = cloud.client("s3")
    library_uri = put_library(s3)
    steps = []
    for name, failing in FAILING.items():
        key = f"code/failing/{name}.py" if failing.script else "code/failing/never-published.py"
        if failing.script:
            s3.put_object(Bucket=BUCKET, Key=key, Body=failing.as_step(name).encode())
        submit = ("spark-submit", "--deploy-mode", "client", "--name", name, "--py-files", library_uri, *failing.submit)
        steps.append(step(name, *submit, f"s3://{BUCKET}/{key}", *failing.arguments))
    cluster_id = cloud.run_cluster(*steps, StepConcurrencyLevel=2)
    cloud.wait_for_cluster(cluster_id, "TERMINATED", seconds=300)
    lake = Lake(s3, BUCKET)
    cluster = cloud.client("emr").describe_cluster(ClusterId=cluster_id)["Cluster"]
    return {
        done["Name"]: Failed(done, cluster, read_step_logs(lake, cluster_id, done["Id"]), lake)
        for done in cloud.steps(cluster_id)
    }


@pytest.mark.parametrize("name", FAILING)
def test_a_real_failure_is_told_with_its_error_its_cause_and_the_line_that_failed(
    failed: dict[str, Failed], name: str
) -> None:
    expected, found = FAILING[name], failed[name]
    assert found.step["Status"]["State"] == "FAILED"
    from_logs = diagnose(found.logs, emr_words(found.step, found.cluster))
    diagnosis = diagnose_step(found.lake, found.step, found.cluster, RUN_ID)
    assert (diagnosis.log == TOLD) == expected.tells
    # A step that can't reach the store can't tell either: then its logs say the same.
    assert (from_logs.cause, from_logs.error) == (diagnosis.cause, diagnosis.error)
    assert diagnosis.cause.name == expected.cause, diagnosis
    assert re.search(expected.error, diagnosis.error)
    shown = "\n".join(diagnosis.context)
    assert diagnosis.error in shown
    assert expected.failing_line in shown
    assert " INFO " not in shown
    logs_uri = f"s3://{BUCKET}/{logs_prefix(found.cluster['Id'], found.step['Id'])}"
    message = step_failure_message(found.step, found.cluster, diagnosis)
    assert message.startswith(f"Step '{name}' ({found.step['Id']}) on cluster {found.cluster['Id']} ended as FAILED.")
    for part in (diagnosis.error, diagnosis.cause.usually, diagnosis.cause.what_to_do, logs_uri, found.cluster["Id"]):
        assert part in message


ENDLESS = (
    SPARK
    + """
import time
print("it began", flush=True)
spark.sparkContext.parallelize([0, 1], 2).foreach(lambda _: time.sleep(300))
"""
)


def test_a_real_step_that_is_cancelled_is_not_told_as_an_error(cloud: LocalCloud) -> None:
    cloud.client("s3").put_object(Bucket=BUCKET, Key="code/failing/endless.py", Body=ENDLESS.encode())
    submit = ("spark-submit", "--deploy-mode", "client", "--name", "endless", f"s3://{BUCKET}/code/failing/endless.py")
    cluster_id = cloud.run_cluster(step("endless", *submit), keep_alive=True)
    step_id = cloud.wait_for_step(cluster_id, 0, "RUNNING")["Id"]
    stdout = cloud.home / "emr" / cluster_id / "steps" / step_id / "stdout"
    wait_until(lambda: {"began": stdout.exists() and "it began" in stdout.read_text()}, lambda seen: seen["began"], 120)
    emr = cloud.client("emr")
    emr.cancel_steps(ClusterId=cluster_id, StepIds=[step_id], StepCancellationOption="TERMINATE_PROCESS")
    cancelled = cloud.wait_for_step(cluster_id, 0, "CANCELLED", seconds=60)
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    cluster = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
    diagnosis = diagnose_step(Lake(cloud.client("s3"), BUCKET), cancelled, cluster, RUN_ID)
    assert diagnosis.cause.name == "cancelled"
    assert "Cause: cancelled" in step_failure_message(cancelled, cluster, diagnosis)


KILLED_JAVA = (
    SPARK
    + """
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
spark.range(3).count()
"""
)


def test_what_a_driver_sees_of_its_java_s_death_is_not_told_as_the_failure(cloud: LocalCloud) -> None:
    s3 = cloud.client("s3")
    script = Failing(KILLED_JAVA, "out_of_memory", "", "").as_step("killed-java")
    s3.put_object(Bucket=BUCKET, Key="code/failing/killed-java.py", Body=script.encode())
    submit = ("spark-submit", "--deploy-mode", "client", "--name", "killed-java", "--py-files", put_library(s3))
    cluster_id = cloud.run_cluster(step("killed-java", *submit, f"s3://{BUCKET}/code/failing/killed-java.py"))
    cloud.wait_for_cluster(cluster_id, "TERMINATED", seconds=120)
    (ended,) = cloud.steps(cluster_id)
    cluster = cloud.client("emr").describe_cluster(ClusterId=cluster_id)["Cluster"]
    time.sleep(2)  # what the driver had to say, it has said
    diagnosis = diagnose_step(Lake(s3, BUCKET), ended, cluster, RUN_ID)
    assert diagnosis.log != TOLD
    assert diagnosis.cause.name == "out_of_memory"  # which is what mostly kills a process with signal 9


def test_a_real_bootstrap_action_that_finds_no_package_is_told_with_pip_s_own_words(cloud: LocalCloud) -> None:
    script = (
        "set -e\necho '==> installing'\npython -m pip install --no-index --quiet fruit-package-that-nobody-made==1.0\n"
    )
    s3 = cloud.client("s3")
    s3.put_object(Bucket=BUCKET, Key="code/failing/bootstrap.sh", Body=script.encode())
    action = {"Name": "packages", "ScriptBootstrapAction": {"Path": f"s3://{BUCKET}/code/failing/bootstrap.sh"}}
    cluster_id = cloud.run_cluster(shell("true"), BootstrapActions=[action])
    cloud.wait_for_cluster(cluster_id, "TERMINATED_WITH_ERRORS", seconds=60)
    cluster = cloud.client("emr").describe_cluster(ClusterId=cluster_id)["Cluster"]
    lines = bootstrap_failure_message(cluster, diagnose_bootstrap(Lake(s3, BUCKET), cluster)).splitlines()
    assert lines[0] == f"Cluster {cluster_id} is TERMINATED_WITH_ERRORS before the step ran."
    assert "Cause: package_missing" in lines
    assert (
        "The error, in stderr: ERROR: No matching distribution found for fruit-package-that-nobody-made==1.0" in lines
    )
