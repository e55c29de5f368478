"""Each part of the product has keys of its own, all drawn from the owner's; each request says by them who asked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fruit_cli.lake.connection import LakeConnection
from local_cloud.keys import KeyRing, Role, credentials_of
from local_cloud.signature import Credentials
from tests.local_cloud.running_s3 import running_s3
from tests.local_cloud.s3_requests import BUCKET, client

if TYPE_CHECKING:
    from pathlib import Path

OWNER = Credentials("LOCAL000000000000000", "shh")


def test_no_two_roles_have_a_key_or_secret_in_common() -> None:
    keys = [credentials_of(role, OWNER) for role in Role]
    assert len({each.access_key_id for each in keys}) == len({each.secret_access_key for each in keys}) == len(Role)
    assert all(re.fullmatch(r"[A-Z0-9]{20}", each.access_key_id) for each in keys)
    assert credentials_of(Role.OWNER, OWNER) == OWNER


def test_another_owner_has_other_keys() -> None:
    another = Credentials(OWNER.access_key_id, "psst")
    roles = [role for role in Role if role is not Role.OWNER]
    assert not KeyRing(OWNER).secrets.keys() & {credentials_of(role, another).access_key_id for role in roles}
    assert all(credentials_of(role, OWNER) != credentials_of(role, another) for role in roles)


def test_a_command_acts_with_its_own_keys_on_the_local_cloud_and_with_the_persons_elsewhere() -> None:
    local = LakeConnection(
        "a-lake", "eu-west-1", "http://127.0.0.1:1", OWNER.access_key_id, OWNER.secret_access_key, has_roles=True
    )
    keys, deliverer = credentials_of(Role.DELIVERER, OWNER), local.acting_as(Role.DELIVERER)
    assert (deliverer.access_key_id, deliverer.secret_access_key) == (keys.access_key_id, keys.secret_access_key)
    # Who has a role takes no other.
    assert deliverer.acting_as(Role.PUBLISHER) == deliverer
    on_aws = LakeConnection("a-lake", "eu-west-1")
    assert on_aws.acting_as(Role.DELIVERER) is on_aws


@pytest.mark.slow
def test_s3_notes_who_asked_for_what(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with running_s3(tmp_path / "s3", buckets=[BUCKET], access_log=log) as s3:
        keys = credentials_of(Role.NODES, Credentials(s3.access_key_id, s3.secret_access_key))
        owner, nodes = (
            client(s3),
            client(replace(s3, access_key_id=keys.access_key_id, secret_access_key=keys.secret_access_key)),
        )
        owner.put_object(Bucket=BUCKET, Key="a b/ä.jpg", Body=b"x", IfNoneMatch="*")
        with pytest.raises(nodes.exceptions.NoSuchKey):
            nodes.get_object(Bucket=BUCKET, Key="nothing")
        nodes.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a b/ä.jpg"}, {"Key": "nothing"}]})
        put, got, removed = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert (put["who"], put["region"], put["status"]) == ("owner", "eu-west-1", 200)
    assert (put["method"], put["path"]) == ("PUT", "/lake/a%20b/%C3%A4.jpg")
    assert put["headers"]["if-none-match"] == "*"
    assert (got["who"], got["method"], got["status"]) == ("emr-nodes", "GET", 404)
    assert removed["keys"] == ["a b/ä.jpg", "nothing"]
