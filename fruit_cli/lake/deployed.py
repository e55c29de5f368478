"""Reads and writes the file that `make deploy` leaves, which tells Airflow and the commands where the AWS lake is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from fruit_contract.regions import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_FILE: Final = "fruits.env"
FILE_VARIABLE: Final = "FRUITS_ENV_FILE"
STACK_VARIABLE: Final = "FRUITS_STACK"
BUCKET_VARIABLE: Final = "FRUITS_LAKE_BUCKET"
REGION_VARIABLE: Final = "FRUITS_AWS_REGION"
OWNER_VARIABLE: Final = "FRUITS_LAKE_OWNER"
DEFAULT_NAME: Final = "fruits"
# The lines of the file.
DEPLOYED_VARIABLES: Final = (
    STACK_VARIABLE,
    REGION_VARIABLE,
    BUCKET_VARIABLE,
    OWNER_VARIABLE,
    "FRUITS_SERVICE_ROLE",
    "FRUITS_INSTANCE_PROFILE",
    "FRUITS_SECURITY_CONFIGURATION",
    "FRUITS_LOG_KEY",
    "FRUITS_SUBNET_ID",
    "FRUITS_BATCH_QUEUE_URL",
    "FRUITS_SNS_TOPIC_ARN",
)
_LINE: Final = re.compile(r"(FRUITS_[A-Z_]+)=(.*)")


def environment_file(environment: Mapping[str, str] | None = None) -> Path:
    """Returns where the file is: FRUITS_ENV_FILE, else fruits.env in the current folder."""
    return Path((os.environ if environment is None else environment).get(FILE_VARIABLE) or DEFAULT_FILE)


def deployed_region(environment: Mapping[str, str]) -> str:
    """Returns the region that the environment names, else the one of the last deployment, else the default."""
    return with_deployed(environment).get(REGION_VARIABLE) or DEFAULT_REGION


def deployed_name(typed: str | None, environment: Mapping[str, str]) -> str:
    """Returns which deployment is meant: the one that was typed, else the one whose variables are loaded or whose file
    is here, else the default.

    Raises CommandError if one was typed and another one's variables are loaded, whose bucket would be taken for this
    one's; or if a file was named that is another one's, or does not say whose it is.
    """
    loaded = environment.get(STACK_VARIABLE)
    if typed and loaded and typed != loaded:
        raise CommandError(f"STACK is '{typed}', and {_loaded_in_words(loaded)}")
    of_file = read_environment_file(environment_file(environment)).get(STACK_VARIABLE)
    if typed and environment.get(FILE_VARIABLE) and of_file not in (None, typed):
        raise CommandError(f"STACK is '{typed}', and {FILE_VARIABLE} names a file of '{of_file}'. Name one of them.")
    named = typed or with_deployed(environment).get(STACK_VARIABLE)
    if not named and environment.get(FILE_VARIABLE):
        raise CommandError(
            f"{FILE_VARIABLE} is '{environment_file(environment)}', and there is no such file, or it does not say of "
            f"which STACK it is. Type STACK, too (STACK={DEFAULT_NAME} if you never typed one)."
        )
    return named or DEFAULT_NAME


def with_deployed(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment, completed with what the file says where the environment itself says nothing. Raises
    CommandError if they are of two deployments.
    """
    path = environment_file(environment)
    file = read_environment_file(path)
    loaded, named = environment.get(STACK_VARIABLE), file.get(STACK_VARIABLE)
    if loaded and named and loaded != named:
        raise CommandError(f"{path} is of '{named}', and {_loaded_in_words(loaded)}")
    bucket = environment.get(BUCKET_VARIABLE)
    if bucket and environment.get(FILE_VARIABLE) and file.get(BUCKET_VARIABLE, bucket) != bucket:
        raise CommandError(
            f"{path} is of the lake {file[BUCKET_VARIABLE]}, and {BUCKET_VARIABLE} is {bucket} in this shell. Unset "
            "one of them."
        )
    return file | {name: value for name, value in environment.items() if value}


def without_deployed(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment as it is for the local cloud: without the lines of a file that is loaded."""
    if not environment.get(STACK_VARIABLE):
        return dict(environment)
    return {name: value for name, value in environment.items() if name not in DEPLOYED_VARIABLES}


def require_named_file(environment: Mapping[str, str]) -> None:
    """Raises CommandError if a file is named that is not there."""
    path = environment_file(environment)
    if environment.get(FILE_VARIABLE) and not path.is_file():
        raise CommandError(f"{FILE_VARIABLE} is '{path}', and there is no such file.")


def is_of_another(path: Path, name: str, bucket: str) -> bool:
    """Returns whether the file is of another deployment, or of another lake."""
    file = read_environment_file(path)
    return (file.get(STACK_VARIABLE, name), file.get(BUCKET_VARIABLE, bucket)) != (name, bucket)


def known_of(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Returns what the environment and the file say of a deployment. A file of another one says nothing of it."""
    file = read_environment_file(environment_file(environment))
    return (file if file.get(STACK_VARIABLE, name) == name else {}) | {
        variable: value for variable, value in environment.items() if value
    }


def _loaded_in_words(loaded: str) -> str:
    return (
        f"this shell has the variables of '{loaded}' loaded. Type it in a new shell, or unset them first "
        "(`unset ${!FRUITS_@}` in bash)."
    )


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
