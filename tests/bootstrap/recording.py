"""Reads what the parts of the product ask AWS for, as IAM names it, from what the local cloud noted during whole runs.

`recorded_requests.txt` has one line for each kind of request. The end-to-end tests fail for a request that needs
another right than these; the tests of the policies compare these with what each role may do. With
FRUITS_WRITE_REQUESTS=1 the tests add what is missing: empty the file first to record everything anew.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import botocore.session
from botocore.validate import ParamValidator

from fruit_contract import lake
from fruit_contract.regions import require_eu_region
from fruit_contract.release import RELEASE_MANIFEST
from local_cloud.keys import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

RECORDED = Path(__file__).parent / "recorded_requests.txt"
# What stands for the lake's bucket.
LAKE = "LAKE"
IAM_ACTIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObjects": "DeleteObject",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "UploadPart": "PutObject",
}
# What clients say of themselves and of how they send, or of an object as they like: of these there is no list.
OF_CLIENTS = ("x-amz-api-version", "x-amz-checksum-", "x-amz-meta-", "x-amz-sdk-", "x-amz-trailer", "x-amz-user-agent")
IN_PARTS = {"CompleteMultipartUpload", "UploadPart"}


@dataclass(frozen=True, order=True)
class Asked:
    """Describes a kind of request. `resource` is a key below the lake's bucket, an ARN without account and region, or
    *.
    """

    role: str
    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.role, self.action, self.resource, *(f"{key}={value}" for key, value in self.context)])

    @classmethod
    def read(cls, line: str) -> Asked:
        role, action, resource, *context = line.split(" ")
        return cls(
            role, action, resource, tuple((key, value) for key, _, value in (pair.partition("=") for pair in context))
        )


def recorded() -> list[Asked]:
    return [Asked.read(line) for line in RECORDED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def record_if_told(asked: set[Asked]) -> None:
    """Adds requests to those that are recorded if FRUITS_WRITE_REQUESTS is 1."""
    if os.environ.get("FRUITS_WRITE_REQUESTS") == "1":
        RECORDED.write_text(written({*recorded(), *asked}), encoding="utf-8")


def written(asked: Iterable[Asked]) -> str:
    head = (
        "# What the product asked AWS for, by role. Written by the tests with FRUITS_WRITE_REQUESTS=1: see "
        "recording.py.\n"
    )
    return head + "".join(f"{line}\n" for line in sorted(map(str, asked)))


def requests_to_s3(log: Path, buckets: frozenset[str]) -> set[Asked]:
    """Returns the kinds of requests of all roles. Raises ValueError for one that S3's service model does not know."""
    found: set[Asked] = set()
    for entry in _entries(log):
        found.update(_asked_of_s3(entry, buckets))
    return found


def requests_to_emr(log: Path, buckets: frozenset[str]) -> set[Asked]:
    """Returns the kinds of requests of all roles; EMR itself has refused what its service model does not know."""
    found: set[Asked] = set()
    for entry in _entries(log):
        found.update(_asked_of_emr(entry, buckets))
    return found


def kind_of_key(key: str) -> str:
    """Returns a key, or its beginning, with * for what another run, date, image or release names differently, and for
    everything deeper.

    The list of a release's files is a kind of its own, because Airflow reads nothing else of a release.
    """
    prefix, *steps = key.split("/")
    kinds = [_kind_of_step(step) for step in steps]
    if len(kinds) > 1 and kinds[1] and (prefix != lake.CODE or kinds[1:] != [RELEASE_MANIFEST]):
        kinds = [kinds[0], "*"]
    return "/".join([prefix, *kinds])


def _kind_of_step(step: str) -> str:
    name, is_partition, _ = step.partition("=")
    if is_partition:
        return f"{name}=*"
    return "*" + "".join(re.findall(r"\.[a-z]+$", step)) if re.search(r"\d", step) else step


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["who"] != Role.OWNER:
                require_eu_region(entry["region"])
                yield entry


def _asked_of_s3(entry: Mapping[str, Any], buckets: frozenset[str]) -> Iterator[Asked]:
    bucket, _, key = unquote(entry["path"])[1:].partition("/")
    query = dict(parse_qsl(entry["query"], keep_blank_values=True))
    query.pop("x-id", None)
    operation = _operation(entry["method"], bool(bucket), bool(key), frozenset({*query, *entry["headers"]}))
    _require_known(operation, bucket, key, query, entry["headers"])
    role, action = entry["who"], f"s3:{IAM_ACTIONS.get(operation, operation)}"
    if bucket not in buckets:
        raise ValueError(f"{role} asks the bucket {bucket!r} for {operation}.")
    encryption = tuple(
        sorted((f"s3:{name}", value) for name, value in entry["headers"].items() if "encryption" in name)
    )
    if not key and not entry["keys"]:
        prefix = (("s3:prefix", kind_of_key(query["prefix"])),) if "prefix" in query else ()
        yield Asked(role, action, LAKE, prefix)
        return
    for each in entry["keys"] or [key]:
        yield Asked(role, action, f"{LAKE}/{kind_of_key(each)}", encryption)
    if action == "s3:GetObject" and entry["status"] == 404:
        # S3 says that an object is not there to those alone who may list its name; to others it says 403.
        yield Asked(role, "s3:ListBucket", LAKE, (("s3:prefix", kind_of_key(key)),))
    if action == "s3:GetObject" or operation in IN_PARTS:
        yield Asked(role, "kms:Decrypt", "key", (("kms:ViaService", "s3"),))
    if action == "s3:PutObject":
        yield Asked(role, "kms:GenerateDataKey", "key", (("kms:ViaService", "s3"),))
    if operation == "CopyObject":
        source = unquote(entry["headers"]["x-amz-copy-source"]).removeprefix("/").partition("/")[2]
        yield Asked(role, "s3:GetObject", f"{LAKE}/{kind_of_key(source)}")


def _asked_of_emr(entry: Mapping[str, Any], buckets: frozenset[str]) -> Iterator[Asked]:
    role, action, body = entry["who"], entry["action"], entry["body"]
    if action != "RunJobFlow":
        names_cluster = any(name in body for name in ("ClusterId", "JobFlowId", "JobFlowIds", "ResourceId"))
        for tags in entry["tags"].values() if names_cluster else [{}]:
            context = _tags("ResourceTag", tags, buckets)
            yield Asked(role, f"elasticmapreduce:{action}", "cluster/j-*" if names_cluster else "*", context)
        return
    context = _tags("RequestTag", {tag["Key"]: tag["Value"] for tag in body.get("Tags", ())}, buckets)
    yield Asked(role, "elasticmapreduce:RunJobFlow", "*", context)
    # What RunJobFlow asks for itself: rights to its parameters, for a cluster that has no id yet, and to hand on the
    # roles.
    if context:
        yield Asked(role, "elasticmapreduce:AddTags", "*", context)
    for policy in ("AutoTerminationPolicy", "ManagedScalingPolicy"):
        if policy in body:
            yield Asked(role, f"elasticmapreduce:Put{policy}", "cluster/*")
    yield Asked(role, "iam:PassRole", "role/emr-service", (("iam:PassedToService", "elasticmapreduce.amazonaws.com"),))
    yield Asked(role, "iam:PassRole", "role/emr-nodes", (("iam:PassedToService", "ec2.amazonaws.com"),))


def _tags(kind: str, tags: Mapping[str, str], buckets: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Returns the two tags that policies ask for."""
    lake_tag = {"lake": LAKE if tags["lake"] in buckets else tags["lake"]} if "lake" in tags else {}
    known = {name: tags[name] for name in ("product",) if name in tags} | lake_tag
    return tuple(sorted((f"elasticmapreduce:{kind}/{name}", value) for name, value in known.items()))


@cache
def _s3() -> Any:
    return botocore.session.get_session().get_service_model("s3")


@cache
def _operation(method: str, has_bucket: bool, has_key: bool, names: frozenset[str]) -> str:
    """Returns the operation of S3's service model that a request is: the one of which it has the most marks."""
    model = _s3()
    marks: dict[str, set[str]] = {}
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, fixed = operation.http["requestUri"].partition("?")
        if (operation.http["method"], "{Bucket}" in path, "{Key+}" in path) != (method, has_bucket, has_key):
            continue
        shape = operation.input_shape
        needed = (
            {member.serialization.get("name") for key, member in shape.members.items() if key in shape.required_members}
            if shape
            else set()
        )
        needed = {name for name in needed if name not in {"Bucket", "Key", None}} - {
            "Delete",
            "CreateBucketConfiguration",
        }
        marks[name] = {part.partition("=")[0] for part in fixed.split("&") if part} - {"x-id"} | needed
    fitting = {name: found for name, found in marks.items() if found <= names}
    return max(fitting, key=lambda name: (len(fitting[name]), name != "ListObjects"))


def _require_known(operation: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
    """Raises ValueError if a query or a header does not belong to the operation, or holds what its model does not
    allow.
    """
    model = _s3().operation_model(operation)
    fixed = dict(parse_qsl(model.http["requestUri"].partition("?")[2], keep_blank_values=True))
    members = (
        {member.serialization.get("name"): name for name, member in model.input_shape.members.items()}
        if model.input_shape
        else {}
    )
    given = {name: value for name, value in {**query, **headers}.items() if name not in fixed}
    lower = {str(name).lower(): member for name, member in members.items()}
    unknown = sorted(name for name in given if name.lower() not in lower and not name.startswith(OF_CLIENTS))
    if unknown:
        raise ValueError(
            f"{operation} of {bucket}/{key} has {', '.join(unknown)}, which S3's service model does not know."
        )
    for name, value in given.items():
        shape = model.input_shape.members[lower[name.lower()]] if name.lower() in lower else None
        if shape is not None and shape.type_name == "string":
            report = ParamValidator().validate(value, shape)
            if report.has_errors() or (shape.enum and value not in shape.enum):
                raise ValueError(
                    f"{operation} of {bucket}/{key}: {name} is {value!r}, which S3's service model does not know."
                )
