"""The keys of one local cloud: drawn once, kept in a file that only its owner may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
import string
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "secrets.json"
_KEY_ID_LETTERS: Final = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class LocalSecrets:
    """`access_key_id` and `secret_access_key` open S3 and EMR, the others are Airflow's."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    airflow_fernet_key: str = field(repr=False)
    airflow_jwt_secret: str = field(repr=False)
    airflow_api_secret: str = field(repr=False)


def load_or_draw(home: Path) -> LocalSecrets:
    """The secrets of `home`. Drawn at the first call; Airflow's database can't be read again without them."""
    path = home / FILE_NAME
    try:
        return LocalSecrets(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        drawn = draw()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(drawn), stream, indent=2)
    return drawn


def draw() -> LocalSecrets:
    return LocalSecrets(
        # 20 capital letters and digits, as AWS's are.
        access_key_id="LOCAL" + "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(15)),
        secret_access_key=secrets.token_hex(20),
        airflow_fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        airflow_jwt_secret=secrets.token_urlsafe(48),
        airflow_api_secret=secrets.token_urlsafe(32),
    )
