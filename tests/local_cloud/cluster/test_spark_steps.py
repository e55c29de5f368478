"""Runs a job written for EMR, as it is, on the local cloud."""

from __future__ import annotations

import io
import zipfile

import psutil
import pyarrow.parquet as pq
import pytest

from local_cloud.stack.sweep import STEP_MARK, marked_processes
from tests.local_cloud.running_cloud import BUCKET, LocalCloud, command_of, step, wait_until

pytestmark = pytest.mark.spark

CATEGORY = "Äpfel 50%"
WRITING_JOB = """
import os
from greeting import WORD  # from --py-files
from pyspark.sql import SparkSession, functions as F

spark = (
    SparkSession.builder.config("spark.sql.sources.partitionOverwriteMode", "dynamic")
    .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    .getOrCreate()
)
table = "s3://fruits-lake/spark/features"
rows = [("a", "2026-11-22", "Äpfel 50%"), ("b", "2026-11-22", "Äpfel 50%"), ("c", "2026-11-22", "007")]
partitions = ("ingest_date", "category")
schema = "image_key string, ingest_date string, category string"
spark.createDataFrame(rows, schema).write.partitionBy(*partitions).parquet(table)
# Dynamic overwrite reads what it replaces and leaves the other partition alone.
apples = spark.read.parquet(table).where(F.col("category") == "Äpfel 50%")
apples = apples.withColumn("image_key", F.concat("image_key", F.lit(WORD)))
apples.write.mode("overwrite").partitionBy(*partitions).parquet(table)
one_task = spark.sparkContext.parallelize([0], 1)
in_worker = one_task.map(lambda _: (__import__("greeting").WORD, os.environ["AWS_ENDPOINT_URL_S3"])).collect()
print(in_worker, spark.conf.get("spark.sql.shuffle.partitions"))
"""
ENDLESS_JOB = """
import time
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.sparkContext.parallelize([0, 1], 2).foreach(lambda _: time.sleep(300))
"""


def submit(cloud: LocalCloud, name: str, job: str) -> list[str]:
    s3 = cloud.client("s3")
    library = io.BytesIO()
    with zipfile.ZipFile(library, "w") as archive:
        archive.writestr("greeting.py", "WORD = ' again'\n")
    s3.put_object(Bucket=BUCKET, Key="code/spark/library.zip", Body=library.getvalue())
    s3.put_object(Bucket=BUCKET, Key=f"code/spark/{name}.py", Body=job.encode())
    files = ["--py-files", f"s3://{BUCKET}/code/spark/library.zip", f"s3://{BUCKET}/code/spark/{name}.py"]
    return ["spark-submit", "--deploy-mode", "client", "--name", name, *files]


def test_a_job_on_s3_writes_partitions_that_s3_readers_find(cloud: LocalCloud) -> None:
    settings = {
        "Classification": "spark-defaults",
        "Properties": {"spark.sql.shuffle.partitions": "3", "spark.master": "yarn"},
    }
    cluster = cloud.run_cluster(step("write", *submit(cloud, "write", WRITING_JOB)), Configurations=[settings])
    cloud.wait_for_cluster(cluster, "TERMINATED", seconds=240)
    (done,) = cloud.steps(cluster)
    assert done["Status"]["State"] == "COMPLETED", cloud.log(cluster, f"steps/{done['Id']}/stdout")
    assert cloud.log(cluster, f"steps/{done['Id']}/stdout") == f"[(' again', '{cloud.s3_url}')] 3\n"
    s3 = cloud.client("s3")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="spark/features/")["Contents"]
    images: dict[str, list[str]] = {}
    for item in listed:
        folder, _, name = item["Key"].rpartition("/")
        if name.endswith(".parquet"):
            body = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            images.setdefault(folder, []).extend(pq.read_table(io.BytesIO(body))["image_key"].to_pylist())
    date = "spark/features/ingest_date=2026-11-22"
    assert {folder: sorted(keys) for folder, keys in images.items()} == {
        f"{date}/category=Äpfel 50%25": ["a again", "b again"],
        f"{date}/category=007": ["c"],
    }
    assert not [item["Key"] for item in listed if item["Key"].endswith(".crc")]


def test_terminating_ends_java_and_its_python_workers_and_nothing_of_them_listens_to_the_network(
    cloud: LocalCloud,
) -> None:
    cluster = cloud.run_cluster(step("endless", *submit(cloud, "endless", ENDLESS_JOB)), keep_alive=True)
    mark = f"{cluster}/{cloud.steps(cluster)[0]['Id']}"
    wait_until(lambda: {"workers": workers(mark)}, lambda seen: seen["workers"] >= 2, 240)
    processes = marked_processes(STEP_MARK, mark)
    assert {"java"} < {process.name() for process in processes}
    assert {address for process in processes for address in listening_addresses(process)} <= {
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "::1",
    }
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])
    cloud.wait_for_cluster(cluster, "TERMINATED", seconds=60)
    assert not marked_processes(STEP_MARK, mark)


def workers(mark: str) -> int:
    return sum("pyspark.daemon" in command_of(process) for process in marked_processes(STEP_MARK, mark))


def listening_addresses(process: psutil.Process) -> set[str]:
    connections = process.net_connections(kind="inet")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
