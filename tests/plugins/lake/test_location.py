"""Puts answers of the tests in place of S3's; botocore's own handling of them is real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, HTTPClientError

from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.aws import may_pass
from fruit_pipeline.errors import LakeElsewhereError
from fruit_pipeline.lake.location import require_lake_here, stay_here

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

OWNER = "123456789012"
REFUSED = b"<Error><Code>Whatever</Code></Error>"


class AnsweringS3:
    """Holds an S3 client whose requests all get one answer, and are kept."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", owner: str = "") -> None:
        self.client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
        self.requests: list[AWSPreparedRequest] = []
        stay_here(self.client, owner)
        self.client.meta.events.register("before-send.s3", self._answer)
        self._response = status, headers or {}, body

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        status, headers, body = self._response
        self.requests.append(request)
        return AWSResponse(request.url, status, headers, _Raw(body))


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Any:
        yield self._body


def located(region: str) -> bytes:
    return f'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{region}</LocationConstraint>'.encode()


def moved(region: str) -> dict[str, str]:
    return {"x-amz-bucket-region": region}


@pytest.mark.parametrize(("status", "body"), [(200, located("")), (301, REFUSED), (400, REFUSED)])
def test_a_bucket_in_another_region_is_told_and_not_followed(status: int, body: bytes) -> None:
    s3 = AnsweringS3(status, moved("us-east-1"), body)
    with pytest.raises(LakeElsewhereError, match=r"s3://lake is in us-east-1, which is not inside the EU"):
        require_lake_here(s3.client, "lake", "eu-west-1")
    assert len(s3.requests) == 1


def test_no_object_is_fetched_from_another_region() -> None:
    body = b"<Error><Code>PermanentRedirect</Code><Bucket>lake</Bucket></Error>"
    s3 = AnsweringS3(301, moved("us-east-1"), body)
    with pytest.raises(ClientError, match="PermanentRedirect"):
        s3.client.get_object(Bucket="lake", Key="raw/x.jpg")
    with pytest.raises(ClientError, match="PermanentRedirect"):
        s3.client.put_object(Bucket="lake", Key="raw/x.jpg", Body=b"x")
    assert [
        ".eu-west-1.amazonaws.com/" in request.url or "s3.eu-west-1." in request.url for request in s3.requests
    ] == [True, True]


def test_a_bucket_in_another_region_of_the_eu_says_what_to_set() -> None:
    s3 = AnsweringS3(301, moved("eu-central-1"), REFUSED)
    with pytest.raises(
        LakeElsewhereError, match=r"is in eu-central-1\. FRUITS_AWS_REGION says eu-west-1\. Set FRUITS_AWS_REGION"
    ):
        require_lake_here(s3.client, "lake", "eu-west-1")


def test_each_request_names_the_owner() -> None:
    s3 = AnsweringS3(200, body=located("EU"), owner=OWNER)
    require_lake_here(s3.client, "lake", "eu-west-1", OWNER)
    s3.client.put_object(Bucket="lake", Key="x", Body=b"")
    s3.client.delete_object(Bucket="lake", Key="x")
    assert [request.headers["x-amz-expected-bucket-owner"] for request in s3.requests] == [OWNER.encode()] * 3


def test_somebody_elses_bucket_is_refused() -> None:
    s3 = AnsweringS3(403, moved("eu-west-1"), REFUSED, owner=OWNER)
    with pytest.raises(
        LakeElsewhereError, match=rf"s3://lake is not of account {OWNER}, or it refuses these credentials"
    ):
        require_lake_here(s3.client, "lake", "eu-west-1", OWNER)


def test_a_bucket_that_is_not_there_is_told() -> None:
    with pytest.raises(LakeElsewhereError, match="s3://lake doesn't exist"):
        require_lake_here(AnsweringS3(404, body=REFUSED).client, "lake", "eu-west-1")


def test_a_region_outside_the_eu_is_refused_before_anything_is_asked() -> None:
    s3 = AnsweringS3(200)
    with pytest.raises(RegionNotAllowedError):
        require_lake_here(s3.client, "lake", "eu-west-2")
    assert not s3.requests


def test_an_s3_that_fails_is_no_verdict() -> None:
    s3 = AnsweringS3(501, body=REFUSED)
    with pytest.raises(ClientError):
        require_lake_here(s3.client, "lake", "eu-west-1")


def test_an_answer_that_is_none_of_s3s_passes() -> None:
    s3 = AnsweringS3(501, body=b"a proxy's page")
    with pytest.raises(HTTPClientError) as error:
        require_lake_here(s3.client, "lake", "eu-west-1")
    assert may_pass(error.value)
