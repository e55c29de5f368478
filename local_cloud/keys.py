"""Gives each part of the product an access key of the local cloud, as it has a role of its own in an AWS account.

All keys are derived from the owner's, so no other key has to be kept or handed on.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

from fruit_contract.newer_python import StrEnum
from local_cloud.signature import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID_LETTERS: Final = 20
_SECRET_LETTERS: Final = 40


class Role(StrEnum):
    """Says what a key is for. All but the owner have a role or policy in bootstrap/stacks/, called `fruits-<value>`."""

    OWNER = "owner"
    AIRFLOW = "airflow"
    NODES = "emr-nodes"
    PUBLISHER = "publisher"
    DELIVERER = "deliverer"
    OPERATOR = "operator"
    ANALYST = "analyst"
    LEDGER_READER = "ledger-reader"


class Caller(NamedTuple):
    """Says who signed a request and for which region it was signed."""

    role: Role
    region: str


def credentials_of(role: Role, owner: Credentials) -> Credentials:
    """Returns the access key of a role of the local cloud, which follows from the owner's."""
    if role is Role.OWNER:
        return owner
    drawn = hmac.digest(owner.secret_access_key.encode(), f"{owner.access_key_id}/{role}".encode(), "sha512").hex()
    # AWS' own consist of capital letters and digits, too.
    access_key_id = f"LOCAL{drawn[:_ID_LETTERS].upper()}"[:_ID_LETTERS]
    return Credentials(access_key_id, drawn[_ID_LETTERS : _ID_LETTERS + _SECRET_LETTERS])


class KeyRing:
    """Holds the keys that a server accepts: its owner's and those of all roles."""

    def __init__(self, owner: Credentials) -> None:
        credentials = {role: credentials_of(role, owner) for role in Role}
        self.roles: Mapping[str, Role] = {keys.access_key_id: role for role, keys in credentials.items()}
        self.secrets: Mapping[str, str] = {keys.access_key_id: keys.secret_access_key for keys in credentials.values()}
