from __future__ import annotations

import ast
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import moto
import pytest
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.ec2.models.route_tables import RouteTable
from moto.iam.exceptions import DeleteConflictException
from moto.iam.models import ManagedPolicy

import fruit_cli.commands.deploy as deploy_command
from fruit_cli.aws import stacks
from fruit_cli.aws.account import SERVICE_LINKED_ROLES
from fruit_cli.aws.request import DeployRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bootstrap.policy_evaluator import Statement

ACCOUNT = "123456789012"
REGION = "eu-west-1"
BUCKET = f"fruits-lake-{ACCOUNT}-{REGION}"
# What moto does not make, or can't remove: it is remembered with what the template says of it.
REMEMBERED = {
    "AWS::Budgets::Budget",
    "AWS::EMR::SecurityConfiguration",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}


class Remembered(CloudFormationModel):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, *_, **__):
        return cls(cloudformation_json["Properties"].get("Name", resource_name))

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, *_, **__):
        return original_resource

    def delete(self, account_id, region_name):
        pass


@dataclass
class DeployedAccount:
    """Holds an empty account of moto's, in which `make deploy` was typed once."""

    session: Any
    environment_file: Path
    properties: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def client(self, service: str) -> Any:
        return self.session.client(service, region_name=REGION)

    def statements(self, who: str) -> list[Statement]:
        """Returns all statements about a role or about whoever has a policy, and what the bucket says to everybody."""
        iam = self.client("iam")
        if who in {"emr-service", "emr-nodes"}:
            own = iam.get_role_policy(RoleName=f"fruits-{who}", PolicyName="fruits")["PolicyDocument"]
        else:
            arn = f"arn:aws:iam::{ACCOUNT}:policy/fruits-{who}"
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            own = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        bucket = self.properties["AWS::S3::BucketPolicy"][0]["PolicyDocument"]["Statement"]
        return [*_plain(own)["Statement"], *bucket]


def _plain(document: Any) -> Any:
    # moto keeps a role's own policy as the text of a Python object.
    return document if isinstance(document, dict) else ast.literal_eval(document)


@pytest.fixture
def account(tmp_path, monkeypatch) -> Iterator[DeployedAccount]:
    yield from _account(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[DeployedAccount]:
    """Yields an account that the tests of a module share; they only read it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for account in _account(tmp_path_factory.mktemp("account"), monkeypatch):
            deploy_command.deploy(DeployRequest("fruits", REGION, email="team@example.org"), account.session, yes=True)
            yield account


def _account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployedAccount]:
    account = DeployedAccount(None, folder / "fruits.env")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody's")
    for name in ("AWS_PROFILE", "FRUITS_LAKE_BUCKET", "FRUITS_AWS_REGION", "FRUITS_LAKE_OWNER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FRUITS_ENV_FILE", str(account.environment_file))
    # moto knows CloudFormation's younger word not yet.
    monkeypatch.setattr(
        deploy_command, "template_of", lambda part: stacks.template_of(part).replace("RetainExceptOnCreate", "Retain")
    )
    found, parsed = parsing.resource_class_from_type, parsing.parse_resource
    monkeypatch.setattr(
        parsing, "resource_class_from_type", lambda kind: Remembered if kind in REMEMBERED else found(kind)
    )

    # moto's CloudFormation does not remove a route table, and then cannot remove its network.
    monkeypatch.setattr(
        RouteTable, "delete", lambda table, *_: table.ec2_backend.route_tables.pop(table.id, None), raising=False
    )

    # moto's CloudFormation leaves policies. AWS' removes them, but for those that somebody still has.
    def remove_policy(policy: ManagedPolicy, *_: object) -> None:
        if policy.attachment_count:
            raise DeleteConflictException("Cannot delete a policy attached to entities.")
        policy.backend.delete_policy(policy.arn)

    monkeypatch.setattr(ManagedPolicy, "delete", remove_policy, raising=False)

    def parse(*arguments):
        result = parsed(*arguments)
        if result:
            _, resource, kind = result
            account.properties[kind].append(dict(resource["Properties"]))
            if kind == "AWS::KMS::Key":
                # moto reads the policy of a key as text, and its tags as KMS, not as CloudFormation calls them.
                resource["Properties"]["KeyPolicy"] = json.dumps(resource["Properties"]["KeyPolicy"])
                tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in resource["Properties"]["Tags"]]
                resource["Properties"]["Tags"] = tags
        return result

    monkeypatch.setattr(parsing, "parse_resource", parse)
    with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        account.session = boto3.Session()
        # moto calls them otherwise than AWS does.
        for role in SERVICE_LINKED_ROLES.values():
            account.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
        yield account
