"""Builds what a step of the local EMR sees: its environment and its Spark settings.

Nothing is inherited from the process that started the cloud, so a step finds what a node has and no more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local_cloud.s3.server import NO_OBJECT_CHECKSUMS
from local_cloud.stack.sweep import STACK_MARK, STEP_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NODE_PROGRAMS: Final = Path(__file__).resolve().parent / "node_bin"
RAW_SCHEME: Final = "rawfile"
CONFIGURATION_FOLDER: Final = "SPARK_CONF_DIR"
SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin"

# The settings of a request's Configurations that make sense on one machine. Sizes, masters, committers and file systems
# of the cluster are left out: they describe machines that are not here.
HONOURED_SPARK_PREFIXES: Final = (
    "spark.sql.",
    "spark.serializer",
    "spark.kryo",
    "spark.python.",
    "spark.speculation",
    "spark.task.maxFailures",
    "spark.driver.maxResultSize",
    "spark.executorEnv.",
    "spark.default.parallelism",
)
HONOURED_EXPORT_PREFIXES: Final = ("FRUITS_", "OMP_", "MKL_", "OPENBLAS_", "TF_", "PYTHONHASHSEED", "MALLOC_")

# A step lives for seconds here. Java's optimising compiler would cost more time than it saves, and so would a check of
# the code of Spark's own classes.
QUICK_JAVA: Final = (
    "-XX:-UsePerfData -XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)
# Threads of linear algebra wait for each other by spinning: a PCA that takes 0.4 s on one core takes 6 s on two cores
# that are busy with other processes.
ONE_THREAD_A_PROCESS: Final[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Node:
    """Describes the one machine of which every local cluster consists."""

    home: Path  # of the local cloud
    s3_url: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    python: Path  # of the environment whose packages the node has
    java_home: Path
    spark_home: Path
    cores: str = "*"  # a number, or * for all
    driver_memory: str = "2g"

    @property
    def buckets_folder(self) -> Path:
        return self.home / "s3"

    @property
    def clusters_folder(self) -> Path:
        return self.home / "emr"


def node_environment(node: Node, *, mark: str, temporary: Path) -> dict[str, str]:
    """Returns the environment variables of every command of a cluster.

    `mark` names the command, and `temporary` is its own folder for temporary files.
    """
    programs = (NODE_PROGRAMS, node.python.parent, node.java_home / "bin")
    return {
        "PATH": os.pathsep.join([*map(str, programs), SYSTEM_PATH]),
        "HOME": str(node.clusters_folder / "home"),
        "LC_ALL": "C.UTF-8",  # in the C locale Java can't name a folder `Äpfel 50%`
        "TZ": "UTC",
        "TMPDIR": str(temporary),
        "JAVA_HOME": str(node.java_home),
        "FRUITS_VENV": str(node.python.parent.parent),
        "PYTHONNOUSERSITE": "1",
        "AWS_ACCESS_KEY_ID": node.access_key_id,
        "AWS_SECRET_ACCESS_KEY": node.secret_access_key,
        "AWS_REGION": node.region,
        "AWS_DEFAULT_REGION": node.region,
        "AWS_ENDPOINT_URL_S3": node.s3_url,
        # A profile of the person at this laptop must never reach a local step.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **NO_OBJECT_CHECKSUMS,
        STACK_MARK: str(node.home),
        STEP_MARK: mark,
    }


def step_environment(
    node: Node,
    *,
    mark: str,
    temporary: Path,
    configuration_folder: Path,
    configurations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """Returns what `node_environment` does, with Spark's variables and what the cluster's `spark-env` exports."""
    return {
        **node_environment(node, mark=mark, temporary=temporary),
        **ONE_THREAD_A_PROCESS,
        **honoured_exports(configurations),
        "SPARK_HOME": str(node.spark_home),
        CONFIGURATION_FOLDER: str(configuration_folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": str(node.python),
        "PYSPARK_DRIVER_PYTHON": str(node.python),
    }


def event_log_folder(clusters_folder: Path, cluster_id: str) -> Path:
    """Returns the folder for the events of all steps of a cluster, which Spark's history server reads."""
    return clusters_folder / cluster_id / "spark-events"


def spark_defaults(
    node: Node,
    *,
    buckets: Iterable[str],
    temporary: Path,
    event_logs: Path,
    configurations: Sequence[Mapping[str, Any]] = (),
    java_options: str = "",
) -> str:
    """Returns the content of spark-defaults.conf, which makes the machine one Spark and maps buckets to folders.

    `s3://<bucket>` stands for the bucket's folder by Hadoop's ViewFileSystemOverloadScheme, so a job names its files as
    it does on EMR. The folder `event_logs` must exist. `java_options` are added to those that every step's Java gets.
    """
    settings = {
        **honoured_spark_settings(configurations),
        # A task that fails is tried again, as on a cluster.
        "spark.master": f"local[{node.cores},4]",
        "spark.driver.memory": node.driver_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f'"-Djava.io.tmpdir={temporary}" {QUICK_JAVA} {java_options}'.rstrip(),
        "spark.local.dir": str(temporary),
        "spark.sql.warehouse.dir": (temporary / "warehouse").as_uri(),
        "spark.ui.enabled": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": event_logs.as_uri(),
        "spark.ui.showConsoleProgress": "false",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        # The raw local file system gets a name of its own, because `file:` is the one with checksums, which writes .crc
        # files among the objects.
        f"spark.hadoop.fs.{RAW_SCHEME}.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    }
    for bucket in sorted(buckets):
        settings[f"spark.hadoop.fs.viewfs.mounttable.{bucket}.linkFallback"] = _raw_uri(node.buckets_folder / bucket)
    return "".join(f"{name} {_property_value(value)}\n" for name, value in settings.items())


def honoured_spark_settings(configurations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the `spark-defaults` of a request that also hold on one machine (see HONOURED_SPARK_PREFIXES)."""
    return {
        name: value
        for name, value in _properties(configurations, ("spark-defaults",)).items()
        if name.startswith(HONOURED_SPARK_PREFIXES) and name != "spark.sql.warehouse.dir"
    }


def honoured_exports(configurations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the `spark-env` / `export` of a request that also hold on one machine (see HONOURED_EXPORT_PREFIXES)."""
    exports = _properties(configurations, ("spark-env", "export"))
    own = {STACK_MARK, STEP_MARK, "FRUITS_VENV"}
    return {
        name: value for name, value in exports.items() if name.startswith(HONOURED_EXPORT_PREFIXES) and name not in own
    }


def local_command(arguments: Sequence[str], spark_home: Path) -> list[str]:
    """Returns the command that command-runner.jar runs for these arguments.

    Spark's programs are taken from the installed pyspark, all others from the PATH.
    """
    program, *rest = arguments
    in_spark = spark_home / "bin" / program
    return [str(in_spark) if program.startswith("spark-") and in_spark.exists() else program, *rest]


def _properties(configurations: Sequence[Mapping[str, Any]], path: tuple[str, ...]) -> dict[str, str]:
    head, *rest = path
    found: dict[str, str] = {}
    for configuration in configurations:
        if configuration.get("Classification") != head:
            continue
        found |= (
            _properties(configuration.get("Configurations") or (), tuple(rest))
            if rest
            else dict(configuration.get("Properties") or {})
        )
    return found


def _raw_uri(folder: Path) -> str:
    return f"{RAW_SCHEME}{folder.as_uri().removeprefix('file')}"


def _property_value(value: str) -> str:
    """Returns `value` as it is written in a Java properties file, with backslashes and line breaks escaped."""
    return str(value).replace("\\", "\\\\").replace("\n", "\\n")
