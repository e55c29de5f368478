"""Checks that each role may do what the product does with it, and nothing that only another role or nobody needs.

`requests_of_roles` lists what the product does with each role.
"""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.settings import Settings
from tests.bootstrap.conftest import ACCOUNT, BUCKET, REGION, DeployedAccount
from tests.bootstrap.policy_evaluator import Request, as_list, is_allowed
from tests.bootstrap.requests_of_roles import (
    ALLOWED,
    ALSO,
    CLUSTER_TAGS,
    DRIVES,
    IMAGE,
    KEY,
    LOOKS_BY_HAND,
    OTHERS,
    OURS,
    ROLES,
    UNTAGGED,
    asked,
    listing,
    new_cluster,
    on_cluster,
    on_object,
    pass_role,
    session_on,
    where,
    with_document,
    with_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bootstrap.policy_evaluator import Statement

pytestmark = pytest.mark.slow

EVERY_PREFIX = (
    "raw",
    "features",
    "rejected",
    "moments",
    "ledger",
    "pca",
    "projections",
    "runs",
    "reports",
    "code",
    "logs",
)


def tags_of_request() -> dict[str, str]:
    settings = Settings(lake_bucket=BUCKET)
    request = cluster_request(settings, PinnedRelease("abc", "0" * 64), "run", ["2026-11-22"], airflow_id="an-airflow")
    return {tag["Key"]: tag["Value"] for tag in request["Tags"]}


OTHER_EMR_ACTIONS = (
    "AddInstanceFleet",
    "AddInstanceGroups",
    "CreateSecurityConfiguration",
    "CreateStudio",
    "DeleteSecurityConfiguration",
    "GetClusterSessionCredentials",
    "GetOnClusterAppUIPresignedURL",
    "ModifyCluster",
    "ModifyInstanceFleet",
    "ModifyInstanceGroups",
    "PutAutoScalingPolicy",
    "PutBlockPublicAccessConfiguration",
    "RemoveManagedScalingPolicy",
    "RemoveTags",
    "SetTerminationProtection",
    "StartNotebookExecution",
)


FOR_NOBODY = [
    # Clusters that are not this lake's.
    *(
        on_cluster(action, cluster_id)
        for action in sorted({*DRIVES, *LOOKS_BY_HAND})
        for cluster_id in (OTHERS, UNTAGGED)
    ),
    *(
        on_cluster(
            action,
            cluster_id,
            **{f"elasticmapreduce:RequestTag/{name}": value for name, value in CLUSTER_TAGS[OURS].items()},
        )
        for action in ("AddTags", "PutAutoTerminationPolicy", "PutManagedScalingPolicy")
        for cluster_id in (OTHERS, UNTAGGED)
    ),
    *(on_cluster(action, OURS) for action in OTHER_EMR_ACTIONS),
    *(on_cluster(action, OURS, region="us-east-1") for action in DRIVES),
    *(
        new_cluster("RunJobFlow", tags)
        for tags in ({}, {"product": "fruits"}, {"product": "fruits", "lake": "another-lake"})
    ),
    *(
        new_cluster(action, tags_of_request(), region)
        for action in ("RunJobFlow", "AddTags")
        for region in ("us-east-1", "eu-west-2", "eu-central-1")
    ),
    # The lake's name, after it was given up and another account has taken it.
    *(
        on_object(action, f"{prefix}/x", **{"aws:ResourceAccount": "210987654321"})
        for action in ("GetObject", "PutObject", "DeleteObject")
        for prefix in EVERY_PREFIX
    ),
    # Other people's buckets, this one's settings, and ways in that nobody takes.
    *(on_object(action, IMAGE, "somebody-elses") for action in ("GetObject", "PutObject", "DeleteObject")),
    listing("raw/", "somebody-elses"),
    *(on_object(action, IMAGE, **{"aws:RequestedRegion": "us-east-1"}) for action in ("GetObject", "PutObject")),
    *(
        on_object(action, f"{prefix}/x", **{"aws:SecureTransport": "false"})
        for action in ("GetObject", "PutObject")
        for prefix in EVERY_PREFIX
    ),
    *(on_object("PutObject", f"{prefix}/x", **{"s3:TlsVersion": "1.1"}) for prefix in EVERY_PREFIX),
    *(
        on_object("PutObject", f"{prefix}/x", **{"s3:x-amz-server-side-encryption": "AES256"})
        for prefix in EVERY_PREFIX
        if prefix != lake.LOGS
    ),
    *(
        on_object(
            "PutObject",
            f"{prefix}/x",
            **{
                "s3:x-amz-server-side-encryption": "aws:kms",
                "s3:x-amz-server-side-encryption-aws-kms-key-id": "another",
            },
        )
        for prefix in EVERY_PREFIX
    ),
    *(
        on_object("PutObject", f"{prefix}/x", **{"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"})
        for prefix in EVERY_PREFIX
    ),
    *(on_object(action, "tls/x.zip") for action in ("PutObject", "DeleteObject")),
    *(
        on_object(action, IMAGE)
        for action in ("PutObjectAcl", "GetObjectVersion", "BypassGovernanceRetention", "PutObjectTagging")
    ),
    *(
        asked(f"s3:{action}", f"arn:aws:s3:::{BUCKET}")
        for action in (
            "DeleteBucket",
            "PutBucketPolicy",
            "DeleteBucketPolicy",
            "PutEncryptionConfiguration",
            "PutBucketPublicAccessBlock",
            "PutLifecycleConfiguration",
            "PutBucketNotification",
            "PutReplicationConfiguration",
            "PutBucketVersioning",
        )
    ),
    # Keys, roles, topics and queues that are not theirs.
    *(
        with_key(action, through, f"arn:aws:kms:{REGION}:{ACCOUNT}:key/anothers")
        for action in ("Decrypt", "GenerateDataKey")
        for through in ("s3", None)
    ),
    *(with_key(action, "s3") for action in ("DisableKey", "PutKeyPolicy", "ScheduleKeyDeletion", "CreateGrant")),
    *(
        pass_role(role, service)
        for role in ("admin", "fruits-airflow", "fruits-emr-nodes-2")
        for service in ("elasticmapreduce.amazonaws.com", "ec2.amazonaws.com")
    ),
    pass_role("fruits-emr-nodes", "lambda.amazonaws.com"),
    pass_role("fruits-emr-nodes", "elasticmapreduce.amazonaws.com"),
    pass_role("fruits-emr-service", "ec2.amazonaws.com"),
    *(
        asked(f"iam:{action}", f"arn:aws:iam::{ACCOUNT}:role/fruits-airflow")
        for action in (
            "AttachRolePolicy",
            "CreateRole",
            "PutRolePolicy",
            "UpdateAssumeRolePolicy",
            "CreateAccessKey",
            "CreateServiceLinkedRole",
        )
    ),
    asked("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
    asked("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:somebody-elses"),
    asked("sns:Subscribe", f"arn:aws:sns:{REGION}:{ACCOUNT}:fruits-alerts"),
    asked("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:fruits-image-batches"),
    asked("sqs:ReceiveMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:somebody-elses"),
    asked("sqs:PurgeQueue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:fruits-image-batches"),
    # Machines.
    session_on(CLUSTER_TAGS[OTHERS]),
    session_on(CLUSTER_TAGS[UNTAGGED]),
    session_on(CLUSTER_TAGS[OURS], document_is_checked="false"),
    with_document("AWS-StartPortForwardingSession", document_is_checked="false"),
    *(
        with_document(name)
        for name in ("SSM-SessionManagerRunShell", "AWS-StartSSHSession", "AWS-StartInteractiveCommand")
    ),
    *(
        asked(action, "*")
        for action in (
            "ssm:SendCommand",
            "ssm:GetParameter",
            "ssm:GetParameters",
            "secretsmanager:GetSecretValue",
            "ec2:RunInstances",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateVpc",
            "lambda:InvokeFunction",
        )
    ),
]


def denied(role: str) -> list[Request]:
    """Returns the requests that nobody may make, and those that only other roles may make."""
    own = {where(role, request) for request in ALLOWED[role]}
    of_others = [request for other in ROLES for request in ALLOWED[other] if where(role, request) not in own]
    return [*FOR_NOBODY, *of_others]


def elementary(statements: list[Statement]) -> Iterator[Statement]:
    """Yields what is allowed, in statements of one action, one resource and one value of each condition."""
    for statement in statements:
        if statement["Effect"] != "Allow":
            continue
        conditions = [
            (operator, key, as_list(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ]
        for action, resource, *values in product(
            as_list(statement["Action"]), as_list(statement["Resource"]), *(found for *_, found in conditions)
        ):
            condition: dict[str, dict[str, str]] = {}
            for (operator, key, _), value in zip(conditions, values, strict=True):
                condition.setdefault(operator, {})[key] = value
            yield {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}


def right(statement: Statement) -> str:
    """Returns a name for a right of one action, one resource and one value of each condition."""
    said = [
        value
        for keys in statement["Condition"].values()
        for key, value in keys.items()
        if key in {"s3:prefix", "kms:ViaService"}
    ]
    return " ".join([statement["Action"], statement["Resource"].rpartition(":")[2].removeprefix(f"{BUCKET}/"), *said])


def named(request: Request) -> str:
    return f"{request.action} on {request.resource} with {json.dumps(dict(request.context), sort_keys=True)}"


@pytest.fixture
def statements(deployed: DeployedAccount, request: pytest.FixtureRequest):
    """Returns a role and the statements about it, in which the key has a name that requests can use. They include those
    of the roles that it has besides: a reader of ledgers is an analyst, too.
    """
    (key,) = {entry["KeyId"] for entry in deployed.client("kms").list_keys()["Keys"]}
    said = [
        *deployed.statements(request.param),
        *(statement for other in ALSO.get(request.param, ()) for statement in deployed.statements(other)),
    ]
    text = json.dumps(said)
    return request.param, json.loads(text.replace(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}", KEY))


@pytest.mark.parametrize("statements", ROLES, indirect=True)
def test_a_role_may_do_what_the_product_does_with_it(statements) -> None:
    role, said = statements
    assert [named(request) for request in ALLOWED[role] if not is_allowed(request, said)] == []


@pytest.mark.parametrize("statements", ROLES, indirect=True)
def test_a_role_may_do_nothing_else(statements) -> None:
    role, said = statements
    refused = denied(role)
    assert len(refused) > 150
    assert [named(request) for request in refused if is_allowed(request, said)] == []


@pytest.mark.parametrize("statements", ROLES, indirect=True)
def test_every_right_is_used(statements) -> None:
    """Each action, on each resource, under each condition."""
    role, said = statements
    unused = [
        allowed for allowed in elementary(said) if not any(is_allowed(request, [allowed]) for request in ALLOWED[role])
    ]
    assert [right(allowed) for allowed in unused] == []


@pytest.mark.parametrize("statements", [*ROLES, "emr-service"], indirect=True)
def test_every_allowed_action_exists_and_is_limited(statements) -> None:
    _, said = statements
    for statement in said:
        if statement["Effect"] == "Allow":
            assert not any("*" in action for action in as_list(statement["Action"])), statement["Sid"]
            assert "*" not in as_list(statement["Resource"]) or statement["Condition"], statement["Sid"]
        assert statement["Sid"].isalnum()


def test_only_emr_in_this_account_and_region_takes_the_service_role(deployed: DeployedAccount) -> None:
    (trust,) = deployed.client("iam").get_role(RoleName="fruits-emr-service")["Role"]["AssumeRolePolicyDocument"][
        "Statement"
    ]
    assert trust["Principal"] == {"Service": "elasticmapreduce.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    assert trust["Condition"]["ArnLike"] == {"aws:SourceArn": f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:*"}


def test_emr_gives_nodes_their_role_alone_and_the_key_to_disks_alone(deployed: DeployedAccount) -> None:
    said = [statement for statement in deployed.statements("emr-service") if statement["Effect"] == "Allow"]
    key = next(statement["Resource"] for statement in said if "kms:Encrypt" in statement["Action"])
    assert is_allowed(pass_role("fruits-emr-nodes", "ec2.amazonaws.com"), said)
    # Without it, EMR takes no key for its logs.
    assert is_allowed(asked("kms:DescribeKey", key), said)
    assert is_allowed(asked("kms:CreateGrant", key, **{"kms:GrantIsForAWSResource": "true"}), said)
    assert not is_allowed(asked("kms:CreateGrant", key, **{"kms:GrantIsForAWSResource": "false"}), said)
    assert not is_allowed(pass_role("admin", "ec2.amazonaws.com"), said)


@pytest.mark.parametrize("what", ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"])
def test_only_the_lake_and_the_budget_speak_to_queue_and_topic(deployed: DeployedAccount, what: str) -> None:
    (properties,) = deployed.properties[what]
    (allowed,) = [
        statement for statement in properties["PolicyDocument"]["Statement"] if statement["Effect"] == "Allow"
    ]
    assert allowed["Principal"]["Service"] in {"s3.amazonaws.com", "budgets.amazonaws.com"}
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


def test_a_policy_is_as_long_as_iam_allows(deployed: DeployedAccount) -> None:
    for properties in deployed.properties["AWS::IAM::ManagedPolicy"]:
        assert len(json.dumps(properties["PolicyDocument"], separators=(",", ":"))) < 6144


def test_the_prefixes_are_those_of_the_lake() -> None:
    known = {
        lake.RAW,
        lake.FEATURES,
        lake.REJECTED,
        lake.MOMENTS,
        lake.LEDGER,
        lake.PCA,
        lake.PROJECTIONS,
        lake.RUNS,
        lake.REPORTS,
        lake.CODE,
    }
    assert set(EVERY_PREFIX) == known | {lake.LOGS}
