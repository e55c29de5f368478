"""Says which lake a command works on, and as whom: the local cloud's, or one on AWS."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fruit_cli.errors import CommandError, with_why_it_stopped
from fruit_cli.lake.deployed import (
    BUCKET_VARIABLE,
    OWNER_VARIABLE,
    REGION_VARIABLE,
    require_named_file,
    with_deployed,
    without_deployed,
)
from fruit_cli.lake.target import Target
from fruit_contract import lake
from fruit_contract.regions import DEFAULT_REGION, require_eu_region
from local_cloud.keys import Role, credentials_of
from local_cloud.signature import Credentials
from local_cloud.stack.state import local_home, read_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_cloud.stack.state import StackState


# docker-compose.yaml sets it, because its local cloud is in a network of its own and keeps no state on this machine.
LOCAL_S3_VARIABLE: Final = "FRUITS_LOCAL_S3_URL"
_ENDPOINT_VARIABLE: Final = "AWS_ENDPOINT_URL_S3"
_AWS: Final = (".amazonaws.com", ".api.aws")
_ANY_ENDPOINT_VARIABLE: Final = "AWS_ENDPOINT_URL"
# The local S3 knows buckets by path alone, and does without checksums.
_LOCAL_OPTIONS: Final = {
    "s3": {"addressing_style": "path"},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


@dataclass(frozen=True)
class LakeConnection:
    """Names a bucket and says how to reach it. Without an endpoint it is on AWS, with boto3's own credential chain.

    `owner` is the AWS account that must own the bucket; without one, the account of the credentials must. `has_roles`
    says that the keys are those of the local cloud's owner, from which the keys of its roles are drawn.
    """

    bucket: str
    region: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    owner: str = ""
    has_roles: bool = False

    def __repr__(self) -> str:
        return f"LakeConnection(bucket={self.bucket!r}, region={self.region!r}, endpoint_url={self.endpoint_url!r})"

    @property
    def is_local(self) -> bool:
        return self.endpoint_url is not None

    def acting_as(self, role: Role) -> LakeConnection:
        """Returns the connection with the keys of a role if it has roles. If not it returns itself, because on AWS a
        person's or CI's own role counts.
        """
        if not self.has_roles:
            return self
        keys = credentials_of(role, Credentials(self.access_key_id or "", self.secret_access_key or ""))
        return replace(
            self, access_key_id=keys.access_key_id, secret_access_key=keys.secret_access_key, has_roles=False
        )


def current_connection(target: Target = Target.LOCAL, environment: Mapping[str, str] | None = None) -> LakeConnection:
    """Returns the lake of `target`: that of the local cloud that is up, or on AWS the one that FRUITS_LAKE_BUCKET and
    FRUITS_AWS_REGION name.

    Raises CommandError if no local cloud is up, if a lake on AWS is not named, or for an endpoint without keys;
    RegionNotAllowedError for a region outside the EU.
    """
    environment = os.environ if environment is None else environment
    if target is Target.LOCAL:
        return _local_connection(environment)
    environment = with_deployed(environment)
    region = aws_region(environment)
    if not environment.get(BUCKET_VARIABLE):
        raise CommandError(
            f"{BUCKET_VARIABLE} is not set: a lake on AWS has no default name, for all the world's buckets share their "
            "names. Set it, FRUITS_AWS_REGION and FRUITS_LAKE_OWNER (the account's number), or type the command where "
            "`make deploy` left fruits.env."
        )
    bucket = lake.check_bucket(environment[BUCKET_VARIABLE])
    if environment.get(_ENDPOINT_VARIABLE):
        return _with_keys(bucket, region, _ENDPOINT_VARIABLE, environment)
    refuse_diversion(environment)
    # AWS' own chain knows more kinds of credentials than a key and its secret: session tokens, profiles, roles.
    return LakeConnection(bucket=bucket, region=region, owner=_owner_of(environment))


def refuse_diversion(environment: Mapping[str, str]) -> None:
    """Raises CommandError if the environment sends all that is meant for AWS elsewhere."""
    if url := environment.get(_ANY_ENDPOINT_VARIABLE):
        raise CommandError(
            f"{_ANY_ENDPOINT_VARIABLE} is '{url}', so what is meant for AWS would go there. Unset it, or name an S3 "
            f"of your own in {_ENDPOINT_VARIABLE}."
        )


def require_aws(client: Any) -> Any:
    """Returns a boto3 client. Raises CommandError if it would not ask AWS, as a profile or a variable may have it."""
    url = client.meta.endpoint_url
    if not str(urlsplit(url).hostname).endswith(_AWS):
        raise CommandError(
            f"What is meant for AWS ({client.meta.service_model.service_name}) would go to {url}. Take the "
            "endpoint_url out of the profile, or unset the variable AWS_ENDPOINT_URL_… that says so."
        )
    return client


def local_bucket(environment: Mapping[str, str]) -> str:
    """Returns the bucket of the local cloud. Raises LakeNameError if FRUITS_LAKE_BUCKET can't be a bucket's name."""
    return lake.check_bucket(without_deployed(environment).get(BUCKET_VARIABLE) or lake.DEFAULT_BUCKET)


def _local_connection(environment: Mapping[str, str]) -> LakeConnection:
    state = read_state(local_home())
    if state:
        return LakeConnection(
            bucket=state.bucket,
            region=state.region,
            endpoint_url=state.s3_url,
            access_key_id=state.access_key_id,
            secret_access_key=state.secret_access_key,
            has_roles=True,
        )
    if environment.get(LOCAL_S3_VARIABLE):
        region = without_deployed(environment).get(REGION_VARIABLE, DEFAULT_REGION)
        return replace(_with_keys(local_bucket(environment), region, LOCAL_S3_VARIABLE, environment), has_roles=True)
    raise CommandError(
        with_why_it_stopped(
            f"No local cloud is up. Type `make up`, or say TARGET=aws for the lake on AWS that {BUCKET_VARIABLE} names."
        )
    )


def _with_keys(bucket: str, region: str, variable: str, environment: Mapping[str, str]) -> LakeConnection:
    endpoint_url = environment[variable]
    access_key_id, secret_access_key = (
        environment.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    if not (access_key_id and secret_access_key) or urlsplit(endpoint_url).scheme not in {"http", "https"}:
        raise CommandError(
            f"{variable} is '{endpoint_url}': set it to the http:// or https:// address of an S3, "
            "and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to its keys. To use AWS itself, unset it."
        )
    return LakeConnection(bucket, region, endpoint_url, access_key_id, secret_access_key)


def _owner_of(environment: Mapping[str, str]) -> str:
    owner = environment.get(OWNER_VARIABLE, "")
    if owner and not (len(owner) == 12 and owner.isascii() and owner.isdecimal()):
        raise CommandError(
            f"{OWNER_VARIABLE} is '{owner}': it must be the twelve digits of an AWS account, or empty for your own."
        )
    return owner


def aws_region(environment: Mapping[str, str]) -> str:
    """Returns the region on AWS that a command works in. Raises RegionNotAllowedError for one outside the EU,
    CommandError if a file of settings is named that is not there.
    """
    require_named_file(environment)
    return require_eu_region(with_deployed(environment).get(REGION_VARIABLE, DEFAULT_REGION))


def local_emr_client(state: StackState, role: Role = Role.OWNER) -> Any:
    """Returns a boto3 EMR client for the running local cloud, with the keys of a role."""
    import boto3

    keys = credentials_of(role, Credentials(state.access_key_id, state.secret_access_key))
    return boto3.client(
        "emr",
        endpoint_url=state.emr_url,
        region_name=state.region,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
    )


def current_emr_client(target: Target) -> Any:
    """Returns a boto3 EMR client for the local cloud that is up, or for AWS as the environment says. Raises
    CommandError if no local one is up.
    """
    import boto3

    if target is Target.LOCAL:
        state = read_state(local_home())
        if state:
            return local_emr_client(state, Role.OPERATOR)
        _local_connection(os.environ)  # in compose's network boto3 finds the local EMR by its own variable
        return boto3.client("emr")
    refuse_diversion(os.environ)
    return require_aws(boto3.client("emr", region_name=aws_region(os.environ)))


def s3_client(connection: LakeConnection) -> Any:
    """Returns a boto3 S3 client for the connection, which follows no bucket to another region."""
    import boto3  # a second of import that `--help` need not wait for
    from botocore.config import Config

    from fruit_pipeline.lake.location import stay_here

    client = boto3.client(
        "s3",
        region_name=connection.region,
        endpoint_url=connection.endpoint_url,
        aws_access_key_id=connection.access_key_id,
        aws_secret_access_key=connection.secret_access_key,
        config=Config(
            max_pool_connections=32,
            retries={"mode": "adaptive", "max_attempts": 10},
            **(_LOCAL_OPTIONS if connection.is_local else {}),
        ),
    )
    stay_here(client, connection.owner)
    return client if connection.is_local else require_aws(client)
