from __future__ import annotations

import json
import re

import botocore
import botocore.session
import pytest

from fruit_contract import lake
from fruit_contract.regions import EU_REGIONS
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.settings import VARIABLES, Settings
from local_cloud.project import PROJECT

FOLDER = PROJECT / "bootstrap"
DOCUMENTS = sorted((FOLDER / "iam").glob("*.json"))
POLICIES = [path for path in DOCUMENTS if "security-configuration" not in path.name]
BUCKET = "arn:aws:s3:::FRUITS_LAKE_BUCKET"
# IAM's name of an S3 permission, where it is not the operation's.
S3_OPERATIONS = {
    "ListBucket": "ListObjectsV2",
    "ListBucketMultipartUploads": "ListMultipartUploads",
    "ListMultipartUploadParts": "ListParts",
}


def statements(path):
    return json.loads(path.read_text(encoding="utf-8"))["Statement"]


def of_policy(name):
    return statements(FOLDER / "iam" / name)


def as_list(value):
    return value if isinstance(value, list) else [value]


def actions_on(policy, resource):
    return {action for statement in of_policy(policy) if resource in statement["Resource"] for action in as_list(statement["Action"])}


@pytest.mark.slow
@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_every_action_exists(path):
    session = botocore.session.get_session()
    operations = {
        "elasticmapreduce": set(session.get_service_model("emr").operation_names),
        "s3": set(session.get_service_model("s3").operation_names),
        "sns": set(session.get_service_model("sns").operation_names),
        "sqs": set(session.get_service_model("sqs").operation_names),
        "sts": set(session.get_service_model("sts").operation_names),
    }
    for statement in statements(path):
        for action in as_list(statement["Action"]):
            service, _, name = action.partition(":")
            if statement["Effect"] == "Deny":
                assert action == "s3:*"
            elif action != "iam:PassRole":  # a permission without an operation
                assert S3_OPERATIONS.get(name, name) in operations[service], action


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_nothing_is_allowed_on_everything_without_a_condition(path):
    for statement in statements(path):
        if statement["Effect"] == "Allow" and "Principal" not in statement:
            assert "*" not in as_list(statement["Resource"]) or statement.get("Condition"), statement["Sid"]
            assert all("*" not in action for action in as_list(statement["Action"])), statement["Sid"]
            if any(action.startswith("s3:") for action in as_list(statement["Action"])):
                assert all(resource.startswith(BUCKET) for resource in as_list(statement["Resource"])), statement["Sid"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_bucket_is_the_only_placeholder_and_no_account_is_named(path):
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", text)) <= {"FRUITS_LAKE_BUCKET"}
    assert not re.search(r"\d{12}|[<$]", text)


def test_statements_bear_names_of_their_own():
    for path in POLICIES:
        names = [statement["Sid"] for statement in statements(path)]
        assert len(set(names)) == len(names), path.name
        assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in names), path.name


def test_clusters_may_run_in_the_eu_only():
    on_emr = [s for s in of_policy("airflow-policy.json") if any(action.startswith("elasticmapreduce:") for action in s["Action"])]
    assert len(on_emr) == 4
    assert all(set(s["Condition"]["StringEquals"]["aws:RequestedRegion"]) == EU_REGIONS for s in on_emr)


def test_airflow_drives_only_clusters_that_bear_the_tag_of_the_cluster_request():
    tags = {tag["Key"]: tag["Value"] for tag in cluster_request(Settings(), "abc", "run", ["2026-11-22"])["Tags"]}
    asked = next(s for s in of_policy("airflow-policy.json") if "elasticmapreduce:RunJobFlow" in s["Action"])
    driven = next(s for s in of_policy("airflow-policy.json") if "elasticmapreduce:TerminateJobFlows" in s["Action"])
    assert asked["Condition"]["StringEquals"]["elasticmapreduce:RequestTag/product"] == tags["product"]
    assert driven["Condition"]["StringEquals"]["elasticmapreduce:ResourceTag/product"] == tags["product"]


def test_airflow_may_do_what_its_operators_call():
    called = {
        "AddJobFlowSteps",
        "CancelSteps",
        "CreatePersistentAppUI",
        "DescribeCluster",
        "DescribePersistentAppUI",
        "DescribeStep",
        "GetPersistentAppUIPresignedURL",
        "ListClusters",
        "ListInstanceFleets",
        "ListInstances",
        "ListSteps",
        "RunJobFlow",
        "TerminateJobFlows",
    }
    allowed = {a.partition(":")[2] for s in of_policy("airflow-policy.json") for a in s["Action"] if a.startswith("elasticmapreduce:")}
    assert called <= allowed
    assert (
        actions_on("airflow-policy.json", f"{BUCKET}/reports/*")
        == actions_on("airflow-policy.json", f"{BUCKET}/runs/*")
        == {"s3:PutObject"}
    )


def test_airflow_removes_nothing_but_claims():
    removing = [s for s in of_policy("airflow-policy.json") if any(action.startswith("s3:Delete") for action in s["Action"])]
    assert [s["Resource"] for s in removing] == [[f"{BUCKET}/{lake.claims_prefix()}*"]]


def test_airflow_hears_of_new_batches_in_the_eu_only():
    (heard,) = [s for s in of_policy("airflow-policy.json") if any(action.startswith("sqs:") for action in s["Action"])]
    assert set(heard["Action"]) == {"sqs:ReceiveMessage", "sqs:DeleteMessage"}
    assert set(heard["Condition"]["StringEquals"]["aws:RequestedRegion"]) == EU_REGIONS


def test_airflow_tells_topics_of_its_own_in_the_eu_only():
    (told,) = [s for s in of_policy("airflow-policy.json") if any(action.startswith("sns:") for action in s["Action"])]
    assert told["Action"] == ["sns:Publish"]
    assert told["Resource"] == ["arn:aws:sns:*:*:fruits-*"]
    assert set(told["Condition"]["StringEquals"]["aws:RequestedRegion"]) == EU_REGIONS


def test_airflow_may_ask_for_a_cluster_with_every_policy_of_the_cluster_request():
    """RunJobFlow asks for each policy's own permission, on a cluster that bears no tag yet."""
    asked = {name for name in cluster_request(Settings(), "abc", "run", ["2026-11-22"]) if name.endswith("Policy")}
    (allowed,) = [s for s in of_policy("airflow-policy.json") if s["Sid"] == "LetClustersScaleAndEndThemselves"]
    assert set(allowed["Action"]) == {f"elasticmapreduce:Put{name}" for name in asked}


def test_nodes_write_the_tables_and_never_images_or_code():
    tables = {lake.FEATURES, lake.REJECTED, lake.MOMENTS, lake.LEDGER, lake.PCA, lake.PROJECTIONS, lake.RUNS, lake.LOGS}
    written = {
        resource
        for statement in of_policy("nodes-policy.json")
        if {"s3:PutObject", "s3:DeleteObject"} & set(statement["Action"])
        for resource in statement["Resource"]
    }
    assert written == {f"{BUCKET}/{table}/*" for table in tables}
    assert actions_on("nodes-policy.json", f"{BUCKET}/{lake.RAW}/*") == {"s3:GetObject"}
    assert actions_on("nodes-policy.json", f"{BUCKET}/{lake.CODE}/*") == {"s3:GetObject"}
    assert "s3:DeleteObject" not in actions_on("nodes-policy.json", f"{BUCKET}/{lake.LOGS}/*")


def test_the_bucket_refuses_what_is_not_tls():
    found = {s["Sid"]: s for s in of_policy("bucket-policy.json")}
    assert found["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert all(s["Effect"] == "Deny" and s["Resource"] == [BUCKET, f"{BUCKET}/*"] for s in found.values())


def test_the_readme_names_every_document_and_only_variables_that_exist():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(path.name in text for path in DOCUMENTS), [path.name for path in DOCUMENTS if path.name not in text]
    assert set(re.findall(r"FRUITS_[A-Z_]+", text)) <= set(VARIABLES.values())


@pytest.mark.slow
def test_the_readmes_aws_commands_exist():
    """`aws <service> <operation>`, each against botocore's models, with options that the operation knows."""
    session = botocore.session.get_session()
    text = (FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^aws (\S+) (\S+) (.*)$", text, re.MULTILINE)
    assert len(commands) >= 14
    for service, command, options in commands:
        model = session.get_service_model({"s3api": "s3"}.get(service, service))
        names = {botocore.xform_name(name, "-"): name for name in model.operation_names}
        members = model.operation_model(names[command]).input_shape.members
        known = {botocore.xform_name(member, "-") for member in members}
        assert set(re.findall(r"--([a-z-]+)", options)) <= known, (service, command)
