"""The transient cluster of one run, as EMR's RunJobFlow wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_contract import release as release_layout
from fruit_contract.lake import LOGS, release_prefix, safe_run_id, uri
from fruit_contract.regions import require_eu_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_pipeline.settings import Settings

# Where the bootstrap action puts the interpreter with the cluster's packages.
CLUSTER_PYTHON: Final = "/opt/fruits/venv/bin/python"
MAX_NAME: Final = 256
CLUSTER_PREFIX: Final = "fruits"


def cluster_request(settings: Settings, release: str, run_id: str, ingest_dates: Sequence[str]) -> dict[str, Any]:
    """The body of RunJobFlow. Raises RegionNotAllowedError for a region outside the EU, so no cluster is asked for there."""
    require_eu_region(settings.region)
    code = uri(settings.lake_bucket, release_prefix(release)).rstrip("/")
    safe_id = safe_run_id(run_id)
    request: dict[str, Any] = {
        "Name": cluster_name(ingest_dates, run_id),
        "ReleaseLabel": settings.emr_release_label,
        "LogUri": uri(settings.lake_bucket, f"{LOGS}/"),
        "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
        "Instances": _instances(settings),
        "BootstrapActions": [
            {
                "Name": "Install the cluster's packages",
                "ScriptBootstrapAction": {"Path": f"{code}/{release_layout.BOOTSTRAP_ACTION}", "Args": [code]},
            }
        ],
        "Configurations": _configurations(settings),
        # The second net: a cluster that nobody terminates ends itself.
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_timeout_seconds},
        "StepConcurrencyLevel": 1,
        "EbsRootVolumeSize": settings.root_volume_gib,
        "ServiceRole": settings.service_role,
        "JobFlowRole": settings.instance_profile,
        "VisibleToAllUsers": True,
        "Tags": [
            {"Key": "product", "Value": "fruits"},
            {"Key": "run_id", "Value": safe_id[:MAX_NAME]},
            {"Key": "ingest_date", "Value": dates_label(ingest_dates)},
            {"Key": "release", "Value": release},
            # EMR's managed policies (version 2) reach only what bears this tag.
            {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"},
        ],
    }
    if settings.security_configuration:
        request["SecurityConfiguration"] = settings.security_configuration
    return request


def cluster_name(ingest_dates: Sequence[str], run_id: str) -> str:
    """`fruits <ingest dates> <safe run id>`: what EMR's lists show, and what tells whose cluster it is."""
    return f"{CLUSTER_PREFIX} {dates_label(ingest_dates)} {safe_run_id(run_id)}"[:MAX_NAME]


def dates_label(ingest_dates: Sequence[str]) -> str:
    """The date, or the first and the last one: `2026-11-01..2026-11-30`."""
    return "..".join(sorted({min(ingest_dates, default=""), max(ingest_dates, default="")}))


def _instances(settings: Settings) -> dict[str, Any]:
    """No key pair and no security groups of our own: nothing is reachable from outside (EMR's managed groups)."""
    instances: dict[str, Any] = {
        "InstanceGroups": [
            _instance_group("Primary", "MASTER", settings.primary_instance_type, 1),
            _instance_group("Core", "CORE", settings.core_instance_type, settings.core_instance_count),
        ],
        # The DAG's teardown ends the cluster: between two steps it has none.
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    }
    if settings.subnet_id:
        instances["Ec2SubnetId"] = settings.subnet_id
    return instances


def _instance_group(name: str, role: str, instance_type: str, count: int) -> dict[str, Any]:
    return {"Name": name, "InstanceRole": role, "Market": "ON_DEMAND", "InstanceType": instance_type, "InstanceCount": count}


def _configurations(settings: Settings) -> list[dict[str, Any]]:
    """Python, region and text encoding for the driver (`spark-env`) and the executors (`spark-defaults`).

    Without a UTF-8 locale Java can't open a path such as `category=Äpfel`. On m5.xlarge YARN gives 12 GiB of the 16;
    one executor with four Python workers beside its JVM takes 10, and the application master 1.
    """
    environment = {
        "PYSPARK_PYTHON": CLUSTER_PYTHON,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "LC_ALL": "C.UTF-8",
    }
    return [
        {
            "Classification": "spark-env",
            "Configurations": [{"Classification": "export", "Properties": environment | {"PYSPARK_DRIVER_PYTHON": CLUSTER_PYTHON}}],
        },
        {
            "Classification": "spark-defaults",
            "Properties": {f"spark.executorEnv.{name}": value for name, value in environment.items()}
            | {
                "spark.pyspark.python": CLUSTER_PYTHON,
                "spark.dynamicAllocation.enabled": "true",
                "spark.executor.cores": str(settings.executor_cores),
                "spark.executor.memory": settings.executor_memory,
                "spark.executor.memoryOverhead": settings.executor_memory_overhead,
            },
        },
    ]
