"""Checks what CloudFormation would refuse, and what the templates say of things that moto does not look at."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fruit_cli.aws import stacks
from fruit_cli.aws.request import DeployRequest
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.settings import Settings, load_settings
from local_cloud.project import PROJECT
from tests.bootstrap.conftest import ACCOUNT, BUCKET, REGION, DeployedAccount

TEMPLATES = sorted(stacks.TEMPLATES.glob("*.yaml"))


def test_every_template_is_a_stack_and_fits_into_a_request() -> None:
    assert {path.stem for path in TEMPLATES} == set(stacks.PARTS)
    assert all(stacks.template_of(part) for part in stacks.PARTS)


@pytest.mark.slow
def test_cfn_lint_finds_nothing() -> None:
    """In the default region; `scripts/check_stacks` looks at all, which takes a minute."""
    program = str(Path(sys.executable).parent / "cfn-lint")
    done = subprocess.run(
        [program, "--regions", REGION, "--", *map(str, TEMPLATES)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_suppressed_check_has_a_reason() -> None:
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        assert text.count("- id: CKV") == len(re.findall(r'- id: CKV\w+\n +comment: "[^"]{30,}"', text))


@pytest.mark.slow
def test_what_costs_by_the_hour_is_what_the_plan_counts(deployed: DeployedAccount) -> None:
    endpoints = deployed.properties["AWS::EC2::VPCEndpoint"]
    interface = [endpoint for endpoint in endpoints if endpoint["VpcEndpointType"] == "Interface"]
    assert len(interface) == stacks.ENDPOINTS + stacks.SSM_ENDPOINTS
    assert all(len(endpoint["SubnetIds"]) == int(stacks.DEFAULT_ZONES) for endpoint in interface)
    plan = {
        stack.part: stack
        for stack in stacks.stacks_of(
            DeployRequest("fruits", REGION), stacks.DeployedLake(BUCKET, makes_bucket=True), {}
        )
    }
    assert plan["network"].usd_a_month == pytest.approx(6 * 2 * 730 * 0.011)
    assert {"AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::EIP"} & deployed.properties.keys() == set()


@pytest.mark.slow
def test_nothing_comes_in_but_tls_of_the_network_itself(deployed: DeployedAccount) -> None:
    (network,) = deployed.properties["AWS::EC2::VPC"]
    for group in deployed.properties["AWS::EC2::SecurityGroup"]:
        assert [(rule["FromPort"], rule["ToPort"], rule["CidrIp"]) for rule in group["SecurityGroupIngress"]] == [
            (443, 443, network["CidrBlock"])
        ]


@pytest.mark.slow
def test_emr_may_use_network_and_subnets(deployed: DeployedAccount) -> None:
    """By the tag that its managed policy asks for, which is the one that clusters bear."""
    (tag,) = [
        tag
        for tag in cluster_request(Settings(), PinnedRelease("abc", "0" * 64), "run", ["2026-11-22"])["Tags"]
        if tag["Key"].startswith("for-use")
    ]
    for kind in ("AWS::EC2::VPC", "AWS::EC2::Subnet"):
        assert all(tag in place["Tags"] for place in deployed.properties[kind])


@pytest.mark.slow
def test_the_bucket_is_encrypted_private_and_forgets_only_what_nobody_reads(deployed: DeployedAccount) -> None:
    (bucket,) = deployed.properties["AWS::S3::Bucket"]
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) <= {True, "true"}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    expired = {rule.get("Prefix") for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule}
    assert expired == {"logs/", "runs/_failures/", "runs/_progress/", "runs/_steps/"}


@pytest.mark.slow
def test_a_cluster_encrypts_disks_and_objects_and_asks_for_tokens(deployed: DeployedAccount) -> None:
    (security,) = [
        properties["SecurityConfiguration"] for properties in deployed.properties["AWS::EMR::SecurityConfiguration"]
    ]
    assert security["InstanceMetadataServiceConfiguration"]["MinimumInstanceMetadataServiceVersion"] in (2, "2")
    at_rest = security["EncryptionConfiguration"]["AtRestEncryptionConfiguration"]
    assert at_rest["S3EncryptionConfiguration"]["EncryptionMode"] == "SSE-KMS"
    assert at_rest["LocalDiskEncryptionConfiguration"]["EnableEbsEncryption"] in (True, "true")
    # It can't be changed, only replaced: with a name of ours there would be two of one name for a moment.
    assert "Name" not in deployed.properties["AWS::EMR::SecurityConfiguration"][0]


@pytest.mark.slow
def test_the_file_of_a_deployment_is_what_airflow_takes(deployed: DeployedAccount) -> None:
    lines = deployed.environment_file.read_text(encoding="utf-8").splitlines()
    environment = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    settings = load_settings(environment)
    assert (settings.lake_bucket, settings.region, settings.lake_owner) == (BUCKET, REGION, ACCOUNT)
    request = cluster_request(settings, PinnedRelease("abc", "0" * 64), "run", ["2026-11-22"])
    assert (request["ServiceRole"], request["JobFlowRole"]) == ("fruits-emr-service", "fruits-emr-nodes")
    assert request["SecurityConfiguration"].startswith("fruits-cluster-Security-")
    assert len(request["Instances"]["Ec2SubnetIds"]) == 2
    (key,) = {entry["KeyArn"] for entry in deployed.client("kms").list_keys()["Keys"]}
    assert request["LogEncryptionKmsKeyId"] == key
    queues = deployed.client("sqs").list_queues()["QueueUrls"]
    assert settings.batch_queue_url.rsplit("/", 1)[1] in {url.rsplit("/", 1)[1] for url in queues}
    assert settings.sns_topic_arn in {topic["TopicArn"] for topic in deployed.client("sns").list_topics()["Topics"]}


def test_the_readme_names_every_template() -> None:
    text = (PROJECT / "bootstrap" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in TEMPLATES if path.name not in text] == []
