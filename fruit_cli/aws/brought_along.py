"""Looks at what a person brings along for a deployment: a key, certificates, subnets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from fruit_cli.aws.certificates import PREFIX
from fruit_cli.aws.request import NO_CERTIFICATES
from fruit_cli.errors import CommandError
from fruit_contract.lake import split_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_cli.aws.account import Account

EMR_TAG: Final = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}
_SYMMETRIC: Final = "SYMMETRIC_DEFAULT"


@dataclass(frozen=True)
class NetworkFindings:
    """Says what an existing network lacks for our clusters. What is in `missing` keeps them from starting; a person
    decides about `doubts`.
    """

    missing: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def look_at_key(account: Account, arn: str) -> None:
    """Raises CommandError if a key can't encrypt a lake."""
    kms = account.client("kms")
    try:
        found = kms.describe_key(KeyId=arn)["KeyMetadata"]
    except ClientError as error:
        raise CommandError(
            f"KMS_KEY is '{arn}', and KMS does not show it ({error.response['Error']['Code']}). Check the ARN, and "
            "that the key's policy lets you see it."
        ) from error
    state, spec = found["KeyState"], found.get("KeySpec", _SYMMETRIC)
    if state != "Enabled" or spec != _SYMMETRIC:
        raise CommandError(
            f"KMS_KEY is '{arn}', which is {state} and of the kind {spec}: S3 takes only keys that are Enabled and "
            f"{_SYMMETRIC}."
        )


def look_at_certificates(account: Account, address: str, lake: str, owner: str) -> None:
    """Raises CommandError if nodes could not read the zip at this address, because it is in another bucket than the
    lake's or is not there.
    """
    bucket, key = split_uri(address)
    if bucket != lake:
        raise CommandError(
            f"CERTIFICATES is '{address}': nodes may read only the lake's. Put the zip below s3://{lake}/{PREFIX} "
            "and name that."
        )
    try:
        account.s3(owner).head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise CommandError(
            f"CERTIFICATES is '{address}', and S3 does not show it ({error.response['Error']['Code']}). Put the zip "
            f"there first; if the lake is yet to be made, make it with CERTIFICATES={NO_CERTIFICATES}."
        ) from error


def look_at_subnets(account: Account, subnet_ids: Sequence[str]) -> NetworkFindings:
    ec2 = account.client("ec2")
    subnets = ec2.describe_subnets(SubnetIds=list(subnet_ids))["Subnets"]
    vpc_ids = sorted({subnet["VpcId"] for subnet in subnets})
    if len(vpc_ids) > 1:
        return NetworkFindings(
            (f"The subnets are of several VPCs ({', '.join(vpc_ids)}): a cluster can choose among those of one.",)
        )
    vpc = ec2.describe_vpcs(VpcIds=vpc_ids)["Vpcs"][0]
    places = {vpc["VpcId"]: vpc, **{subnet["SubnetId"]: subnet for subnet in subnets}}
    untagged = " ".join(place_id for place_id, place in places.items() if EMR_TAG not in place.get("Tags", ()))
    missing = (
        (
            f"Type `aws ec2 create-tags --resources {untagged} --tags Key={EMR_TAG['Key']},Value=true`: EMR asks "
            "for that tag."
        ),
    )
    doubts = [
        f"{subnet['SubnetId']} gives machines public addresses."
        for subnet in subnets
        if subnet.get("MapPublicIpOnLaunch")
    ]
    endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": vpc_ids}])["VpcEndpoints"]
    if not any(endpoint["ServiceName"].endswith(".s3") for endpoint in endpoints):
        doubts.append(
            f"{vpc_ids[0]} has no S3 gateway endpoint: without a NAT no node reaches the lake, and a NAT costs by "
            "the GB."
        )
    return NetworkFindings(missing if untagged else (), tuple(doubts))
