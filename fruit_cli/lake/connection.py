"""Which lake a command talks to: the local cloud if it is up, else the AWS account of the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fruit_cli.errors import CommandError
from fruit_contract import lake
from fruit_contract.regions import DEFAULT_REGION, require_eu_region
from local_cloud.stack.state import local_home, read_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_cloud.stack.state import StackState


# The local S3 knows buckets by path alone, and leaves checksums alone.
_LOCAL_OPTIONS: Final = {
    "s3": {"addressing_style": "path"},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


@dataclass(frozen=True)
class LakeConnection:
    """A bucket and how to reach it. Without an endpoint it is AWS, with boto3's own credential chain."""

    bucket: str
    region: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def __repr__(self) -> str:
        return f"LakeConnection(bucket={self.bucket!r}, region={self.region!r}, endpoint_url={self.endpoint_url!r})"

    @property
    def is_local(self) -> bool:
        return self.endpoint_url is not None


def current_connection(environment: Mapping[str, str] | None = None) -> LakeConnection:
    """The local cloud if it is up, else AWS as FRUITS_LAKE_BUCKET and FRUITS_AWS_REGION name it.

    Raises RegionNotAllowedError for a region outside the EU, CommandError for an endpoint without keys.
    """
    state = read_state(local_home())
    if state:
        return LakeConnection(
            bucket=state.bucket,
            region=state.region,
            endpoint_url=state.s3_url,
            access_key_id=state.access_key_id,
            secret_access_key=state.secret_access_key,
        )
    environment = os.environ if environment is None else environment
    endpoint_url = environment.get("AWS_ENDPOINT_URL_S3")
    bucket = bucket_of(environment)
    region = require_eu_region(environment.get("FRUITS_AWS_REGION", DEFAULT_REGION))
    if endpoint_url is None:
        # AWS' own chain knows more kinds of credentials than a key and its secret: session tokens, profiles, roles.
        return LakeConnection(bucket=bucket, region=region)
    keys = [environment.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    if not all(keys) or urlsplit(endpoint_url).scheme not in {"http", "https"}:
        raise CommandError(
            f"AWS_ENDPOINT_URL_S3 is '{endpoint_url}': set it to the http:// or https:// address of an S3, "
            "and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to its keys. To use AWS itself, unset it."
        )
    return LakeConnection(bucket, region, endpoint_url, *keys)


def bucket_of(environment: Mapping[str, str]) -> str:
    """The lake's bucket, FRUITS_LAKE_BUCKET. Raises LakeNameError if that can't be a bucket's name."""
    return lake.check_bucket(environment.get("FRUITS_LAKE_BUCKET", lake.DEFAULT_BUCKET))


def local_emr_client(state: StackState) -> Any:
    """A boto3 EMR client for the running local cloud."""
    import boto3

    return boto3.client(
        "emr",
        endpoint_url=state.emr_url,
        region_name=state.region,
        aws_access_key_id=state.access_key_id,
        aws_secret_access_key=state.secret_access_key,
    )


def current_emr_client() -> Any:
    """A boto3 EMR client for the local cloud if it is up, else for AWS as the environment says."""
    import boto3

    state = read_state(local_home())
    if state:
        return local_emr_client(state)
    return boto3.client("emr", region_name=require_eu_region(os.environ.get("FRUITS_AWS_REGION", DEFAULT_REGION)))


def s3_client(connection: LakeConnection) -> Any:
    """A boto3 S3 client for the connection."""
    import boto3  # a second of import that `--help` need not wait for
    from botocore.config import Config

    return boto3.client(
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
