"""Checks what a person asks `make deploy` for, before AWS is asked for anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fruit_cli.errors import CommandError
from fruit_contract.lake import check_bucket
from fruit_contract.regions import require_eu_region

# The longest role's name, <name>-emr-service, must fit into IAM's 64 characters with room to spare.
_NAME: Final = re.compile(r"fruits(-[a-z0-9]+)*")
_LONGEST_NAME: Final = 32
_KEY: Final = re.compile(r"arn:aws:kms:([a-z0-9-]+):\d{12}:key/[0-9a-f-]{36}")
_SUBNET: Final = re.compile(r"subnet-[0-9a-f]+")
_SERVICE: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com")
_PRINCIPAL: Final = re.compile(r"arn:aws:iam::\d{12}:(role|user)/[\w+=,.@/-]+")
MAKE_SUBNETS: Final = "make"
MAKE_CERTIFICATES: Final = "make"
NO_CERTIFICATES: Final = "none"
_CERTIFICATES: Final = re.compile(rf"{MAKE_CERTIFICATES}|{NO_CERTIFICATES}|s3://[a-z0-9.-]+/(code|tls)/.+\.zip")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_ZONES: Final = ("1", "2", "3")


@dataclass(frozen=True)
class DeployRequest:
    """Says what a deployment is to have in the account. A value that was not typed is None, or empty: it stays as it
    is, or takes its default the first time.
    """

    name: str
    region: str
    bucket: str | None = None
    key: str | None = None
    subnets: tuple[str, ...] = ()
    zones: str | None = None
    ssm: bool | None = None
    airflow: str | None = None
    certificates: str | None = None
    email: str | None = None
    budget_usd: int | None = None

    def __post_init__(self) -> None:
        """Raises RefusedError or CommandError if a value can't be meant."""
        check_name(self.name)
        require_eu_region(self.region)
        if self.bucket is not None:
            check_bucket(self.bucket)
        key = _KEY.fullmatch(self.key) if self.key else None
        if self.key and (not key or key[1] != self.region):
            raise CommandError(
                f"KMS_KEY is '{self.key}': give the ARN of a KMS key in {self.region}, "
                f"arn:aws:kms:{self.region}:<account>:key/<id>."
            )
        for subnet in () if self.subnets == (MAKE_SUBNETS,) else self.subnets:
            _check(
                _SUBNET,
                subnet,
                "SUBNETS",
                f"subnet ids with commas in between, for example subnet-0abc1234; or '{MAKE_SUBNETS}' alone, for a "
                "network of our own",
            )
        if self.zones is not None and self.zones not in _ZONES:
            raise CommandError(f"ZONES is '{self.zones}': give 1, 2 or 3.")
        if self.airflow and not _PRINCIPAL.fullmatch(self.airflow):
            _check(
                _SERVICE,
                self.airflow,
                "AIRFLOW",
                "the ARN of the role or user that Airflow runs under, or the service that runs it, for example "
                "ec2.amazonaws.com",
            )
        _check(
            _CERTIFICATES,
            self.certificates,
            "CERTIFICATES",
            f"'{MAKE_CERTIFICATES}', '{NO_CERTIFICATES}', or the address of a zip below tls/ of the lake, "
            "s3://<bucket>/tls/...zip",
        )
        _check(_EMAIL, self.email, "ALERT_EMAIL", "an address such as team@example.org")


def check_name(name: str) -> str:
    """Returns `name`. Raises CommandError if no deployment can have it."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise CommandError(
            f"STACK is '{name}': give 'fruits', or that and more words of small letters and digits, with hyphens "
            f"between ('fruits-test'), {_LONGEST_NAME} characters at most."
        )
    return name


def default_bucket(name: str, account: str, region: str) -> str:
    """Returns the name of the bucket that a deployment makes if none is named. The account is in it, because the name
    must be unique in the whole world.
    """
    return f"{name}-lake-{account}-{region}"


def _check(pattern: re.Pattern[str], value: str | None, variable: str, wanted: str) -> None:
    if value and not pattern.fullmatch(value):
        raise CommandError(f"{variable} is '{value}': give {wanted}.")
