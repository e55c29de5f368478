"""Looks after what an account must have beside our stacks, and after what others left in our network."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fruit_cli.aws.attachments import find_attachments
from fruit_cli.aws.certificates import PREFIX, store_new
from fruit_cli.aws.cloudformation import Stacks, parameters_in
from fruit_cli.aws.stacks import PARTS, is_of_region, region_of, stack_name
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import require_aws
from fruit_pipeline.lake.location import stay_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fruit_cli.aws.attachments import Attachment

# EMR and EC2 act under these roles, and a first cluster fails without them. Each service is mapped to its role.
SERVICE_LINKED_ROLES: Final = {
    "elasticmapreduce.amazonaws.com": "AWSServiceRoleForEMRCleanup",
    "spot.amazonaws.com": "AWSServiceRoleForEC2Spot",
}
# For so long KMS may not know a role that IAM has just made, and may refuse a key whose policy names it.
_ROLE_KNOWN_SECONDS: Final = 15
# These regions are off in an account until somebody switches them on. Until then AWS takes no credentials there.
_OPT_IN_REGIONS: Final = frozenset({"eu-south-1", "eu-south-2"})
_CREDENTIALS_NOT_TAKEN: Final = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "RegionDisabledException"}
)
_EMR_GROUPS: Final = "ElasticMapReduce-*"
_EMR_ENDPOINT: Final = "emr-service-vpce"
_ALIVE: Final = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING")
_KEY_WINDOW_DAYS: Final = 30
_KEY_GOES: Final = "PendingDeletion"
# Variables whose names begin like this send what is meant for AWS, or one of its services, elsewhere.
_ENDPOINT_VARIABLES: Final = "AWS_ENDPOINT_URL"
_NOT_THERE: Final = frozenset({"404", "NoSuchBucket", "NotFound"})


@dataclass(frozen=True)
class FoundBucket:
    """Describes a bucket of this account. `key` is the ARN of the KMS key that it encrypts with, or empty."""

    name: str
    region: str
    key: str


def session_of_caller() -> Any:
    """Returns boto3's session with the caller's credentials. Raises CommandError if there are none, or if the
    environment sends what is meant for AWS elsewhere.
    """
    from boto3.session import Session

    for variable, url in os.environ.items():
        if variable.startswith(_ENDPOINT_VARIABLES) and url:
            raise CommandError(f"{variable} is '{url}', so what is meant for AWS would go there. Unset it first.")
    session = Session()
    if session.get_credentials() is None:
        raise CommandError(
            "There are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return session


class Account:
    """Reads and changes the AWS account of the caller's credentials, in one region. `sleep` is what waits."""

    def __init__(
        self, session: Any, region: str, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._session, self.region, self._say, self._sleep = session, region, say, sleep

    def identity(self) -> tuple[str, str]:
        """Returns the account's number, and who the caller is. Raises CommandError if the region seems to be off in the
        account.
        """
        try:
            caller = self.client("sts").get_caller_identity()
        except ClientError as error:
            if self.region not in _OPT_IN_REGIONS or error.response["Error"]["Code"] not in _CREDENTIALS_NOT_TAKEN:
                raise
            raise CommandError(
                f"AWS does not take these credentials in {self.region} ({error.response['Error']['Code']}). The region "
                f"is off in an account until somebody types `aws account enable-region --region-name {self.region}` "
                "and has waited some minutes. If it is on, check the credentials."
            ) from error
        return caller["Account"], caller["Arn"]

    def client(self, service: str, region: str | None = None) -> Any:
        """Returns boto3's client. Raises CommandError if it would not ask AWS."""
        client = self._session.client(service, region_name=region or self.region)
        return require_aws(client)

    def stacks(self, part: str) -> Stacks:
        """Returns the stacks of the region in which this part of a deployment is."""
        return Stacks(self.client("cloudformation", region_of(part, self.region)), self._say)

    def parts_of(self, deployment: str) -> tuple[str, ...]:
        """Returns the parts of a deployment whose stacks are there, in whatever state, the first made first."""
        found = {part: self.stacks(part).find(stack_name(deployment, part)) for part in PARTS}
        return tuple(
            part for part, stack in found.items() if stack and is_of_region(part, parameters_in(stack), self.region)
        )

    def attachments_of(self, deployment: str, parts: Iterable[str]) -> list[Attachment]:
        """Returns who has a policy that these parts made, and which policies their roles have."""
        roles: list[str] = []
        policies: list[str] = []
        for part in parts:
            stacks, name = self.stacks(part), stack_name(deployment, part)
            roles += stacks.made(name, "AWS::IAM::Role")
            policies += stacks.made(name, "AWS::IAM::ManagedPolicy")
        return find_attachments(self.client("iam"), roles, policies)

    def has_role(self, role: str) -> bool:
        try:
            self.client("iam").get_role(RoleName=role)
        except self.client("iam").exceptions.NoSuchEntityException:
            return False
        return True

    def make_service_linked_roles(self) -> None:
        """Makes the service-linked roles that are not there, and waits until IAM and KMS know them, because the key's
        policy names one of them.
        """
        iam = self.client("iam")
        new = False
        for service, role in SERVICE_LINKED_ROLES.items():
            if self.has_role(role):
                self._say(f"  {role}: is there")
                continue
            made = iam.create_service_linked_role(AWSServiceName=service)["Role"]["RoleName"]
            iam.get_waiter("role_exists").wait(RoleName=made)
            self._say(f"  {role}: made")
            new = True
        if new:
            self._sleep(_ROLE_KNOWN_SECONDS)

    def other_lakes_with(self, parameter: str, value: str, deployment: str) -> list[str]:
        """Returns the lakes' stacks of other deployments that have this value of a parameter (`Bucket`, `KeyArn`)."""
        own = stack_name(deployment, "lake")
        found = self.stacks("lake").named_with(parameter, value)
        return [name for name in found if name.endswith(stack_name("", "lake")) and name != own]

    def find_bucket(self, name: str, account: str) -> FoundBucket | None:
        """Returns the bucket, or None if nobody has it. Raises CommandError if it is somebody else's."""
        try:
            # This client follows the bucket to another region, to tell which.
            region = (
                self.client("s3")
                .head_bucket(Bucket=name, ExpectedBucketOwner=account)["ResponseMetadata"]["HTTPHeaders"]
                .get("x-amz-bucket-region")
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_THERE:
                return None
            raise CommandError(
                f"The bucket '{name}' is another account's, or these credentials may not see it. Set "
                "FRUITS_LAKE_BUCKET to another name."
            ) from error
        key = "" if region not in (None, self.region) else self._key_of(name, account)
        return FoundBucket(name, region or self.region, key)

    def s3(self, account: str) -> Any:
        """Returns a client whose requests S3 refuses for buckets of other accounts."""
        client = self.client("s3")
        stay_here(client, account)
        return client

    def _key_of(self, bucket: str, account: str) -> str:
        try:
            (rule,) = self.s3(account).get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"][
                "Rules"
            ]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ServerSideEncryptionConfigurationNotFoundError":
                return ""
            raise
        key = rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
        # A bucket may name its key by an id or an alias.
        return str(self.client("kms").describe_key(KeyId=key)["KeyMetadata"]["Arn"]) if key else ""

    def is_empty(self, bucket: str, account: str) -> bool:
        """Returns whether a bucket holds nothing but certificates, which are no loss."""
        pages = self.s3(account).get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return all(entry["Key"].startswith(PREFIX) for page in pages for entry in page.get("Contents", ()))

    def make_certificates(self, bucket: str, owner: str) -> str:
        """Makes certificates for the nodes, puts them into the lake and returns their address."""
        s3 = self.s3(owner)

        def put(key: str, content: bytes) -> None:
            s3.put_object(Bucket=bucket, Key=key, Body=content)

        return store_new(put, bucket, self.region)

    def erase_bucket(self, bucket: str, account: str) -> None:
        """Removes all objects of a bucket with all their versions, its broken uploads, and then the bucket itself.
        Raises CommandError if S3 refuses.
        """
        s3 = self.s3(account)
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
            if objects:
                refused = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors")
                if refused:
                    raise CommandError(
                        f"S3 refused to remove s3://{bucket}/{refused[0]['Key']}: {refused[0]['Message']}."
                    )
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", ()):
                s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        s3.delete_bucket(Bucket=bucket)

    def forget_key(self, key: str) -> None:
        """Schedules a key's removal in 30 days; until then that can be taken back. Does nothing if it is scheduled
        already, or if the key is gone.
        """
        kms = self.client("kms")
        try:
            found = kms.describe_key(KeyId=key)["KeyMetadata"]
            if found["KeyState"] != _KEY_GOES:
                kms.schedule_key_deletion(KeyId=found["KeyId"], PendingWindowInDays=_KEY_WINDOW_DAYS)
        except kms.exceptions.NotFoundException:
            return

    def others_with_key(self, key: str, deployment: str) -> list[str]:
        """Returns the lakes' stacks of other deployments that use a key (an id or an ARN) that they did not make."""
        kms = self.client("kms")
        try:
            arn = str(kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"])
        except kms.exceptions.NotFoundException:
            return []
        return self.other_lakes_with("KeyArn", arn, deployment)

    def made_key_for(self, key: str, bucket: str) -> bool:
        """Returns whether a stack of ours once made this key for this bucket, as its tags tell."""
        kms = self.client("kms")
        try:
            pages = list(kms.get_paginator("list_resource_tags").paginate(KeyId=key))
        except kms.exceptions.NotFoundException:
            return False
        tags = {(tag["TagKey"], tag["TagValue"]) for page in pages for tag in page["Tags"]}
        return {("product", "fruits"), ("lake", bucket)} <= tags

    def clusters_of(self, bucket: str) -> list[str]:
        """Returns the ids of a lake's clusters that have not ended."""
        emr = self.client("emr")
        pages = emr.get_paginator("list_clusters").paginate(ClusterStates=list(_ALIVE))
        ids = [cluster["Id"] for page in pages for cluster in page["Clusters"]]
        tags = {cluster_id: emr.describe_cluster(ClusterId=cluster_id)["Cluster"].get("Tags", ()) for cluster_id in ids}
        return [cluster_id for cluster_id in ids if {"Key": "lake", "Value": bucket} in tags[cluster_id]]

    def blocks_public_access(self) -> bool:
        """Returns whether EMR refuses every cluster that opens a port to the world, port 22 included."""
        settings = self.client("emr").get_block_public_access_configuration()["BlockPublicAccessConfiguration"]
        return bool(settings.get("BlockPublicSecurityGroupRules")) and not settings.get(
            "PermittedPublicSecurityGroupRuleRanges"
        )

    def block_public_access(self) -> None:
        self.client("emr").put_block_public_access_configuration(
            BlockPublicAccessConfiguration={
                "BlockPublicSecurityGroupRules": True,
                "PermittedPublicSecurityGroupRuleRanges": [],
            }
        )

    def clear_network(self, vpc_id: str) -> None:
        """Removes what EMR itself made and left in our network: its security groups, and an endpoint of its own."""
        ec2 = self.client("ec2")
        here = {"Name": "vpc-id", "Values": [vpc_id]}
        endpoints = ec2.describe_vpc_endpoints(Filters=[here, {"Name": "tag:Name", "Values": [_EMR_ENDPOINT]}])[
            "VpcEndpoints"
        ]
        if endpoints:
            ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"] for endpoint in endpoints])
        groups = ec2.describe_security_groups(Filters=[here, {"Name": "group-name", "Values": [_EMR_GROUPS]}])[
            "SecurityGroups"
        ]
        # The groups' rules name each other, so all rules must be removed before the first group.
        for group in groups:
            if group["IpPermissions"]:
                ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
            if group["IpPermissionsEgress"]:
                ec2.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=group["IpPermissionsEgress"])
        for group in groups:
            ec2.delete_security_group(GroupId=group["GroupId"])
        if endpoints or groups:
            self._say(
                f"  {len(groups)} security groups and {len(endpoints)} endpoints that EMR had made in {vpc_id}: removed"
            )
