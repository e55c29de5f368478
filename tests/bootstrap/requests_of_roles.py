"""Lists what each role asks AWS for: what runs were recorded to ask for, and what no run of the tests does, with the
reason.
"""

from __future__ import annotations

from fruit_contract import lake
from local_cloud.keys import Role
from tests.bootstrap.conftest import ACCOUNT, BUCKET, REGION
from tests.bootstrap.policy_evaluator import Request
from tests.bootstrap.recording import LAKE, Asked, recorded

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/the-lakes"
BY_THE_KEY = {"s3:x-amz-server-side-encryption": "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id": KEY}
DAY = "ingest_date=2026-11-22"
IMAGE = f"raw/{DAY}/Kiwi/1.jpg"
OURS, OTHERS, UNTAGGED = "j-OURS", "j-OTHERS", "j-UNTAGGED"
CLUSTER_TAGS = {
    OURS: {"product": "fruits", "lake": BUCKET},
    OTHERS: {"product": "fruits", "lake": "another-lake"},
    UNTAGGED: {},
}
# What recordings call `queue` and `topic`.
NAMED = {"queue": f"sqs:{REGION}:{ACCOUNT}:fruits-image-batches", "topic": f"sns:{REGION}:{ACCOUNT}:fruits-alerts"}
ROLES = tuple(role.value for role in Role if role is not Role.OWNER)


def asked(action: str, resource: str, **context: str) -> Request:
    """Returns a request over TLS, in the lake's region unless the context names another."""
    usual = {
        "aws:SecureTransport": "true",
        "s3:TlsVersion": "1.3",
        "aws:RequestedRegion": REGION,
        "aws:PrincipalAccount": ACCOUNT,
    }
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


def with_document(name: str, *, document_is_checked: str = "true") -> Request:
    arn = f"arn:aws:ssm:{REGION}::document/{name}"
    return asked("ssm:StartSession", arn, **{"ssm:SessionDocumentAccessCheck": document_is_checked})


def done(asked_for: Asked) -> Request:
    """Returns what was recorded as a request in the account of these tests."""
    resource, context = asked_for.resource, dict(asked_for.context)
    kind, _, name = resource.partition("/")
    if kind == LAKE:
        resource = f"arn:aws:s3:::{BUCKET}{resource.removeprefix(LAKE)}"
    elif kind == "cluster":
        resource = f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:{resource.replace('j-*', OURS)}"
    elif kind == "role":
        resource = f"arn:aws:iam::{ACCOUNT}:role/fruits-{name}"
    elif kind in NAMED:
        resource = f"arn:aws:{NAMED[kind]}"
    elif kind == "key":
        resource, context = KEY, {"kms:ViaService": f"{context['kms:ViaService']}.{REGION}.amazonaws.com"}
    return asked(
        asked_for.action, resource, **{name: BUCKET if value == LAKE else value for name, value in context.items()}
    )


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
IN_A_SESSION = asked("ssmmessages:OpenDataChannel", f"arn:aws:ssm:{REGION}:{ACCOUNT}:session/${{aws:userid}}-1")
# What no run of the tests does, and why it is allowed all the same.
BY_HAND: dict[str, list[Request]] = {
    "airflow": [
        # The topic encrypts what it is told.
        *(with_key(action, "sns") for action in ("Decrypt", "GenerateDataKey")),
        # A step whose run is over, or that takes too long.
        on_cluster("CancelSteps", OURS),
        # Claims that a release before wrote, each in an object of its own, go when they are read.
        on_object("DeleteObject", "runs/_claims/r.json"),
    ],
    "emr-nodes": [
        # A certificate, disks of their own, and people who look in: nodes of a laptop have none.
        on_object("GetObject", "tls/x.zip"),
        *(with_key(action, None) for action in ("Decrypt", "GenerateDataKey")),
        asked("ssm:UpdateInstanceInformation", "*"),
        *(
            asked(f"ssmmessages:{verb}{kind}Channel", "*")
            for verb in ("Create", "Open")
            for kind in ("Control", "Data")
        ),
        IN_A_SESSION,
        # Files that are larger than those of the tests go up in parts, and one that breaks off is taken back.
        *(
            on_object("AbortMultipartUpload", f"{prefix}/x")
            for prefix in ("features", "rejected", "moments", "ledger", "pca", "projections", "logs")
        ),
        # What left a date or broke off, versions that are too many, what an earlier release left; and a step that fails
        # says why.
        *(
            on_object("DeleteObject", f"{prefix}/x")
            for prefix in ("features", "rejected", "ledger", "pca", "projections")
        ),
        on_object("PutObject", "runs/_failures/r/x.json"),
        # The lake of a release before is taken over.
        on_object("GetObject", "rejected/x"),
        # What EMR's own writer of logs asks for is not documented.
        on_object("GetObject", "logs/j-1/x.gz"),
        # It says how logs are to be encrypted: with the key that it was told, else as S3 does it.
        on_object("PutObject", "logs/j-1/x.gz", **BY_THE_KEY),
        on_object("PutObject", "logs/j-1/x.gz", **{"s3:x-amz-server-side-encryption": "AES256"}),
    ],
    "publisher": [on_object("AbortMultipartUpload", "code/abc/x")],
    "deliverer": [on_object("AbortMultipartUpload", IMAGE)],
    # A person does it all.
    "operator": [
        *(on_cluster(action, OURS) for action in LOOKS_BY_HAND),
        asked("elasticmapreduce:ListClusters", "*"),
        *(
            on_object("GetObject", key)
            for key in ("logs/j-1/node/i-1/syslog.gz", f"reports/{DAY}/index.html", "runs/r.json")
        ),
        *(listing(prefix) for prefix in ("logs/j-1/", "reports/", "runs/_failures/")),
        with_key("Decrypt", "s3"),
        session_on(CLUSTER_TAGS[OURS]),
        with_document("AWS-StartPortForwardingSession"),
        *(
            asked(f"ssm:{action}Session", f"arn:aws:ssm:{REGION}:{ACCOUNT}:session/${{aws:userid}}-1")
            for action in ("Terminate", "Resume")
        ),
        IN_A_SESSION,
    ],
    # Which versions there are.
    "analyst": [listing("pca/")],
    "ledger-reader": [listing("pca/")],
}
# The sweep asks of each cluster whose it is. Of those that are not this lake's AWS does not tell it, and it passes them
# over.
REFUSED = {
    Asked("airflow", "elasticmapreduce:DescribeCluster", "cluster/j-*"),
    Asked(
        "airflow",
        "elasticmapreduce:DescribeCluster",
        "cluster/j-*",
        (("elasticmapreduce:ResourceTag/lake", "their-lake"), ("elasticmapreduce:ResourceTag/product", "fruits")),
    ),
}
# Who reads ledgers has both policies.
ALSO = {"ledger-reader": {"analyst"}}
# On AWS every command asks where the bucket is before the first byte, and so do readers, and Hadoop on a node.
ALLOWED = {
    role: [
        *(done(known) for known in recorded() if known.role in {role, *ALSO.get(role, ())}),
        *BY_HAND[role],
        asked("s3:GetBucketLocation", f"arn:aws:s3:::{BUCKET}"),
    ]
    for role in ROLES
}


def where(role: str, request: Request) -> tuple[str, ...]:
    """Returns what tells a request from those that come with the same right. For objects, a role has a right to whole
    prefixes.
    """
    if request.action == "s3:ListBucket" and role != "emr-nodes":
        prefix, slash, _ = request.context.get("s3:prefix", "").partition("/")
        return request.action, prefix, slash
    if not request.action.startswith("s3:") or request.resource == f"arn:aws:s3:::{BUCKET}":
        return (
            request.action,
            request.resource,
            *(f"{name}={value}" for name, value in sorted(request.context.items()) if role != "emr-nodes"),
        )
    prefix, _, rest = request.resource.removeprefix(f"arn:aws:s3:::{BUCKET}/").partition("/")
    # Of releases Airflow reads no more than the list of their files; of what a run leaves a step writes its own part.
    if (role, prefix) in {("airflow", lake.CODE), ("emr-nodes", lake.RUNS)} or (role, request.action) == (
        "airflow",
        "s3:DeleteObject",
    ):
        return request.action, prefix, rest.partition("/")[0] if prefix == lake.RUNS else rest
    return request.action, prefix


KNOWN = {role: {where(role, request) for request in ALLOWED[role]} for role in ROLES}


def is_known(known: Asked) -> bool:
    """Says whether a request needs a right that its role needs anyway, or is one that AWS refuses without harm."""
    return known in REFUSED or where(known.role, done(known)) in KNOWN[known.role]
