"""Each role may do what the product does with it, and nothing that only another needs, or nobody."""

from __future__ import annotations

import ast
import json

import botocore.session
import pytest
from botocore import xform_name

from fruit_contract import lake
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.settings import Settings
from local_cloud.project import PROJECT
from tests.bootstrap.conftest import ACCOUNT, BUCKET, REGION, DeployedAccount
from tests.bootstrap.policy_evaluator import Request, as_list, is_allowed

pytestmark = pytest.mark.slow

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/the-lakes"
DAY = "ingest_date=2026-11-22"
IMAGE = f"raw/{DAY}/Kiwi/1.jpg"
OURS, OTHERS, UNTAGGED = "j-OURS", "j-OTHERS", "j-UNTAGGED"
CLUSTER_TAGS = {OURS: {"product": "fruits", "lake": BUCKET}, OTHERS: {"product": "fruits", "lake": "another-lake"}, UNTAGGED: {}}
ROLES = ("airflow", "emr-nodes", "publisher", "deliverer", "operator", "analyst")
EVERY_PREFIX = ("raw", "features", "rejected", "moments", "ledger", "pca", "projections", "runs", "reports", "code", "logs")


def asked(action: str, resource: str, **context: str) -> Request:
    """A request over TLS, in the lake's region unless the context names another."""
    usual = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3", "aws:RequestedRegion": REGION, "aws:PrincipalAccount": ACCOUNT}
    usual |= {"aws:ResourceAccount": ACCOUNT}
    return Request(action, resource, usual | context)


def on_object(action: str, key: str, bucket: str = BUCKET, **context: str) -> Request:
    return asked(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}", **context)


def listing(prefix: str, bucket: str = BUCKET) -> Request:
    return asked("s3:ListBucket", f"arn:aws:s3:::{bucket}", **{"s3:prefix": prefix})


def on_cluster(action: str, cluster_id: str, region: str = REGION, **context: str) -> Request:
    tags = {f"elasticmapreduce:ResourceTag/{name}": value for name, value in CLUSTER_TAGS[cluster_id].items()}
    arn = f"arn:aws:elasticmapreduce:{region}:{ACCOUNT}:cluster/{cluster_id}"
    return asked(f"elasticmapreduce:{action}", arn, **{"aws:RequestedRegion": region}, **tags, **context)


def new_cluster(action: str, tags: dict[str, str], region: str = REGION) -> Request:
    context = {f"elasticmapreduce:RequestTag/{name}": value for name, value in tags.items()}
    return asked(f"elasticmapreduce:{action}", "*", **{"aws:RequestedRegion": region}, **context)


def pass_role(role: str, service: str) -> Request:
    return asked("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{role}", **{"iam:PassedToService": service})


def with_key(action: str, through: str | None, key: str = KEY) -> Request:
    return asked(f"kms:{action}", key, **({"kms:ViaService": f"{through}.{REGION}.amazonaws.com"} if through else {}))


def session_on(node_tags: dict[str, str], *, document_is_checked: str = "true") -> Request:
    tags = {f"ssm:resourceTag/{name}": value for name, value in node_tags.items()}
    arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"
    return asked("ssm:StartSession", arn, **tags, **{"ssm:SessionDocumentAccessCheck": document_is_checked})


def with_document(name: str) -> Request:
    return asked("ssm:StartSession", f"arn:aws:ssm:{REGION}::document/{name}")


def tags_of_request() -> dict[str, str]:
    settings = Settings(lake_bucket=BUCKET)
    return {tag["Key"]: tag["Value"] for tag in cluster_request(settings, PinnedRelease("abc", "0" * 64), "run", ["2026-11-22"])["Tags"]}


READS = {
    "airflow": [
        *(f"{table}/{DAY}/x" for table in ("features", "rejected", "moments", "ledger", "reports")),
        "pca/current.json",
        f"projections/pca_version=1/{DAY}/x",
        "runs/r.json",
        "logs/j-1/steps/s-1/stderr.gz",
        "code/current.json",
        "code/abc/release.json",
    ],
    "emr-nodes": [
        IMAGE,
        "code/abc/lib.zip",
        lake.node_start_key("abc"),
        "logs/j-1/steps/s-1/stderr.gz",
        *(f"{table}/{DAY}/x" for table in ("features", "moments", "ledger")),
        "rejected/x",
        "pca/current.json",
        "projections/x",
    ],
    "publisher": ["code/current.json", "code/abc/release.json"],
    "deliverer": [f"raw/{DAY}/_manifest.csv", IMAGE],
    "operator": ["logs/j-1/node/i-1/syslog.gz", f"reports/{DAY}/index.html", "runs/r.json"],
    "analyst": [f"features/{DAY}/category=Kiwi/x.parquet", f"projections/pca_version=1/{DAY}/x", "pca/current.json", f"ledger/{DAY}/x"],
}
WRITES = {
    "airflow": [f"reports/{DAY}/index.html", "runs/r.json", lake.node_start_key("abc"), "runs/_claims/r.json", "runs/_measured_speed.json"],
    "emr-nodes": [
        *(f"{table}/{DAY}/x" for table in ("features", "rejected", "moments", "ledger", "projections")),
        "pca/current.json",
        "runs/_steps/r/x.json",
        "runs/_progress/r/x.json",
        "runs/_failures/r/x.json",
        "logs/j-1/steps/s-1/stderr.gz",
    ],
    "publisher": ["code/abc/lib.zip", "code/current.json"],
    "deliverer": [IMAGE, f"raw/{DAY}/_SUCCESS"],
    "operator": [],
    "analyst": [],
}
REMOVES = {
    "airflow": ["runs/_claims/r.json"],
    "emr-nodes": [f"features/{DAY}/x", f"projections/pca_version=1/{DAY}/x", f"moments/{DAY}/x", "pca/version=1/model.parquet"],
    "publisher": [],
    "deliverer": [f"raw/{DAY}/_SUCCESS"],
    "operator": [],
    "analyst": [],
}
LISTS = {
    "airflow": EVERY_PREFIX,
    "emr-nodes": EVERY_PREFIX,
    "publisher": ("code",),
    "deliverer": ("raw",),
    "operator": ("logs", "reports", "runs"),
    "analyst": ("features", "projections", "pca", "ledger"),
}
# What Airflow asks EMR for. A test compares the names with the calls in the code.
DRIVES = (
    "AddJobFlowSteps",
    "CancelSteps",
    "DescribeCluster",
    "DescribeStep",
    "ListInstanceFleets",
    "ListInstances",
    "ListSteps",
    "TerminateJobFlows",
)
LOOKS_BY_HAND = (
    "CancelSteps",
    "CreatePersistentAppUI",
    "DescribeCluster",
    "DescribePersistentAppUI",
    "DescribeStep",
    "GetPersistentAppUIPresignedURL",
    "ListBootstrapActions",
    "ListInstanceFleets",
    "ListInstances",
    "ListSteps",
    "TerminateJobFlows",
)
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


def objects(role: str) -> list[Request]:
    return [
        *(on_object("GetObject", key) for key in READS[role]),
        *(on_object("PutObject", key) for key in WRITES[role]),
        *(on_object("DeleteObject", key) for key in REMOVES[role]),
        *(listing(f"{prefix}/{DAY}/") for prefix in LISTS[role]),
        with_key("Decrypt", "s3"),
        *([with_key("GenerateDataKey", "s3")] if WRITES[role] else []),
    ]


ALLOWED: dict[str, list[Request]] = {role: objects(role) for role in ROLES}
ALLOWED["airflow"] += [
    *(new_cluster(action, tags_of_request()) for action in ("RunJobFlow", "AddTags")),
    # Of the cluster that RunJobFlow is about to make.
    *(
        asked(f"elasticmapreduce:{action}", f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/*")
        for action in ("PutAutoTerminationPolicy", "PutManagedScalingPolicy")
    ),
    *(on_cluster(action, OURS) for action in (*DRIVES, "PutAutoTerminationPolicy", "PutManagedScalingPolicy")),
    asked("elasticmapreduce:ListClusters", "*"),
    asked("elasticmapreduce:DescribeSecurityConfiguration", "*"),
    pass_role("fruits-emr-service", "elasticmapreduce.amazonaws.com"),
    pass_role("fruits-emr-nodes", "ec2.amazonaws.com"),
    *(asked(f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:fruits-image-batches") for action in ("ReceiveMessage", "DeleteMessage")),
    asked("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:fruits-alerts"),
    with_key("GenerateDataKey", "sns"),
]
ALLOWED["emr-nodes"] += [
    on_object("AbortMultipartUpload", "logs/j-1/x.gz"),
    with_key("GenerateDataKey", None),
    with_key("Decrypt", None),
    *(
        asked(action, "*")
        for action in ("ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:OpenDataChannel")
    ),
]
ALLOWED["operator"] += [
    *(on_cluster(action, OURS) for action in LOOKS_BY_HAND),
    asked("elasticmapreduce:ListClusters", "*"),
    session_on(CLUSTER_TAGS[OURS]),
    with_document("AWS-StartPortForwardingSession"),
    asked("ssm:TerminateSession", f"arn:aws:ssm:{REGION}:{ACCOUNT}:session/${{aws:userid}}-1"),
]
ALLOWED["analyst"] += [listing(prefix) for prefix in LISTS["analyst"]]
for _role in ROLES:
    ALLOWED[_role].append(asked("s3:GetBucketLocation", f"arn:aws:s3:::{BUCKET}"))

FOR_NOBODY = [
    # Clusters that are not this lake's.
    *(on_cluster(action, cluster_id) for action in sorted({*DRIVES, *LOOKS_BY_HAND}) for cluster_id in (OTHERS, UNTAGGED)),
    *(
        on_cluster(action, cluster_id, **{f"elasticmapreduce:RequestTag/{name}": value for name, value in CLUSTER_TAGS[OURS].items()})
        for action in ("AddTags", "PutAutoTerminationPolicy", "PutManagedScalingPolicy")
        for cluster_id in (OTHERS, UNTAGGED)
    ),
    *(on_cluster(action, OURS) for action in OTHER_EMR_ACTIONS),
    *(on_cluster(action, OURS, region="us-east-1") for action in DRIVES),
    *(new_cluster("RunJobFlow", tags) for tags in ({}, {"product": "fruits"}, {"product": "fruits", "lake": "another-lake"})),
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
    *(on_object("PutObject", f"{prefix}/x", **{"s3:x-amz-server-side-encryption": "AES256"}) for prefix in EVERY_PREFIX),
    *(
        on_object(
            "PutObject",
            f"{prefix}/x",
            **{"s3:x-amz-server-side-encryption": "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id": "another"},
        )
        for prefix in EVERY_PREFIX
    ),
    *(on_object("PutObject", f"{prefix}/x", **{"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}) for prefix in EVERY_PREFIX),
    *(on_object(action, IMAGE) for action in ("PutObjectAcl", "GetObjectVersion", "BypassGovernanceRetention", "PutObjectTagging")),
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
    *(with_document(name) for name in ("SSM-SessionManagerRunShell", "AWS-StartSSHSession", "AWS-StartInteractiveCommand")),
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
    """What is for nobody, and what is for others only."""
    own = {(request.action, request.resource, tuple(sorted(request.context.items()))) for request in ALLOWED[role]}
    of_others = [
        *(
            request
            for other in ROLES
            for request in ALLOWED[other]
            if (request.action, request.resource, tuple(sorted(request.context.items()))) not in own and not also_its_own(role, request)
        )
    ]
    return [*FOR_NOBODY, *of_others]


def also_its_own(role: str, request: Request) -> bool:
    """What a role may do below a prefix that it works on is more than the examples above."""
    key = request.resource.removeprefix(f"arn:aws:s3:::{BUCKET}/")
    prefix = key.partition("/")[0]
    if prefix == lake.RUNS and role == "emr-nodes":
        return False
    match request.action:
        case "s3:GetObject":
            # Of releases Airflow reads no more than the list of their files.
            return prefix in {name.partition("/")[0] for name in READS[role]} - ({"code"} if role == "airflow" else set())
        case "s3:PutObject":
            return prefix in {name.partition("/")[0] for name in WRITES[role]}
        case "s3:DeleteObject":
            return prefix in {name.partition("/")[0] for name in REMOVES[role]} and role in {"emr-nodes", "deliverer"}
        case "s3:AbortMultipartUpload" | "kms:GenerateDataKey":
            return role == "emr-nodes"
        case "s3:ListBucket":
            return request.context["s3:prefix"].partition("/")[0] in LISTS[role] and (
                role == "emr-nodes" or "/" in request.context["s3:prefix"]
            )
    return False


def named(request: Request) -> str:
    return f"{request.action} on {request.resource} with {json.dumps(dict(request.context), sort_keys=True)}"


@pytest.fixture
def statements(deployed: DeployedAccount, request: pytest.FixtureRequest):
    """What is said of the role, with a name for its key that requests can use."""
    (key,) = {entry["KeyId"] for entry in deployed.client("kms").list_keys()["Keys"]}
    text = json.dumps(deployed.statements(request.param))
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
    """Each action of a policy is one that the product does, or stands here with its reason."""
    role, said = statements
    reasoned = {
        # Large files go up in parts, and a part that breaks off is taken back.
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:ListBucketMultipartUploads",
        # The rest of what Session Manager asks for, and what a broken session needs.
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssm:ResumeSession",
    }
    allowed = {action for statement in said if statement["Effect"] == "Allow" for action in as_list(statement["Action"])}
    assert allowed - reasoned - {request.action for request in ALLOWED[role]} == set()


@pytest.mark.parametrize("statements", [*ROLES, "emr-service"], indirect=True)
def test_every_allowed_action_exists_and_is_limited(statements) -> None:
    _, said = statements
    for statement in said:
        if statement["Effect"] == "Allow":
            assert not any("*" in action for action in as_list(statement["Action"])), statement["Sid"]
            assert "*" not in as_list(statement["Resource"]) or statement["Condition"], statement["Sid"]
        assert statement["Sid"].isalnum()


def test_only_emr_in_this_account_and_region_takes_the_service_role(deployed: DeployedAccount) -> None:
    (trust,) = deployed.client("iam").get_role(RoleName="fruits-emr-service")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "elasticmapreduce.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    assert trust["Condition"]["ArnLike"] == {"aws:SourceArn": f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:*"}


def test_emr_gives_nodes_their_role_alone_and_the_key_to_disks_alone(deployed: DeployedAccount) -> None:
    said = [statement for statement in deployed.statements("emr-service") if statement["Effect"] == "Allow"]
    key = next(statement["Resource"] for statement in said if "kms:Encrypt" in statement["Action"])
    assert is_allowed(pass_role("fruits-emr-nodes", "ec2.amazonaws.com"), said)
    assert is_allowed(asked("kms:CreateGrant", key, **{"kms:GrantIsForAWSResource": "true"}), said)
    assert not is_allowed(asked("kms:CreateGrant", key, **{"kms:GrantIsForAWSResource": "false"}), said)
    assert not is_allowed(pass_role("admin", "ec2.amazonaws.com"), said)


@pytest.mark.parametrize("what", ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"])
def test_only_the_lake_and_the_budget_speak_to_queue_and_topic(deployed: DeployedAccount, what: str) -> None:
    (properties,) = deployed.properties[what]
    (allowed,) = [statement for statement in properties["PolicyDocument"]["Statement"] if statement["Effect"] == "Allow"]
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


def test_what_airflow_asks_emr_for_is_what_its_code_calls() -> None:
    by_request = {request.action.removeprefix("elasticmapreduce:") for request in ALLOWED["airflow"] if "mapreduce" in request.action}
    # RunJobFlow asks for these two itself.
    assert called_below("emr", "plugins", "dags") == by_request - {"AddTags", "PutManagedScalingPolicy"}


def test_what_airflow_asks_s3_for_is_what_its_code_calls() -> None:
    by_request = {request.action.removeprefix("s3:") for request in ALLOWED["airflow"] if request.action.startswith("s3:")}
    called = called_below("s3", "plugins", "dags")
    assert {"ListBucket" if name.startswith("ListObjects") else name for name in called} == by_request


def called_below(service: str, *folders: str) -> set[str]:
    """Returns the operations of a service that the code below some folders names: it calls them, or asks for pages of them."""
    model = botocore.session.get_session().get_service_model(service)
    operations = {xform_name(name): name for name in model.operation_names}
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = [
        node.attr if isinstance(node, ast.Attribute) else node.value for node in nodes if isinstance(node, (ast.Attribute, ast.Constant))
    ]
    return {operations[name] for name in names if isinstance(name, str) and name in operations}
