"""Reads and writes the file that `make deploy` leaves, which tells Airflow and the commands where the AWS lake is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_contract.regions import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_FILE: Final = "fruits.env"
FILE_VARIABLE: Final = "FRUITS_ENV_FILE"
_LINE: Final = re.compile(r"(FRUITS_[A-Z_]+)=(.*)")


def environment_file(environment: Mapping[str, str] | None = None) -> Path:
    """Returns where the file is: FRUITS_ENV_FILE, else fruits.env in the current folder."""
    return Path((os.environ if environment is None else environment).get(FILE_VARIABLE) or DEFAULT_FILE)


def deployed_region(environment: Mapping[str, str]) -> str:
    """Returns the region that the environment names, else the one of the last deployment, else the default."""
    return with_deployed(environment).get("FRUITS_AWS_REGION") or DEFAULT_REGION


def with_deployed(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment, completed with what the file says where the environment itself says nothing."""
    return read_environment_file(environment_file(environment)) | {
        name: value for name, value in environment.items() if value
    }


def read_environment_file(path: Path) -> dict[str, str]:
    """Returns the FRUITS_ variables of the file; an empty dictionary if it is not there."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {found[1]: found[2] for line in lines if (found := _LINE.fullmatch(line.strip()))}


def write_environment_file(path: Path, values: Mapping[str, str], comments: Sequence[str]) -> None:
    """Writes the file as shells, systemd and Docker read it. It has no quotes, because no value needs any."""
    lines = [*(f"# {comment}" for comment in comments), *(f"{name}={value}" for name, value in values.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
