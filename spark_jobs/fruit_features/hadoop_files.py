"""Folders of the lake's tables as Spark sees them: does one exist, which ones are there, remove one."""
# ruff: noqa: SLF001 - PySpark has no public way to Hadoop's FileSystem

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def exists(spark: SparkSession, address: str) -> bool:
    filesystem, path = _open(spark, address)
    return bool(filesystem.exists(path))


def list_folders(spark: SparkSession, address: str) -> list[str]:
    """The names of the folders directly below `address`, sorted; none if it does not exist."""
    filesystem, path = _open(spark, address)
    if not filesystem.exists(path):
        return []
    return sorted(str(status.getPath().getName()) for status in filesystem.listStatus(path) if status.isDirectory())


def list_files(spark: SparkSession, address: str) -> list[str]:
    """The names of the files directly below `address`, sorted; none if it does not exist."""
    filesystem, path = _open(spark, address)
    if not filesystem.exists(path):
        return []
    return sorted(str(status.getPath().getName()) for status in filesystem.listStatus(path) if status.isFile())


def remove(spark: SparkSession, address: str) -> None:
    """Removes a folder and all below it; nothing happens if it is not there."""
    filesystem, path = _open(spark, address)
    filesystem.delete(path, True)


def _open(spark: SparkSession, address: str) -> tuple[Any, Any]:
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(address)
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), path
