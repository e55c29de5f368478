"""Says where a lake's bucket is and whose it is, and keeps an S3 client from going elsewhere.

The names of buckets are shared by the whole world: a name that is mistyped, or given up, may be somebody else's bucket
in another country. The region that is set says nothing about that, because botocore silently follows a bucket to its
own region.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError

from botocore.exceptions import ClientError, HTTPClientError

from fruit_contract.regions import EU_REGIONS, require_eu_region
from fruit_pipeline.errors import LakeElsewhereError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_EVENT: Final = "before-parameter-build.s3"
_OWNER: Final = "ExpectedBucketOwner"
_REGION_HEADER: Final = "x-amz-bucket-region"
# S3 has these names for its two oldest regions, if it says anything.
_OLD_NAMES: Final = {"": "us-east-1", "EU": "eu-west-1"}


def stay_here(client: Any, owner: str = "") -> None:
    """Keeps an S3 client (or an asynchronous one) from following a bucket to another region, and has each request name
    the account that must own the bucket (`owner`: twelve digits, or empty for any). S3 refuses the request (403) if the
    bucket is another account's.
    """

    def prepare(params: MutableMapping[str, Any], model: Any, context: MutableMapping[str, Any], **_: object) -> None:
        # botocore marks a request like this when it has sent it to another region, which it does only once.
        context.setdefault("s3_redirect", {})["redirected"] = True
        if owner and _OWNER in model.input_shape.members:
            params.setdefault(_OWNER, owner)

    # botocore's own handlers must come first, because they make the mark that this one changes.
    client.meta.events.register_last(_EVENT, prepare, unique_id="fruits-stay-here")


def require_lake_here(client: Any, bucket: str, region: str, owner: str = "") -> None:
    """Asks S3 where a bucket is, with a client that stays here. That takes one small right, s3:GetBucketLocation, which
    lists nothing.

    Raises RegionNotAllowedError if `region` is outside the EU; LakeElsewhereError if the bucket is in another region,
    not there, not of account `owner`, or not for us; ClientError if S3 could not say.
    """
    require_eu_region(region)
    try:
        found = client.get_bucket_location(Bucket=bucket).get("LocationConstraint") or ""
    except ParseError as error:
        # The answer is a proxy's page, or nothing at all.
        raise HTTPClientError(error=f"S3's answer about s3://{bucket} can't be read: {error}") from error
    except ClientError as error:
        answer = error.response
        status = answer["ResponseMetadata"].get("HTTPStatusCode")
        _require_region(bucket, region, _region_of(answer))
        if status == 404:
            raise LakeElsewhereError(f"The bucket s3://{bucket} doesn't exist. Check FRUITS_LAKE_BUCKET.") from error
        if status == 403:
            whose = f"is not of account {owner}, or it" if owner else "is somebody else's, or it"
            raise LakeElsewhereError(
                f"The bucket s3://{bucket} {whose} refuses these credentials (s3:GetBucketLocation is needed). Nothing "
                "was read or written. Check FRUITS_LAKE_BUCKET and FRUITS_LAKE_OWNER, and who you are (`aws sts "
                "get-caller-identity`)."
            ) from error
        raise
    _require_region(bucket, region, _OLD_NAMES.get(found, found))


def _require_region(bucket: str, region: str, found: str) -> None:
    if not found or found == region:
        return
    outside = "" if found in EU_REGIONS else ", which is not inside the EU: images may not be kept or processed there"
    remedy = (
        "Set FRUITS_AWS_REGION to it."
        if not outside
        else "Make a lake in the EU (docs/aws.md), and set FRUITS_LAKE_BUCKET to it."
    )
    raise LakeElsewhereError(
        f"The bucket s3://{bucket} is in {found}{outside}. FRUITS_AWS_REGION says {region}. {remedy}"
    )


def _region_of(answer: Any) -> str:
    return str(answer.get("BucketRegion") or answer["ResponseMetadata"].get("HTTPHeaders", {}).get(_REGION_HEADER, ""))
