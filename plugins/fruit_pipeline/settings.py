"""Everything that can be set, read once from the environment into one frozen, validated object.

Cheap and free of I/O, for the DAG file reads it at parse time. The region is deliberately not checked here: a region
outside the EU must fail a run with a clear message, not make the whole DAG vanish behind an import error.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from fruit_contract import lake
from fruit_contract.day_boundary import DayBoundary
from fruit_contract.regions import DEFAULT_REGION, EU_REGIONS
from fruit_contract.release import DEFAULT_ENGINE, ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PCA_POLICIES: Final = ("auto", "always", "never")
SPOT: Final = "spot"
ON_DEMAND: Final = "on-demand"

# One hour on demand in eu-west-1 with EMR's own charge, in euros, rounded up. A guide for the plan, not a bill.
DEFAULT_PRICES_EUR_PER_HOUR: Final = {"m5.xlarge": 0.25, "m5.2xlarge": 0.5, "m5.4xlarge": 1.0, "c5.4xlarge": 0.89, "r5.xlarge": 0.32}

_INSTANCE_TYPE: Final = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_CRON_FIELDS: Final = 5


class SettingsError(ValueError):
    """One or more FRUITS_* variables hold what they may not. The message names each and says what is allowed."""


@dataclass(frozen=True)
class Settings:
    """How this deployment runs. Every field is read from the variable `FRUITS_<FIELD NAME>`; see `VARIABLES` for the exceptions."""

    lake_bucket: str = lake.DEFAULT_BUCKET
    region: str = DEFAULT_REGION
    aws_conn_id: str = "aws_default"
    release: str = ""
    engine: str = DEFAULT_ENGINE
    target_variance: float = 0.95
    pca_policy: str = "auto"
    pca_margin: float = 0.005
    pca_growth: float = 1.5
    pca_always_below: int = 5000
    pca_keep_versions: int = 3

    schedule: str = "0 0 * * *"
    timezone: str = "UTC"
    day_offset_hours: float = 0.0
    batch_timeout_hours: float = 30.0
    batch_poll_seconds: int = 60
    lookback_days: int = 7
    batch_queue_url: str = ""
    poll_seconds: int = 30
    step_timeout_hours: float = 6.0
    log_wait_minutes: float = 10.0
    retry_delay_seconds: int = 60
    late_after_hours: float = 36.0
    sweep_schedule: str = "*/30 * * * *"
    sweep_grace_minutes: int = 20
    sns_topic_arn: str = ""
    notification_file: str = ""

    emr_release_label: str = "emr-7.14.0"
    primary_instance_type: str = "m5.xlarge"
    core_instance_type: str = "m5.xlarge"
    core_instance_count: int = 2
    task_instance_max: int = 8
    task_market: str = "spot"
    spot_timeout_minutes: int = 10
    target_minutes: float = 60.0
    subnet_id: str = ""
    service_role: str = "EMR_DefaultRole"
    instance_profile: str = "EMR_EC2_DefaultRole"
    security_configuration: str = ""
    idle_timeout_seconds: int = 1800
    root_volume_gib: int = 30

    images_per_second_per_vcpu: float = 30.0
    cluster_start_minutes: float = 7.0
    fixed_work_minutes: float = 3.0
    budget_eur: float = 25.0
    spot_price_share: float = 0.5
    prices_eur_per_hour: tuple[tuple[str, float], ...] = tuple(sorted(DEFAULT_PRICES_EUR_PER_HOUR.items()))

    @property
    def day_boundary(self) -> DayBoundary:
        return DayBoundary(self.timezone, self.day_offset_hours)

    @property
    def prices(self) -> dict[str, float]:
        return dict(self.prices_eur_per_hour)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of `environment` (default: the process's own). An unset or empty variable takes the default.

    Raises SettingsError that names every bad variable at once.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    problems: list[str] = []
    for name, parse in _PARSERS.items():
        text = environment.get(VARIABLES[name], "").strip()
        if not text:
            continue
        try:
            values[name] = parse(text)
        except ValueError as error:
            problems.append(f"{VARIABLES[name]} is '{text}': {error}")
    if "batch_poll_seconds" not in values and "poll_seconds" in values:
        values["batch_poll_seconds"] = values["poll_seconds"]
    if problems:
        raise SettingsError("\n".join(problems))
    settings = Settings(**values)  # type: ignore[arg-type]  # each parser returns its field's type; a test holds the two together
    if "late_after_hours" not in values:
        # A run that only waits for its batch is not late yet.
        late_after_hours = max(settings.late_after_hours, settings.batch_timeout_hours + settings.step_timeout_hours)
        settings = replace(settings, late_after_hours=late_after_hours)
    return settings


# --- parsers: text of a variable to the field's value, or ValueError that says what is allowed


def _matching(pattern: re.Pattern[str], allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"it must be {allowed}.")
        return text

    return parse


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"it must be one of {', '.join(allowed)}.")
        return text

    return parse


def _whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError(f"it must be a whole number from {lowest} to {highest}.")
        return int(text)

    return parse


def _number(above: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not above < number <= highest:
            raise ValueError(f"it must be a number above {above:g}, at most {highest:g}.")
        return number

    return parse


def _cron(text: str) -> str:
    if len(text.split()) != _CRON_FIELDS:
        raise ValueError("it must be a cron expression of five fields, for example '0 0 * * *' (midnight).")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # unknown, no name at all, or a folder of them
        raise ValueError("it must be the name of a time zone, for example Europe/Berlin.") from None
    return text


def _absolute_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("it must be the absolute path of a file.")
    return text


def _prices(text: str) -> tuple[tuple[str, float], ...]:
    message = 'it must be JSON of euros an hour by instance type, for example {"m5.xlarge": 0.25}.'
    try:
        table = json.loads(text)
    except ValueError:
        raise ValueError(message) from None
    if not isinstance(table, dict) or not all(_is_price(price) and _INSTANCE_TYPE.fullmatch(kind) for kind, price in table.items()):
        raise ValueError(message)
    return tuple(sorted((DEFAULT_PRICES_EUR_PER_HOUR | {kind: float(price) for kind, price in table.items()}).items()))


def _is_price(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


_NAME: Final = _matching(re.compile(r"[A-Za-z0-9_.:/+=,@-]{1,256}"), "a name of letters, digits and _.:/+=,@-")
_INSTANCE: Final = _matching(_INSTANCE_TYPE, "an EC2 instance type, for example m5.xlarge")

_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "lake_bucket": _matching(lake.BUCKET_NAME, "a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens"),
    "region": str,
    "aws_conn_id": _NAME,
    "release": _matching(
        re.compile(r"[A-Za-z0-9._-]{1,128}"), "a release's id, as `make publish` prints it, or empty for the published one"
    ),
    "engine": _one_of(*ENGINES),
    "target_variance": _number(0, 1),
    "pca_policy": _one_of(*PCA_POLICIES),
    "pca_margin": _number(0, 1),
    "pca_growth": _number(1, 1_000_000),
    "pca_always_below": _whole_number(0, 999_999_999),
    "pca_keep_versions": _whole_number(1, 1000),
    "schedule": _cron,
    "timezone": _timezone,
    "day_offset_hours": _number(-24, 24),
    "batch_timeout_hours": _number(0, 24 * 7),
    "batch_poll_seconds": _whole_number(1, 3600),
    "lookback_days": _whole_number(0, 366),
    "batch_queue_url": _matching(re.compile(r"https?://[^\s/]+/\d{12}/[A-Za-z0-9_-]{1,80}"), "the URL of a standard SQS queue"),
    "poll_seconds": _whole_number(1, 3600),
    "step_timeout_hours": _number(0, 24 * 7),
    "log_wait_minutes": _number(0, 60),
    "retry_delay_seconds": _whole_number(1, 3600),
    "late_after_hours": _number(0, 24 * 31),
    "sweep_schedule": _cron,
    "sweep_grace_minutes": _whole_number(0, 24 * 60),
    "sns_topic_arn": _matching(
        re.compile(rf"arn:aws:sns:({'|'.join(sorted(EU_REGIONS))}):\d{{12}}:[A-Za-z0-9_-]{{1,256}}"),
        "the ARN of an SNS topic (a standard one) in a region inside the EU",
    ),
    "notification_file": _absolute_path,
    "emr_release_label": _matching(re.compile(r"emr-\d+\.\d+\.\d+"), "an EMR release, for example emr-7.14.0"),
    "primary_instance_type": _INSTANCE,
    "core_instance_type": _INSTANCE,
    "core_instance_count": _whole_number(1, 1000),
    "task_instance_max": _whole_number(0, 1000),
    "task_market": _one_of(SPOT, ON_DEMAND),
    "spot_timeout_minutes": _whole_number(5, 1440),
    "target_minutes": _number(0, 24 * 60 * 7),
    "subnet_id": _matching(
        re.compile(r"subnet-[0-9a-f]+(,subnet-[0-9a-f]+)*"), "a subnet's id, for example subnet-0abc1234, or several with commas in between"
    ),
    "service_role": _NAME,
    "instance_profile": _NAME,
    "security_configuration": _NAME,
    "idle_timeout_seconds": _whole_number(60, 604800),
    "root_volume_gib": _whole_number(15, 100),
    "images_per_second_per_vcpu": _number(0, 1_000_000),
    "cluster_start_minutes": _number(0, 240),
    "fixed_work_minutes": _number(0, 240),
    "budget_eur": _number(0, 1_000_000),
    "spot_price_share": _number(0, 1),
    "prices_eur_per_hour": _prices,
}

VARIABLES: Final[Mapping[str, str]] = {field.name: f"FRUITS_{field.name.upper()}" for field in fields(Settings)} | {
    "region": "FRUITS_AWS_REGION"
}
"""The environment variable of every field."""
