"""Who asks the local cloud. Each part of the product has an access key of its own, as it has a role of its own in an
AWS account.

All are drawn from the owner's key, so that whoever has that one knows them, and no other has to be kept or handed on.
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
    """Says what a key is for. Of all but the owner's there is a role or policy in bootstrap/stacks/, called
    `fruits-<value>`.
    """

    OWNER = "owner"
    AIRFLOW = "airflow"
    NODES = "emr-nodes"
    PUBLISHER = "publisher"
    DELIVERER = "deliverer"
    OPERATOR = "operator"
    ANALYST = "analyst"
    LEDGER_READER = "ledger-reader"


class Caller(NamedTuple):
    """Says who signed a request, and for which region."""

    role: Role
    region: str


def credentials_of(role: Role, owner: Credentials) -> Credentials:
    """Returns the keys of a role of the local cloud."""
    if role is Role.OWNER:
        return owner
    drawn = hmac.digest(owner.secret_access_key.encode(), f"{owner.access_key_id}/{role}".encode(), "sha512").hex()
    # As AWS' own: capital letters and digits.
    access_key_id = f"LOCAL{drawn[:_ID_LETTERS].upper()}"[:_ID_LETTERS]
    return Credentials(access_key_id, drawn[_ID_LETTERS : _ID_LETTERS + _SECRET_LETTERS])


class KeyRing:
    """The keys that a server takes: its owner's and those of all roles."""

    def __init__(self, owner: Credentials) -> None:
        credentials = {role: credentials_of(role, owner) for role in Role}
        self.roles: Mapping[str, Role] = {keys.access_key_id: role for role, keys in credentials.items()}
        self.secrets: Mapping[str, str] = {keys.access_key_id: keys.secret_access_key for keys in credentials.values()}
