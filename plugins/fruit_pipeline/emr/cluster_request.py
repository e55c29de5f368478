"""Describes the transient cluster of one run, as EMR's RunJobFlow wants it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import LOGS, node_start_key, release_prefix, safe_run_id, uri
from fruit_contract.regions import require_eu_region
from fruit_pipeline.emr.nodes.fleets import compute_limits, has_spot_nodes, instances
from fruit_pipeline.emr.nodes.instance_types import core_type, primary_type, require_fit
from fruit_pipeline.emr.nodes.node_program import NODE_START
from fruit_pipeline.emr.nodes.spark_sizes import (
    MASTER_HEAP_MIB,
    MASTER_OVERHEAD_MIB,
    YARN_GRAIN_MIB,
    driver_sizes,
    executor_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_contract.release import PinnedRelease
    from fruit_pipeline.settings import Settings

# The bootstrap action puts the interpreter with the cluster's packages there.
CLUSTER_PYTHON: Final = "/opt/fruits/venv/bin/python"
MAX_NAME: Final = 256
CLUSTER_PREFIX: Final = "fruits"
MAIN_DAG_ID: Final = "fruit_image_pipeline"
AIRFLOW_TAG: Final = "airflow"

# An application master on a spot node would take its whole step with it. EMR labels the nodes, and its managed scaling
# knows the label.
_MASTERS_ON_CORE_NODES: Final = {
    "yarn.node-labels.enabled": "true",
    "yarn.node-labels.am.default-node-label-expression": "CORE",
}

# These are EMR's own bounds.
_MAX_TAG_KEY: Final = 128
_IDLE_SECONDS: Final = (60, 604_800)
_SPOT_TIMEOUT_MINUTES: Final = (5, 1440)
_MAX_TYPES_A_FLEET: Final = 30
_NAME: Final = re.compile(r"[\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_TAG: Final = re.compile(r"[A-Za-z0-9 +=._:/@-]*")
_NOT_PLAIN_IN_TAG: Final = re.compile(r"[^A-Za-z0-9_.:+/@ -]")
_QUOTED_IN_TAG: Final = re.compile(r"(?:=[0-9A-F]{2})+")


def cluster_request(
    settings: Settings,
    release: PinnedRelease,
    run_id: str,
    ingest_dates: Sequence[str],
    task_instances: int = 0,
    *,
    airflow_id: str = "",
) -> dict[str, Any]:
    """Returns the body of RunJobFlow, with the settings' core nodes and `task_instances` nodes beside them.
    `airflow_id` says which Airflow asks.

    Raises RegionNotAllowedError for a region outside the EU, so no cluster is asked for there, InstanceTypeError for
    nodes on which the jobs can't run, and ValueError for what EMR would refuse.
    """
    require_eu_region(settings.region)
    require_fit(settings)
    request: dict[str, Any] = {
        "Name": cluster_name(ingest_dates, run_id),
        "ReleaseLabel": settings.emr_release_label,
        "LogUri": uri(settings.lake_bucket, f"{LOGS}/"),
        "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
        "Instances": instances(settings, task_instances),
        "ManagedScalingPolicy": {"ComputeLimits": compute_limits(settings, task_instances)},
        "ScaleDownBehavior": "TERMINATE_AT_TASK_COMPLETION",
        "BootstrapActions": [
            {
                "Name": "Check the release and install the cluster's packages",
                "ScriptBootstrapAction": {
                    "Path": uri(settings.lake_bucket, node_start_key(NODE_START.sha256)),
                    "Args": [uri(settings.lake_bucket, release_prefix(release.release_id)), release.manifest_sha256],
                },
            }
        ],
        "Configurations": _configurations(settings, task_instances),
        # If nobody terminates the cluster, it ends itself.
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_timeout_seconds},
        "StepConcurrencyLevel": 1,
        "EbsRootVolumeSize": settings.root_volume_gib,
        "ServiceRole": settings.service_role,
        "JobFlowRole": settings.instance_profile,
        "VisibleToAllUsers": True,
        "Tags": _tags(settings.lake_bucket, release.release_id, run_id, ingest_dates, airflow_id),
    }
    if settings.security_configuration:
        request["SecurityConfiguration"] = settings.security_configuration
    if settings.log_key:
        request["LogEncryptionKmsKeyId"] = settings.log_key
    validate_request(request)
    return request


def cluster_name(ingest_dates: Sequence[str], run_id: str) -> str:
    """Returns `fruits <ingest dates> <safe run id>`, which EMR's lists show, and by which people and the pipeline know
    its clusters.
    """
    return f"{CLUSTER_PREFIX} {dates_label(ingest_dates)} {safe_run_id(run_id)}"[:MAX_NAME]


def dates_label(ingest_dates: Sequence[str]) -> str:
    """Returns the date, or the first and the last one: `2026-11-01..2026-11-30`."""
    return "..".join(sorted({min(ingest_dates, default=""), max(ingest_dates, default="")}))


def quoted_run_id(run_id: str) -> str | None:
    """Returns the run id in the characters that EMR allows in a tag, with each other one as `=HH` of its UTF-8 bytes.
    Returns None if that is too long.
    """
    quoted = _NOT_PLAIN_IN_TAG.sub(lambda found: "".join(f"={byte:02X}" for byte in found.group().encode()), run_id)
    return quoted if len(quoted) <= MAX_NAME else None


def unquoted_run_id(tag: str) -> str:
    """Returns the run id that `quoted_run_id` wrote. What it did not quote stays as it is."""
    return _QUOTED_IN_TAG.sub(lambda found: bytes.fromhex(found.group().replace("=", "")).decode(errors="replace"), tag)


def missing_safeguards(settings: Settings) -> list[str]:
    """Returns a sentence for each thing that a cluster in a real account should have and that is not set."""
    missing = []
    if not settings.security_configuration:
        missing.append(
            "FRUITS_SECURITY_CONFIGURATION is not set: the cluster then has neither encryption at rest nor IMDSv2 "
            "(bootstrap/README.md)."
        )
    if not settings.subnet_id:
        missing.append(
            "FRUITS_SUBNET_ID is not set: EMR then takes a default subnet, which is a public one (bootstrap/README.md)."
        )
    return missing


def validate_request(request: Mapping[str, Any]) -> None:
    """Raises ValueError for a request that EMR would refuse, or that would make a cluster of another shape than meant.
    The message names all that is wrong.
    """
    problems = [
        *_name_problems(request["Name"], request["Tags"]),
        *_fleet_problems(request["Instances"]["InstanceFleets"]),
        *_limit_problems(request["ManagedScalingPolicy"]["ComputeLimits"]),
        *_range_problems("The idle timeout in seconds", request["AutoTerminationPolicy"]["IdleTimeout"], _IDLE_SECONDS),
    ]
    if problems:
        raise ValueError("The request for a cluster is wrong. " + " ".join(problems))


def _tags(
    lake_bucket: str, release: str, run_id: str, ingest_dates: Sequence[str], airflow_id: str
) -> list[dict[str, str]]:
    """Returns the tags that say whose cluster it is. Tasks find a run's clusters by them, and the sweep finds clusters
    whose run is over.
    """
    tags = {
        "product": "fruits",
        "lake": lake_bucket,
        "dag_id": MAIN_DAG_ID,
        "run_id": safe_run_id(run_id)[:MAX_NAME],
        "ingest_date": dates_label(ingest_dates),
        "release": release,
        # EMR's managed policies (version 2) reach only what bears this tag.
        "for-use-with-amazon-emr-managed-policies": "true",
    }
    quoted = quoted_run_id(run_id)
    if quoted:
        tags["airflow_run_id"] = quoted
    if airflow_id:
        tags[AIRFLOW_TAG] = airflow_id
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _configurations(settings: Settings, task_instances: int) -> list[dict[str, Any]]:
    """Returns Python, region and text encoding for the driver (`spark-env`) and the executors (`spark-defaults`), the
    sizes of both, and YARN's settings.

    Without a UTF-8 locale Java can't open a path such as `category=Äpfel`.
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
            "Configurations": [
                {"Classification": "export", "Properties": environment | {"PYSPARK_DRIVER_PYTHON": CLUSTER_PYTHON}}
            ],
        },
        {
            "Classification": "spark-defaults",
            "Properties": {f"spark.executorEnv.{name}": value for name, value in environment.items()}
            | {"spark.pyspark.python": CLUSTER_PYTHON}
            | _spark_sizes(settings, task_instances),
        },
        {"Classification": "yarn-site", "Properties": _yarn_site(settings, task_instances)},
    ]


def _spark_sizes(settings: Settings, task_instances: int) -> dict[str, str]:
    """Returns the sizes of driver, executors and application master, and how many executors there shall be.

    All planned executors are asked for at once, so Spark need not feel its way up from one. Those of the core nodes,
    which are there anyway, are kept when they are idle. The driver does not wait for any of them, because it has to
    list first.
    """
    core, primary = core_type(settings), primary_type(settings)
    driver, executor = driver_sizes(primary), executor_sizes(core)
    return {
        "spark.driver.memory": f"{driver.heap_mib}m",
        "spark.driver.maxResultSize": f"{driver.max_result_mib}m",
        "spark.executor.cores": str(executor.cores),
        "spark.executor.memory": f"{executor.heap_mib}m",
        "spark.executor.memoryOverhead": f"{executor.overhead_mib}m",
        "spark.yarn.am.memory": f"{MASTER_HEAP_MIB}m",
        "spark.yarn.am.memoryOverhead": f"{MASTER_OVERHEAD_MIB}m",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.minExecutors": str(executor.a_node * settings.core_instance_count),
        "spark.dynamicAllocation.initialExecutors": str(
            executor.a_node * (settings.core_instance_count + task_instances)
        ),
        "spark.scheduler.minRegisteredResourcesRatio": "0",
    }


def _yarn_site(settings: Settings, task_instances: int) -> dict[str, str]:
    """Returns what YARN may give away on a node.

    EMR's own defaults differ between types of one size, of which a fleet may have several. And EMR's default for the
    largest container is what would fit on the primary node, on which none runs.
    """
    core = core_type(settings)
    yarn_mib = str(executor_sizes(core).yarn_mib)
    properties = {
        "yarn.nodemanager.resource.memory-mb": yarn_mib,
        # If YARN counts vCPUs, the application master takes one more.
        "yarn.nodemanager.resource.cpu-vcores": str(core.vcpus + 1),
        "yarn.scheduler.minimum-allocation-mb": str(YARN_GRAIN_MIB),
        "yarn.scheduler.maximum-allocation-mb": yarn_mib,
    }
    return properties | (_MASTERS_ON_CORE_NODES if has_spot_nodes(settings, task_instances) else {})


def _name_problems(name: str, tags: Sequence[Mapping[str, str]]) -> list[str]:
    problems = []
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        problems.append(f"Its name must have 1 to {MAX_NAME} printable characters: '{name}'.")
    keys = [tag["Key"] for tag in tags]
    problems += [f"Tag '{key}' is there {keys.count(key)} times." for key in sorted(set(keys)) if keys.count(key) > 1]
    for tag in tags:
        key, value = tag["Key"], tag["Value"]
        if not 0 < len(key) <= _MAX_TAG_KEY or len(value) > MAX_NAME:
            problems.append(
                f"Tag '{key}' is too long: a key has 1 to {_MAX_TAG_KEY} characters, a value {MAX_NAME} at most."
            )
        if not _TAG.fullmatch(key) or not _TAG.fullmatch(value):
            problems.append(f"Tag '{key}' may hold letters, digits, spaces and +-=._:/@ only: '{value}'.")
    return problems


def _fleet_problems(fleets: Sequence[Mapping[str, Any]]) -> list[str]:
    problems = []
    units: dict[str, int] = {"MASTER": 0, "CORE": 0}
    roles = [fleet["InstanceFleetType"] for fleet in fleets]
    for fleet in fleets:
        role = fleet["InstanceFleetType"]
        units[role] = units.get(role, 0) + fleet.get("TargetOnDemandCapacity", 0) + fleet.get("TargetSpotCapacity", 0)
        if not 1 <= len(fleet["InstanceTypeConfigs"]) <= _MAX_TYPES_A_FLEET:
            problems.append(f"The {role} fleet must have 1 to {_MAX_TYPES_A_FLEET} instance types.")
        spot = fleet["LaunchSpecifications"].get("SpotSpecification")
        if spot:
            problems += _range_problems(
                "The time-out for spot nodes in minutes", spot["TimeoutDurationMinutes"], _SPOT_TIMEOUT_MINUTES
            )
    problems += [
        f"There are {roles.count(role)} {role} fleets." for role in sorted(set(roles)) if roles.count(role) > 1
    ]
    if units["MASTER"] != 1:
        problems.append(f"There must be 1 primary node, not {units['MASTER']}.")
    if units["CORE"] < 1:
        problems.append("There must be at least 1 core node.")
    return problems


def _limit_problems(limits: Mapping[str, Any]) -> list[str]:
    lowest, highest = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
    problems = [] if 1 <= lowest <= highest else [f"The cluster can't scale between {lowest} and {highest} nodes."]
    for name in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        problems += _range_problems(name, limits[name], (0, highest))
    return problems


def _range_problems(name: str, value: int, allowed: tuple[int, int]) -> list[str]:
    lowest, highest = allowed
    return [] if lowest <= value <= highest else [f"{name} must be from {lowest} to {highest}, not {value}."]
