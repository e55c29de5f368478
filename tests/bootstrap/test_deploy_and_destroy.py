"""Runs `make deploy` and `make destroy` against moto's account: checks what is made, what stays and what is refused."""

from __future__ import annotations

import io
import zipfile
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import fruit_cli.commands.deploy as deploy_command
from fruit_cli.aws.account import Account, session_of_caller
from fruit_cli.aws.cloudformation import StackFailedError, Stacks
from fruit_cli.aws.request import DeployRequest
from fruit_cli.commands.destroy import destroy
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import current_connection
from fruit_cli.lake.target import Target
from tests.bootstrap.conftest import ACCOUNT, BUCKET, REGION, DeployedAccount

pytestmark = pytest.mark.slow
ANY_POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}'
)
CERTIFICATE_FILES = ("privateKey", "certificateChain", "trustedCertificates")


def deploy(account: DeployedAccount, **asked: Any) -> None:
    yes = bool(asked.pop("yes", True))
    dry_run = bool(asked.pop("dry_run", False))
    deploy_command.deploy(DeployRequest("fruits", REGION, **asked), account.session, yes=yes, dry_run=dry_run)


def remove(account: DeployedAccount, **asked: Any) -> None:
    destroy("fruits", of(account), **({"yes": True} | asked))


def of(account: DeployedAccount, region: str = REGION) -> Account:
    return Account(account.session, region, print)


def start_cluster(account: DeployedAccount) -> str:
    instances = {
        "MasterInstanceType": "m5.xlarge",
        "SlaveInstanceType": "m5.xlarge",
        "InstanceCount": 2,
        "KeepJobFlowAliveWhenNoSteps": True,
    }
    tags = [{"Key": "lake", "Value": BUCKET}]
    return account.client("emr").run_job_flow(Name="fruits", Instances=instances, Tags=tags)["JobFlowId"]


def leave_security_groups(account: DeployedAccount) -> None:
    """Makes security groups as EMR does: they name each other, and EMR never removes them."""
    ec2 = account.client("ec2")
    vpc = of(account).stacks("network").resource("fruits-network", "Vpc")
    names = ("ElasticMapReduce-Master-Private", "ElasticMapReduce-Slave-Private")
    first, second = (
        ec2.create_security_group(GroupName=name, Description="EMR's", VpcId=vpc)["GroupId"] for name in names
    )
    for group, other in ((first, second), (second, first)):
        rule = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": [{"GroupId": other}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


def stacks_there(account: DeployedAccount) -> set[str]:
    found = account.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"] for stack in found if stack["StackStatus"] != "DELETE_COMPLETE"}


def test_a_deployment_comes_and_goes_and_its_lake_outlives_it(account, capsys) -> None:
    deploy(account, dry_run=True)
    assert "96.36 USD a month" in capsys.readouterr().out
    assert stacks_there(account) == set()

    with pytest.raises(CommandError, match="Nobody is here to say yes"):
        deploy(account, yes=False)
    assert stacks_there(account) == set()

    deploy(account, zones="1", ssm=False)
    told = capsys.readouterr().out
    assert told.startswith(f"To AWS account {ACCOUNT}, region {REGION}, bucket {BUCKET}, as ")
    assert "BLOCK_PUBLIC_ACCESS=1 forbids it" in told
    assert not of(account).blocks_public_access()
    assert len(stacks_there(account)) == 6
    s3 = account.client("s3")
    # What nodes talk to each other with; the private key is in the bucket alone.
    address = of(account).stacks("cluster").parameters("fruits-cluster")["Certificates"]
    assert address.startswith(f"s3://{BUCKET}/tls/")
    content = s3.get_object(Bucket=BUCKET, Key=address.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    key, chain, trusted = (zipfile.ZipFile(io.BytesIO(content)).read(f"{name}.pem") for name in CERTIFICATE_FILES)
    certificate = x509.load_pem_x509_certificate(chain)
    assert serialization.load_pem_private_key(key, None).public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(trusted))
    assert f"*.{REGION}.compute.internal" in str(certificate.extensions)
    assert "PRIVATE" not in told
    (rule,) = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    key = rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    connection = current_connection(Target.AWS)
    assert (connection.bucket, connection.region, connection.owner) == (BUCKET, REGION, ACCOUNT)

    # Typed again: what is not named stays as it was.
    deploy_command.deploy(
        DeployRequest("fruits", REGION, budget_usd=50), account.session, yes=True, block_public_access=True
    )
    assert of(account).blocks_public_access()
    assert f"bucket {BUCKET}" in capsys.readouterr().out
    parameters = of(account).stacks("network").parameters("fruits-network")
    assert (parameters["Zones"], parameters["Shell"]) == ("1", "no")
    assert of(account).stacks("cluster").parameters("fruits-cluster")["Certificates"] == address
    with pytest.raises(CommandError, match="choose another STACK"):
        deploy(account, bucket="another-lake")

    s3.put_object(Bucket=BUCKET, Key="raw/ingest_date=2026-11-22/Kiwi/1.jpg", Body=b"kiwi")
    cluster_id = start_cluster(account)
    with pytest.raises(CommandError, match=f"Clusters of this lake are up: {cluster_id}"):
        remove(account)
    account.client("emr").terminate_job_flows(JobFlowIds=[cluster_id])
    leave_security_groups(account)
    with pytest.raises(CommandError, match="ERASE_LAKE is 'another'"):
        remove(account, erase_lake="another")
    remove(account, dry_run=True)
    assert len(stacks_there(account)) == 6
    remove(account)
    assert f"keep the bucket {BUCKET}, for there is something in it" in capsys.readouterr().out
    assert stacks_there(account) == set()
    assert not account.environment_file.exists()
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="raw/")["KeyCount"] == 1
    assert account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"

    # The next deployment takes both again, and erases the lake only if it is named.
    deploy(account)
    assert f"the bucket {BUCKET} is there" in capsys.readouterr().out
    assert of(account).stacks("lake").outputs("fruits-lake")["KeyArn"] == key
    remove(account, erase_lake=BUCKET)
    assert s3.list_buckets()["Buckets"] == []
    assert f"and in 30 days its key {key}" in capsys.readouterr().out
    assert account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_an_erasure_that_broke_off_goes_on_when_the_same_is_typed_again(account, monkeypatch, capsys) -> None:
    deploy(account)
    key = of(account).stacks("lake").resource("fruits-lake", "Key")
    account.client("s3").put_object(Bucket=BUCKET, Key="raw/x", Body=b"x")

    def breaks(*_: object) -> None:
        raise CommandError("The token has expired.")

    for broken in ("erase_bucket", "forget_key"):
        with monkeypatch.context() as patched:
            patched.setattr(Account, broken, breaks)
            with pytest.raises(CommandError, match="has expired"):
                remove(account, erase_lake=BUCKET)
        assert stacks_there(account) == {"fruits-lake"}
    remove(account, erase_lake=BUCKET)
    assert f"(the bucket {BUCKET} is gone already), and in 30 days its key {key}" in capsys.readouterr().out
    assert stacks_there(account) == set()
    assert account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert not account.environment_file.exists()


def test_policies_that_people_attached_are_detached_before_the_first_stack_goes(account, capsys) -> None:
    iam = account.client("iam")
    iam.create_role(RoleName="ci", AssumeRolePolicyDocument="{}")
    iam.create_user(UserName="ann")
    iam.create_group(GroupName="analysts")
    own = iam.create_policy(PolicyName="mwaa", PolicyDocument=ANY_POLICY)["Policy"]["Arn"]
    deploy(account)
    remove(account, dry_run=True)
    assert "detach" not in capsys.readouterr().out

    publisher, analyst = (f"arn:aws:iam::{ACCOUNT}:policy/fruits-{who}" for who in ("publisher", "analyst"))
    iam.attach_role_policy(RoleName="ci", PolicyArn=publisher)
    iam.attach_user_policy(UserName="ann", PolicyArn=analyst)
    iam.attach_group_policy(GroupName="analysts", PolicyArn=analyst)
    iam.attach_role_policy(RoleName="fruits-airflow", PolicyArn=own)
    iam.put_role_policy(RoleName="fruits-airflow", PolicyName="more", PolicyDocument=ANY_POLICY)
    remove(account, dry_run=True)
    told = capsys.readouterr().out
    assert [line.strip() for line in told.splitlines() if "the policy" in line] == [
        "detach the policy fruits-analyst from the group analysts",
        "detach the policy fruits-publisher from the role ci",
        "detach the policy mwaa from the role fruits-airflow",
        "remove the policy more that somebody put into the role fruits-airflow",
        "detach the policy fruits-analyst from the user ann",
    ]
    remove(account)
    assert stacks_there(account) == set()
    assert [policy["PolicyName"] for policy in iam.list_policies(Scope="Local")["Policies"]] == ["mwaa"]
    assert iam.list_attached_role_policies(RoleName="ci")["AttachedPolicies"] == []


def test_a_second_lake_touches_nothing_of_the_first(account, monkeypatch) -> None:
    deploy(account)
    first = account.environment_file.read_text()
    # Roles are the whole account's, stacks a region's: what would fail half-way is refused before anything is made.
    with pytest.raises(
        CommandError, match="The role fruits-emr-service is there already, and eu-north-1 has no stack fruits-cluster"
    ):
        deploy_command.deploy(DeployRequest("fruits", "eu-north-1"), account.session, dry_run=True)
    with pytest.raises(CommandError, match="There is nothing called 'fruits' in region eu-north-1"):
        destroy("fruits", of(account, "eu-north-1"), yes=True)
    assert "fruits-budget" in stacks_there(account)

    second = DeployRequest("fruits-2", REGION, zones="1", ssm=False)
    with pytest.raises(CommandError, match=f"is of another lake, {BUCKET}, .* FRUITS_ENV_FILE=fruits-2-lake.env"):
        deploy_command.deploy(second, account.session, yes=True)
    assert len(stacks_there(account)) == 6
    other = account.environment_file.with_name("fruits-2-lake.env")
    monkeypatch.setenv("FRUITS_ENV_FILE", str(other))
    deploy_command.deploy(second, account.session, yes=True)
    assert f"FRUITS_LAKE_BUCKET=fruits-2-lake-{ACCOUNT}-{REGION}\n" in other.read_text()
    destroy("fruits-2", of(account), yes=True)
    assert not other.exists()
    assert account.environment_file.read_text() == first
    assert len(stacks_there(account)) == 6


def test_a_lake_has_one_deployment_and_its_file_is_of_that(account, monkeypatch) -> None:
    deploy(account, zones="1", ssm=False)
    second = DeployRequest("fruits-2", REGION, bucket=BUCKET, zones="1", ssm=False)
    with pytest.raises(
        CommandError, match=f"The bucket {BUCKET} is the lake of fruits-lake. .*unset FRUITS_LAKE_BUCKE"
    ):
        deploy_command.deploy(second, account.session, dry_run=True)

    # As if two had come to have one lake all the same.
    first = account.environment_file.read_text()
    with monkeypatch.context() as patched:
        patched.setattr(Account, "other_lakes_with", lambda *_: [])
        with pytest.raises(CommandError, match=r"fruits\.env is of another lake"):
            deploy_command.deploy(second, account.session, yes=True)
        patched.setenv("FRUITS_ENV_FILE", str(account.environment_file.with_name("fruits-2-lake.env")))
        deploy_command.deploy(second, account.session, yes=True)
    with pytest.raises(CommandError, match="is the lake of fruits-lake, too"):
        destroy("fruits-2", of(account), erase_lake=BUCKET, dry_run=True)
    destroy("fruits-2", of(account), yes=True)
    assert account.environment_file.read_text() == first
    account.client("s3").head_bucket(Bucket=BUCKET)
    assert len(stacks_there(account)) == 6


def test_a_key_stays_while_another_lake_is_encrypted_with_it(account, monkeypatch, capsys) -> None:
    deploy(account, zones="1", ssm=False)
    key = of(account).stacks("lake").outputs("fruits-lake")["KeyArn"]
    with monkeypatch.context() as patched:
        patched.setenv("FRUITS_ENV_FILE", str(account.environment_file.with_name("fruits-2-lake.env")))
        second = DeployRequest("fruits-2", REGION, key=key, zones="1", ssm=False)
        deploy_command.deploy(second, account.session, yes=True)
    remove(account, erase_lake=BUCKET)
    assert f"its key {key.rpartition('/')[2]} stays, for it is that of fruits-2-lake, too" in capsys.readouterr().out
    assert account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_a_removal_that_broke_off_is_ended_before_anything_is_made_anew(account, monkeypatch) -> None:
    monkeypatch.setattr(Stacks, "is_half_removed", lambda *_: True)
    with pytest.raises(CommandError, match="The removal of 'fruits' broke off"):
        deploy(account, dry_run=True)


def test_an_empty_lake_stays_while_another_deployment_has_it(account, monkeypatch, capsys) -> None:
    deploy(account, zones="1", ssm=False)
    monkeypatch.setattr(Account, "other_lakes_with", lambda *_: ["fruits-2-lake"])
    remove(account)
    assert f"keep the bucket {BUCKET}, for it is the lake of fruits-2-lake, too" in capsys.readouterr().out
    account.client("s3").head_bucket(Bucket=BUCKET)
    (key,) = account.client("kms").list_keys()["Keys"]
    assert account.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_what_is_known_of_a_lake_elsewhere_keeps_the_one_of_this_name_here(account, monkeypatch) -> None:
    deploy(account, zones="1", ssm=False)
    for variable, value in (
        ("FRUITS_LAKE_BUCKET", "fruits-lake-999999999999-eu-west-1"),
        ("FRUITS_LAKE_OWNER", "999999999999"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(variable, value)
            with pytest.raises(
                CommandError, match=f"'fruits' is another deployment: {variable} is {value}, and here it is "
            ):
                remove(account)
    assert len(stacks_there(account)) == 6


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_what_is_meant_for_aws_goes_nowhere_else(account, monkeypatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(CommandError, match=f"{variable} is 'http://127.0.0.1:9'"):
        session_of_caller()
    # As a profile may say it, too.
    with pytest.raises(CommandError, match=r"What is meant for AWS \(s3\) would go to http://127\.0\.0\.1:9\."):
        of(account).client("s3")


def test_what_airflow_must_be_given_again_is_told(account, capsys) -> None:
    deploy(account, zones="1", ssm=False)
    assert "Next: `make publish TARGET=aws`" in capsys.readouterr().out
    deploy(account)
    assert f"Written: {account.environment_file}. It says what it said before." in capsys.readouterr().out
    written = account.environment_file.read_text()
    account.environment_file.write_text(
        written.replace("FRUITS_SECURITY_CONFIGURATION=", "FRUITS_SECURITY_CONFIGURATION=old-")
    )
    deploy(account)
    assert "than before: FRUITS_SECURITY_CONFIGURATION. Give these lines to Airflow" in capsys.readouterr().out
    assert account.environment_file.read_text() == written


def test_an_empty_lake_goes_and_its_key_can_be_taken_back(account) -> None:
    deploy(account)
    key = of(account).stacks("lake").resource("fruits-lake", "Key")
    remove(account)
    assert account.client("s3").list_buckets()["Buckets"] == []
    assert account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    with pytest.raises(CommandError, match="There is nothing called 'fruits'"):
        remove(account)


def test_a_network_that_is_there_must_bear_emrs_tag(account, capsys) -> None:
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    with pytest.raises(CommandError, match=f"aws ec2 create-tags --resources {vpc} {subnet} "):
        deploy(account, subnets=(subnet,))
    ec2.create_tags(
        Resources=[vpc, subnet], Tags=[{"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}]
    )
    deploy(account, subnets=(subnet,))
    assert "has no S3 gateway endpoint" in capsys.readouterr().out
    assert "fruits-network" not in stacks_there(account)
    # It is remembered.
    deploy(account)
    assert "fruits-network" not in stacks_there(account)
    assert f"FRUITS_SUBNET_ID={subnet}\n" in account.environment_file.read_text()
    # A network of our own is had for the asking, and told of when it idles.
    deploy(account, subnets=("make",))
    capsys.readouterr()
    deploy(account, subnets=(subnet,))
    told = capsys.readouterr().out
    assert "leave fruits-network, in which clusters would run no more (96.36 USD a month)" in told
    assert "costs about 97 USD a month" in told
    deploy(account)
    assert "leave fruits-network" in capsys.readouterr().out
    assert f"FRUITS_SUBNET_ID={subnet}\n" in account.environment_file.read_text()
    remove(account)
    assert stacks_there(account) == set()
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]


def test_another_airflow_and_nodes_without_tls_are_had_for_the_asking(account, capsys) -> None:
    deploy(account, certificates="none", airflow="airflow-env.amazonaws.com")
    assert "nodes talk without TLS" in capsys.readouterr().out
    security = account.properties["AWS::EMR::SecurityConfiguration"][-1]["SecurityConfiguration"][
        "EncryptionConfiguration"
    ]
    assert security["EnableInTransitEncryption"] in (False, "false")
    assert account.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    # MWAA takes the role for environments of this account and region alone.
    (trust,) = account.client("iam").get_role(RoleName="fruits-airflow")["Role"]["AssumeRolePolicyDocument"][
        "Statement"
    ]
    assert trust["Principal"] == {"Service": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]}
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:airflow:{REGION}:{ACCOUNT}:environment/*"},
    }


def test_where_cloudformation_knows_no_budget_one_is_made_from_another_region(account, capsys) -> None:
    region = "eu-north-1"
    deploy_command.deploy(DeployRequest("fruits", region), account.session, yes=True)
    assert f"(by way of {REGION}, for CloudFormation makes none in {region})" in capsys.readouterr().out
    assert stacks_there(account) == {"fruits-budget"}
    (budget,) = account.properties["AWS::Budgets::Budget"]
    topic = budget["NotificationsWithSubscribers"][0]["Subscribers"][0]["Address"]
    assert topic == f"arn:aws:sns:{region}:{ACCOUNT}:fruits-alerts"
    destroy("fruits", of(account, region), yes=True)
    assert stacks_there(account) == set()
    assert of(account, region).stacks("lake").find("fruits-lake") is None


def test_a_bucket_elsewhere_is_refused(account) -> None:
    s3 = account.session.client("s3", region_name="eu-west-3")
    s3.create_bucket(Bucket="fruits-far", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    with pytest.raises(CommandError, match="is in eu-west-3, and FRUITS_AWS_REGION is eu-west-1"):
        deploy(account, bucket="fruits-far")

    # AWS itself answers like this in another region than the bucket's, and moto does not.
    no_body = SimpleNamespace(stream=lambda: iter(()))

    def elsewhere(request: Any, **_: object) -> AWSResponse | None:
        if request.method != "HEAD" or ".eu-west-3." in request.url:
            return None
        return AWSResponse(request.url, 301, HeadersDict({"x-amz-bucket-region": "eu-west-3"}), no_body)

    account.session.events.register_first("before-send.s3", elsewhere)
    with pytest.raises(CommandError, match="is in eu-west-3, and FRUITS_AWS_REGION is eu-west-1"):
        deploy(account, bucket="fruits-far")


def test_a_bucket_that_encrypts_with_another_key_is_refused(account) -> None:
    s3, kms = account.client("s3"), account.client("kms")
    its, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    s3.create_bucket(Bucket="my-lake", CreateBucketConfiguration={"LocationConstraint": REGION})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": its}}
    s3.put_bucket_encryption(Bucket="my-lake", ServerSideEncryptionConfiguration={"Rules": [rule]})
    with pytest.raises(CommandError, match=f"my-lake encrypts with {its}, and KMS_KEY is {other}"):
        deploy(account, bucket="my-lake", key=other, dry_run=True)
    deploy(account, bucket="my-lake", key=its, dry_run=True)


def test_what_is_brought_along_must_be_there_before_anything_is_made(account) -> None:
    s3, kms = account.client("s3"), account.client("kms")
    missing = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-1234-1234-1234-123456789012"
    with pytest.raises(CommandError, match=f"KMS_KEY is '{missing}', and KMS does not show it"):
        deploy(account, key=missing, dry_run=True)
    key = kms.create_key()["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    with pytest.raises(CommandError, match="which is Disabled"):
        deploy(account, key=key["Arn"], dry_run=True)

    s3.create_bucket(Bucket="my-lake", CreateBucketConfiguration={"LocationConstraint": REGION})
    with pytest.raises(CommandError, match="nodes may read only the lake's"):
        deploy(account, bucket="my-lake", certificates="s3://others/tls/nodes.zip", dry_run=True)
    certificates = "s3://my-lake/tls/nodes.zip"
    with pytest.raises(CommandError, match=f"CERTIFICATES is '{certificates}', and S3 does not show it"):
        deploy(account, bucket="my-lake", certificates=certificates, dry_run=True)
    s3.put_object(Bucket="my-lake", Key="tls/nodes.zip", Body=b"zip")
    deploy(account, bucket="my-lake", certificates=certificates, dry_run=True)


class FailingCloudFormation:
    """Plays a CloudFormation that could not make a role, and says so in its events (newest first, as the real one)."""

    def __init__(self) -> None:
        self.made = False

    def describe_stacks(self, **_):
        if not self.made:
            error = {"Error": {"Code": "ValidationError", "Message": "Stack with id fruits-airflow does not exist"}}
            raise ClientError(error, "DescribeStacks")
        return {"Stacks": [{"StackName": "fruits-airflow", "StackId": "arn:stack", "StackStatus": "ROLLBACK_COMPLETE"}]}

    def create_stack(self, **_):
        self.made = True
        return {"StackId": "arn:stack"}

    def get_paginator(self, _):
        return self

    def paginate(self, **_):
        def event(name, status, reason, physical=""):
            kind = {"LogicalResourceId": name, "ResourceType": "AWS::IAM::Role", "PhysicalResourceId": physical}
            return kind | {"ResourceStatus": status, "ResourceStatusReason": reason}

        return [
            {
                "StackEvents": [
                    event("AirflowProfile", "CREATE_FAILED", "Resource creation cancelled"),
                    event("AirflowRole", "CREATE_FAILED", "fruits-airflow already exists in stack other"),
                    event("fruits-airflow", "CREATE_IN_PROGRESS", "User Initiated", "arn:stack"),
                    event("AirflowRole", "CREATE_FAILED", "an attempt of last week"),
                ]
            }
        ]


def test_what_cloudformation_could_not_make_is_told_with_its_own_reason_alone() -> None:
    with pytest.raises(StackFailedError) as failed:
        Stacks(FailingCloudFormation(), print, lambda _: None).put("fruits-airflow", "{}", {})
    told = str(failed.value)
    assert told.splitlines()[:2] == [
        "Stack fruits-airflow ended as ROLLBACK_COMPLETE:",
        "  AirflowRole (AWS::IAM::Role): fruits-airflow already exists in stack other",
    ]
    assert "last week" not in told
    assert "cancelled" not in told


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "Lake"}, "STACK is 'Lake'"),
        ({"name": "fruits-" + "x" * 40}, "32 characters at most"),
        ({"region": "us-east-1"}, "not inside the EU"),
        ({"region": "eu-west-2"}, "not inside the EU"),
        ({"bucket": "No_Bucket"}, "is no bucket's name"),
        (
            {"key": "arn:aws:kms:eu-west-3:123456789012:key/12345678-1234-1234-1234-123456789012"},
            "a KMS key in eu-west-1",
        ),
        ({"subnets": ("vpc-1",)}, "SUBNETS is 'vpc-1'"),
        ({"subnets": ("subnet-0abc", "make")}, "'make' alone"),
        ({"zones": "4"}, "ZONES is '4'"),
        ({"airflow": "me"}, "AIRFLOW is 'me'"),
        ({"certificates": "s3://b/raw/x.zip"}, "CERTIFICATES is"),
        ({"email": "nobody"}, "ALERT_EMAIL is 'nobody'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_aws_is_asked(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        DeployRequest(**({"name": "fruits", "region": REGION} | asked))
