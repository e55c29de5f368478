from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fruit_contract.regions import EU_REGIONS, RegionNotAllowedError
from fruit_pipeline.cluster_request import cluster_request
from fruit_pipeline.settings import Settings
from fruit_pipeline.steps import MAX_ARGUMENT_CHARACTERS, StepTooLongError, extract_features_step, refresh_pca_step

SETTINGS = Settings()
RUN_ID = "manual__2026-11-22T08:00:00+00:00"


def aws_problems(operation: str, request: dict[str, Any]) -> str:
    """What botocore's own model of EMR has against a request; empty if nothing."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("emr").operation_model(operation)
    return str(ParamValidator().validate(request, model.input_shape).generate_report())


def request(settings: Settings = SETTINGS) -> dict[str, Any]:
    return cluster_request(settings, "r1", RUN_ID, ["2026-11-22"])


def properties(of: dict[str, Any], classification: str) -> dict[str, str]:
    found = next(entry for entry in of["Configurations"] if entry["Classification"] == classification)
    return dict(found.get("Properties") or found["Configurations"][0]["Properties"])


@pytest.mark.parametrize(
    "settings", [SETTINGS, replace(SETTINGS, subnet_id="subnet-1", security_configuration="sec", core_instance_count=20)]
)
def test_aws_knows_every_field_of_the_cluster_request(settings: Settings) -> None:
    assert aws_problems("RunJobFlow", request(settings)) == ""
    assert json.loads(json.dumps(request(settings))) == request(settings)


def test_the_check_against_aws_would_find_a_wrong_field() -> None:
    assert "Unknown parameter" in aws_problems("RunJobFlow", request() | {"AutoTermination": 1})


def test_asks_for_one_primary_and_two_core_nodes_that_only_the_dag_ends() -> None:
    instances = request()["Instances"]
    groups = [
        (group["InstanceRole"], group["InstanceType"], group["InstanceCount"], group["Market"]) for group in instances["InstanceGroups"]
    ]
    assert groups == [("MASTER", "m5.xlarge", 1, "ON_DEMAND"), ("CORE", "m5.xlarge", 2, "ON_DEMAND")]
    assert instances["KeepJobFlowAliveWhenNoSteps"] is True
    assert instances["TerminationProtected"] is False
    assert request()["AutoTerminationPolicy"] == {"IdleTimeout": 1800}


def test_nothing_is_reachable_from_outside() -> None:
    instances = request()["Instances"]
    assert not {"Ec2KeyName", "EmrManagedMasterSecurityGroup", "AdditionalMasterSecurityGroups", "ServiceAccessSecurityGroup"} & set(
        instances
    )


def test_subnet_and_security_configuration_are_there_only_when_set() -> None:
    assert "Ec2SubnetId" not in request()["Instances"]
    assert "SecurityConfiguration" not in request()
    set_both = request(replace(SETTINGS, subnet_id="subnet-1", security_configuration="sec"))
    assert set_both["Instances"]["Ec2SubnetId"] == "subnet-1"
    assert set_both["SecurityConfiguration"] == "sec"


def test_the_bootstrap_action_is_the_releases_own() -> None:
    (action,) = request()["BootstrapActions"]
    assert action["ScriptBootstrapAction"] == {
        "Path": "s3://fruits-lake/code/r1/bootstrap/install_cluster_packages.sh",
        "Args": ["s3://fruits-lake/code/r1"],
    }
    assert request()["LogUri"] == "s3://fruits-lake/logs/"


def test_driver_and_executors_have_the_same_python_region_and_encoding() -> None:
    driver, executors = properties(request(), "spark-env"), properties(request(), "spark-defaults")
    for name, value in {"PYSPARK_PYTHON": "/opt/fruits/venv/bin/python", "AWS_REGION": "eu-west-1", "LC_ALL": "C.UTF-8"}.items():
        assert driver[name] == value
        assert executors[f"spark.executorEnv.{name}"] == value


def test_an_executor_and_its_python_workers_fit_into_what_yarn_gives_on_m5_xlarge() -> None:
    spark = properties(request(), "spark-defaults")
    gibibytes = sum(int(spark[name].removesuffix("g")) for name in ("spark.executor.memory", "spark.executor.memoryOverhead"))
    assert gibibytes + 1 <= 12  # and the application master beside it
    assert int(spark["spark.executor.cores"]) == 4


def test_tags_and_name_find_the_cluster_of_a_run() -> None:
    tags = {tag["Key"]: tag["Value"] for tag in request()["Tags"]}
    assert tags["product"] == "fruits"
    assert tags["run_id"] == "manual__2026-11-22T08_00_00_00_00"
    assert (tags["ingest_date"], tags["release"]) == ("2026-11-22", "r1")
    assert request()["Name"] == "fruits 2026-11-22 manual__2026-11-22T08_00_00_00_00"
    several = cluster_request(SETTINGS, "r1", "x" * 1000, ["2026-11-20", "2026-11-22"])
    assert several["Name"].startswith("fruits 2026-11-20..2026-11-22 xxx")
    assert len(several["Name"]) <= 256


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "eu-central-2", "", "EU-WEST-1"])
def test_no_cluster_is_asked_for_outside_the_eu(region: str) -> None:
    with pytest.raises(RegionNotAllowedError, match="FRUITS_AWS_REGION"):
        request(replace(SETTINGS, region=region))


@pytest.mark.parametrize("region", sorted(EU_REGIONS))
def test_every_eu_region_is_allowed(region: str) -> None:
    assert properties(request(replace(SETTINGS, region=region)), "spark-env")["AWS_REGION"] == region


def test_the_features_step_is_what_a_laptop_runs_too() -> None:
    step = extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22", "2026-11-21"], ["Äpfel 50%", "-odd"])
    assert step["ActionOnFailure"] == "CONTINUE"
    assert step["HadoopJarStep"]["Jar"] == "command-runner.jar"
    code = "s3://fruits-lake/code/r1/"
    assert step["HadoopJarStep"]["Args"] == [
        "spark-submit", "--deploy-mode", "client", "--name", "extract_features",
        "--py-files", f"{code}fruit_library.zip", f"{code}jobs/extract_features.py",
        "--lake-bucket", "fruits-lake", "--release", "r1", "--run-id", RUN_ID, "--engine", "onnxruntime",
        "--ingest-date", "2026-11-21..2026-11-22", "--category=Äpfel 50%", "--category=-odd",
    ]  # fmt: skip


def test_the_pca_step_has_target_and_policy() -> None:
    arguments = refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"])["HadoopJarStep"]["Args"]
    assert arguments[-14:] == [
        "--target-variance", "0.95", "--policy", "auto", "--margin", "0.005", "--growth", "1.5",
        "--always-below", "5000", "--keep-versions", "3", "--ingest-date", "2026-11-22",
    ]  # fmt: skip
    asked = refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], "always")["HadoopJarStep"]["Args"]
    assert asked[asked.index("--policy") + 1] == "always"
    assert "s3://fruits-lake/code/r1/jobs/refresh_pca.py" in arguments


def test_aws_knows_every_field_of_the_steps() -> None:
    steps = [extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], []), refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"])]
    assert aws_problems("AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": steps}) == ""


def test_refuses_more_categories_than_emr_takes_as_arguments() -> None:
    categories = [f"category number {n}" for n in range(MAX_ARGUMENT_CHARACTERS // 20)]
    with pytest.raises(StepTooLongError, match="Name fewer categories, or none for all of them; or take a shorter range"):
        extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], categories)
