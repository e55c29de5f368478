"""Draws the keys of a local cloud once, and keeps them in a file that only its owner may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
import string
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from local_cloud.keys import credentials_of
from local_cloud.signature import Credentials

if TYPE_CHECKING:
    from pathlib import Path

    from local_cloud.keys import Role

FILE_NAME: Final = "secrets.json"
_KEY_ID_LETTERS: Final = string.ascii_uppercase + string.digits
_TYPED_LETTERS: Final = string.ascii_letters + string.digits


@dataclass(frozen=True)
class LocalSecrets:
    """Holds the owner's access key, which opens S3 and EMR, and Airflow's secrets.

    `airflow_password` is that of Airflow's one user.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    airflow_fernet_key: str = field(repr=False)
    airflow_jwt_secret: str = field(repr=False)
    airflow_api_secret: str = field(repr=False)
    airflow_password: str = field(repr=False)

    def keys_of(self, role: Role) -> Credentials:
        return credentials_of(role, Credentials(self.access_key_id, self.secret_access_key))


def load_or_draw(home: Path) -> LocalSecrets:
    """Returns the secrets of `home`, and draws those that its file does not have yet.

    Airflow's database can't be read without them.
    """
    path = home / FILE_NAME
    try:
        there: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = {}
    kept = {name: there.get(name, drawn) for name, drawn in asdict(draw()).items()}
    if kept != there:
        write_for_owner(path, json.dumps(kept, indent=2))
    return LocalSecrets(**kept)


def write_for_owner(path: Path, text: str) -> None:
    """Replaces the file atomically with one that only its owner may read."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(path)


def draw() -> LocalSecrets:
    return LocalSecrets(
        # AWS's have 20 capital letters and digits, too.
        access_key_id="LOCAL" + "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(15)),
        secret_access_key=secrets.token_hex(20),
        airflow_fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        airflow_jwt_secret=secrets.token_urlsafe(48),
        airflow_api_secret=secrets.token_urlsafe(32),
        # People type it, so it has only letters and digits: 119 bits.
        airflow_password="".join(secrets.choice(_TYPED_LETTERS) for _ in range(20)),
    )
