from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import LakeConnection, current_connection, s3_client
from fruit_cli.lake.target import Target
from fruit_cli.lake.whereabouts import emr_of_target, lake_of_target
from fruit_pipeline.errors import LakeElsewhereError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = "123456789012"  # moto's


@pytest.fixture(autouse=True)
def nothing_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_LOCAL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("FRUITS_LOCAL_S3_URL", "FRUITS_LAKE_OWNER", "FRUITS_AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plays an AWS account with a bucket in Ireland."""
    with mock_aws():
        monkeypatch.setenv("FRUITS_LAKE_BUCKET", "my-lake")
        client = s3_client(LakeConnection("my-lake", "eu-west-1"))
        client.create_bucket(Bucket="my-lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield


def test_credentials_that_happen_to_be_there_never_make_it_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_LAKE_BUCKET", "my-lake")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(CommandError, match="No local cloud is up"):
        current_connection()


def test_a_lake_on_aws_has_no_default_name() -> None:
    for environment in ({}, {"FRUITS_LAKE_BUCKET": ""}):
        with pytest.raises(CommandError, match="has no default name"):
            current_connection(Target.AWS, environment)


def test_an_address_that_diverts_all_of_aws_is_refused() -> None:
    environment = {"FRUITS_LAKE_BUCKET": "my-lake", "AWS_ENDPOINT_URL": "http://localhost:4566"}
    with pytest.raises(CommandError, match=r"AWS_ENDPOINT_URL is .*localhost:4566.*Unset it"):
        current_connection(Target.AWS, environment)


@pytest.mark.usefixtures("account")
def test_account_bucket_and_region_are_said_before_the_first_byte() -> None:
    said: list[str] = []
    connection = lake_of_target(Target.AWS, said.append)
    assert connection == LakeConnection("my-lake", "eu-west-1", owner=ACCOUNT)
    assert said == [f"On AWS: s3://my-lake/ in eu-west-1, as arn:aws:sts::{ACCOUNT}:user/moto"]


@pytest.mark.usefixtures("account")
def test_account_and_region_are_said_before_emr_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_AWS_REGION", "eu-west-3")
    said: list[str] = []
    client = emr_of_target(Target.AWS, said.append)
    assert client.meta.region_name == "eu-west-3"
    assert said == [f"On AWS: EMR of account {ACCOUNT} in eu-west-3, as arn:aws:sts::{ACCOUNT}:user/moto"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")
    with pytest.raises(CommandError, match="AWS_ENDPOINT_URL is"):
        emr_of_target(Target.AWS, said.append)


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_EMR"])
def test_nobody_else_is_asked_what_is_meant_for_aws(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://localhost:4566")
    with pytest.raises(CommandError, match=r"would go to http://localhost:4566\. Take the endpoint_url out"):
        emr_of_target(Target.AWS, lambda _: None)


@pytest.mark.usefixtures("account")
def test_a_bucket_that_is_elsewhere_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_AWS_REGION", "eu-west-3")
    with pytest.raises(LakeElsewhereError, match=r"s3://my-lake is in eu-west-1\. FRUITS_AWS_REGION says eu-west-3"):
        lake_of_target(Target.AWS, lambda _: None)


@pytest.mark.usefixtures("account")
def test_a_bucket_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_LAKE_BUCKET", "no-such-lake")
    with pytest.raises(LakeElsewhereError, match="s3://no-such-lake doesn't exist"):
        lake_of_target(Target.AWS, lambda _: None)
