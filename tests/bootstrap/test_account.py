"""Checks what an account must have beside our stacks, and what is said where it can't be asked."""

from __future__ import annotations

from typing import Any
from unittest import mock

import boto3
import moto
import pytest
from botocore.exceptions import ClientError

from fruit_cli.aws.account import SERVICE_LINKED_ROLES, Account
from fruit_cli.errors import CommandError
from tests.bootstrap.conftest import ACCOUNT, REGION


def account_without_access(region: str, code: str) -> Account:
    error = ClientError(
        {"Error": {"Code": code, "Message": "The security token included in the request is invalid."}},
        "GetCallerIdentity",
    )
    sts = boto3.client("sts", region_name=region, aws_access_key_id="nobody's", aws_secret_access_key="nobody's")
    sts.get_caller_identity = mock.Mock(side_effect=error)
    return Account(mock.Mock(client=mock.Mock(return_value=sts)), region, print)


@pytest.mark.parametrize("region", ["eu-south-1", "eu-south-2"])
def test_a_region_that_is_off_in_the_account_is_told_with_what_switches_it_on(region: str) -> None:
    with pytest.raises(CommandError, match=f"InvalidClientTokenId.*`aws account enable-region --region-name {region}`"):
        account_without_access(region, "InvalidClientTokenId").identity()


@pytest.mark.parametrize(("region", "code"), [("eu-west-1", "InvalidClientTokenId"), ("eu-south-1", "ExpiredToken")])
def test_other_trouble_with_credentials_is_not_called_that(region: str, code: str) -> None:
    with pytest.raises(ClientError):
        account_without_access(region, code).identity()


@pytest.mark.slow
def test_the_key_waits_until_kms_knows_a_role_that_was_just_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy names the role, and CloudFormation does not try a second time."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody's")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with moto.mock_aws():
        session: Any = boto3.Session()
        waits: list[float] = []
        account = Account(session, REGION, print, waits.append)
        account.make_service_linked_roles()
        assert waits == [15]
        # moto calls them otherwise than AWS does.
        for role in SERVICE_LINKED_ROLES.values():
            if not account.has_role(role):
                account.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
        account.make_service_linked_roles()
        assert waits == [15]
        assert account.identity()[0] == ACCOUNT
