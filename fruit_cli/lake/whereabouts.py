"""Says where a command goes before it sends anything there, and stops it if that is not where it should go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fruit_cli.lake.connection import (
    LakeConnection,
    current_connection,
    current_emr_client,
    require_aws,
    s3_client,
)
from fruit_cli.lake.target import Target
from fruit_contract.lake import uri
from fruit_pipeline.lake.location import require_lake_here

if TYPE_CHECKING:
    from collections.abc import Callable


def lake_of_target(target: Target, say: Callable[[str], None] = print) -> LakeConnection:
    """Says which lake is worked on, looks at it if it is on AWS, and returns it.

    Raises what `current_connection` does; LakeElsewhereError if the bucket is not in the region that is set, or not of
    the account that must own it; botocore's errors if AWS can't be asked.
    """
    connection = current_connection(target)
    if target is Target.LOCAL:
        say(f"On the local cloud: {uri(connection.bucket, '')} at {connection.endpoint_url}")
        return connection
    if connection.is_local:
        say(f"On an S3 of your own: {uri(connection.bucket, '')} at {connection.endpoint_url}")
        return connection
    import boto3

    identity = require_aws(boto3.client("sts", region_name=connection.region)).get_caller_identity()
    owned = replace(connection, owner=connection.owner or str(identity["Account"]))
    whose = "" if owned.owner == identity["Account"] else f" of account {owned.owner}"
    say(f"On AWS: {uri(owned.bucket, '')}{whose} in {owned.region}, as {identity['Arn']}")
    require_lake_here(s3_client(owned), owned.bucket, owned.region, owned.owner)
    return owned


def emr_of_target(target: Target, say: Callable[[str], None] = print) -> Any:
    """Says which EMR is asked, and returns a boto3 client for it. Raises what `current_emr_client` does; botocore's
    errors if AWS can't be asked who we are.
    """
    client = current_emr_client(target)
    if target is Target.LOCAL:
        say(f"On the local cloud: EMR at {client.meta.endpoint_url}")
        return client
    import boto3

    region = client.meta.region_name
    identity = require_aws(boto3.client("sts", region_name=region)).get_caller_identity()
    say(f"On AWS: EMR of account {identity['Account']} in {region}, as {identity['Arn']}")
    return client
