"""Holds everything that can be set, read once from the environment into one frozen, validated object.

To read it is cheap and does no I/O, because the DAG file does so at each parse. A field says all there is to say of its
setting, and `docs/settings.md` is written from it. The fields are the standard library's: pydantic-settings would add
40 ms to each parse of a DAG file and 0.25 s to commands, and its messages don't say what a variable may hold, so that
would be written beside it all the same.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import lake
from fruit_contract.day_boundary import DayBoundary
from fruit_contract.pca import DEFAULT_KEPT_VERSIONS, PolicySettings, RefreshPolicy
from fruit_contract.regions import DEFAULT_REGION, EU_REGIONS, require_eu_region
from fruit_contract.release import DEFAULT_ENGINE, ENGINES
from fruit_pipeline.errors import LakeElsewhereError, SettingsError
from fruit_pipeline.setting_fields import (
    ABSOLUTE_PATH,
    ANY_TEXT,
    CRON,
    NAME,
    TIME_ZONE,
    Kind,
    declaration_of,
    number,
    one_of,
    setting,
    text_like,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SPOT: Final = "spot"
ON_DEMAND: Final = "on-demand"

# These are prices of an hour on demand in eu-west-1 with EMR's own charge, in euros, rounded up. They are a guide for
# the plan, not a bill. Those of Graviton types are from memory of AWS' lists of 2025 (docs/operations.md): an xlarge,
# and its multiples.
_XLARGES: Final = {"xlarge": 1, "2xlarge": 2, "4xlarge": 4}
_GRAVITON_XLARGE: Final = {"m6g": 0.20, "m7g": 0.21, "c6g": 0.17, "c7g": 0.18, "r6g": 0.26}
DEFAULT_PRICES_EUR_PER_HOUR: Final = {
    "m5.xlarge": 0.25,
    "m5.2xlarge": 0.5,
    "m5.4xlarge": 1.0,
    "c5.4xlarge": 0.89,
    "r5.xlarge": 0.32,
    **{
        f"{family}.{size}": round(times * price, 2)
        for family, price in _GRAVITON_XLARGE.items()
        for size, times in _XLARGES.items()
    },
}

_A_WEEK_OF_HOURS: Final = 24 * 7
_POLICY: Final = PolicySettings()
_INSTANCE_TYPE: Final = r"[a-z][a-z0-9-]*\.[a-z0-9-]+"


def _read_prices(text: str) -> tuple[tuple[str, float], ...]:
    table = json.loads(text)
    if not isinstance(table, dict) or not all(
        _is_price(price) and re.fullmatch(_INSTANCE_TYPE, kind) for kind, price in table.items()
    ):
        raise ValueError(text)
    return tuple(sorted((DEFAULT_PRICES_EUR_PER_HOUR | {kind: float(price) for kind, price in table.items()}).items()))


def _is_price(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


_INSTANCE: Final = text_like(_INSTANCE_TYPE, "an EC2 instance type, for example m5.xlarge")
_BUCKET: Final = text_like(
    lake.BUCKET_NAME.pattern, "a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens"
)
_ACCOUNT: Final = text_like(r"\d{12}", "the twelve digits of an AWS account")
_RELEASE: Final = text_like(
    r"[A-Za-z0-9._-]{1,128}", "a release's id, as `make publish` prints it, or empty for the published one"
)
_EU: Final = "|".join(sorted(EU_REGIONS))
_QUEUE: Final = text_like(
    rf"https?://((vpce-[\w-]+\.)?sqs\.({_EU})\.(vpce\.)?amazonaws\.com|(?![^/]*amazonaws)[^\s/]+)/\d{{12}}/[A-Za-z0-9_-]{{1,80}}",
    "the URL of a standard SQS queue in a region inside the EU",
)
_TOPIC: Final = text_like(
    rf"arn:aws:sns:({_EU}):\d{{12}}:[A-Za-z0-9_-]{{1,256}}",
    "the ARN of an SNS topic (a standard one) in a region inside the EU",
)
_KEY: Final = text_like(
    rf"arn:aws:kms:({_EU}):\d{{12}}:key/[a-z0-9-]+", "the ARN of a KMS key in a region inside the EU"
)
_EMR_RELEASE: Final = text_like(r"emr-\d+\.\d+\.\d+", "an EMR release, for example emr-7.14.0")
_SUBNETS: Final = text_like(
    r"subnet-[0-9a-f]+(,subnet-[0-9a-f]+)*",
    "a subnet's id, for example subnet-0abc1234, or several with commas in between",
)
_PRICES: Final = Kind('JSON of euros an hour by instance type, for example {"m5.xlarge": 0.25}', _read_prices)


@dataclass(frozen=True)
class Settings:
    """Says how this deployment runs."""

    # An empty name is refused by each run, and not here, for the same reason as a region outside the EU.
    lake_bucket: str = setting(
        "", _BUCKET, "the lake's bucket; without it, every run stops before anything is created", part="where"
    )
    lake_owner: str = setting(
        "",
        _ACCOUNT,
        "the AWS account that owns the bucket: S3 refuses each request of Airflow's to a bucket of another; empty for "
        "any",
    )
    # Any text is allowed here, because a region outside the EU must fail a run with a clear message, and not make the
    # whole DAG vanish behind an import error.
    region: str = setting(
        DEFAULT_REGION,
        ANY_TEXT,
        "its region, one inside the EU; or every run stops before anything is created",
        variable="FRUITS_AWS_REGION",
    )
    aws_conn_id: str = setting(
        "aws_default", NAME, "Airflow's connection; without keys in it, the role Airflow runs under"
    )
    release: str = setting(
        "", _RELEASE, "pins a code release; without it, the one that `code/current.json` names is run"
    )
    engine: str = setting(
        DEFAULT_ENGINE,
        one_of(ENGINES),
        "which library runs the network on the nodes; for tensorflow, publish with `python -m fruit_cli publish "
        "--with-tensorflow`",
    )

    schedule: str = setting(
        "0 0 * * *", CRON, "in `FRUITS_TIMEZONE`: when a day's run starts to wait for its batch", part="when"
    )
    timezone: str = setting(
        "UTC",
        TIME_ZONE,
        "where the ingest day of a run begins at midnight, summer and winter. `make backfill` reads it, too, and asks "
        "for whole days; *Backfill* in the UI asks for moments",
    )
    day_offset_hours: float = setting(
        0.0,
        number(-24, 24),
        "how long after that midnight (negative: before it) the day begins: with 4, what is started at 03:00 is about "
        "the day before. Set `FRUITS_SCHEDULE` to match",
        unit="hours",
    )
    batch_timeout_hours: float = setting(
        30.0,
        number(0, _A_WEEK_OF_HOURS),
        "how long a run waits for its batch, from its start and over all tries; then people are told, and it goes on "
        "with the days before",
        unit="hours",
    )
    batch_poll_seconds: int = setting(
        60,
        whole_number(1, 3600),
        "how often it looks for the batch; unset, as often as `FRUITS_POLL_SECONDS` says if that is set",
        unit="seconds",
    )
    lookback_days: int = setting(
        7, whole_number(0, 366), "how many earlier days a scheduled run also looks at", unit="days"
    )
    batch_queue_url: str = setting(
        "", _QUEUE, "an SQS queue whose messages start runs, too ([bootstrap/README.md](../bootstrap/README.md))"
    )

    target_variance: float = setting(
        _POLICY.target_variance, number(0, 1), "the share of the variance to keep", part="the PCA"
    )
    pca_policy: RefreshPolicy = setting(_POLICY.policy, one_of(RefreshPolicy), "when the PCA is fitted anew")
    pca_margin: float = setting(
        _POLICY.margin, number(0, 1), "`auto` fits when the version keeps less than the target minus this"
    )
    pca_growth: float = setting(
        _POLICY.growth, number(1, 1_000_000), "`auto` fits when images grew by this factor", unit="times"
    )
    pca_always_below: int = setting(
        _POLICY.always_below, whole_number(0, 999_999_999), "`auto` fits every time below so many", unit="images"
    )
    pca_keep_versions: int = setting(
        DEFAULT_KEPT_VERSIONS, whole_number(1, 1000), "how many versions stay", unit="versions"
    )

    emr_release_label: str = setting("emr-7.14.0", _EMR_RELEASE, "what EMR installs on the nodes", part="the cluster")
    primary_instance_type: str = setting(
        "m5.xlarge",
        _INSTANCE,
        "one node, on demand; its memory bounds the images of a run ([operations.md](operations.md#instance-types))",
    )
    core_instance_type: str = setting(
        "m5.xlarge",
        _INSTANCE,
        "core and task nodes; siblings of the same size (m5a, m5d, m6i, m6a) that the region has are taken if EMR "
        "finds them cheaper or sooner",
    )
    core_instance_count: int = setting(2, whole_number(1, 1000), "core nodes, on demand", unit="nodes")
    task_instance_max: int = setting(8, whole_number(0, 1000), "the most task nodes a run may get", unit="nodes")
    task_market: str = setting(SPOT, one_of((SPOT, ON_DEMAND)), "how task nodes are bought")
    spot_timeout_minutes: int = setting(
        10, whole_number(5, 1440), "without a spot node within this, on demand", unit="minutes"
    )
    target_minutes: float = setting(
        60.0,
        number(0, _A_WEEK_OF_HOURS * 60),
        "`plan_run` takes the fewest task nodes that should do a run within this",
        unit="minutes",
    )
    subnet_id: str = setting("", _SUBNETS, "the tagged private subnet")
    service_role: str = setting("EMR_DefaultRole", NAME, "EMR's own role")
    instance_profile: str = setting("EMR_EC2_DefaultRole", NAME, "the nodes' role")
    security_configuration: str = setting("", NAME, "the security configuration's name: encryption, IMDSv2")
    log_key: str = setting(
        "",
        _KEY,
        "the key with which EMR encrypts its logs in the lake; without it, S3's own. The rest is encrypted as the "
        "bucket says",
    )
    root_volume_gib: int = setting(30, whole_number(15, 100), "a node's disk", unit="GiB")

    idle_timeout_seconds: int = setting(
        1800,
        whole_number(60, 604800),
        "the cluster ends itself when idle so long; one that waits for its turn at the PCA may be idle for as long as "
        "that takes",
        unit="seconds",
        part="patience",
    )
    step_timeout_hours: float = setting(
        6.0, number(0, _A_WEEK_OF_HOURS), "a step that runs longer is cancelled and given up", unit="hours"
    )
    poll_seconds: int = setting(30, whole_number(1, 3600), "how often Airflow asks EMR", unit="seconds")
    log_wait_minutes: float = setting(
        10.0,
        number(0, 60),
        "how long a failed step's task waits for its logs; the cluster is up meanwhile",
        unit="minutes",
    )
    retry_delay_seconds: int = setting(
        60, whole_number(1, 3600), "how long a task waits before it is tried again", unit="seconds"
    )
    sweep_schedule: str = setting("*/30 * * * *", CRON, "in UTC: when orphan clusters are looked for")
    sweep_grace_minutes: int = setting(
        20, whole_number(0, 24 * 60), "the sweep leaves a younger cluster alone", unit="minutes"
    )

    budget_eur: float = setting(
        25.0,
        number(0, 1_000_000),
        "a run whose estimate is above this, or has no price, stops",
        unit="EUR",
        part="money",
    )
    prices_eur_per_hour: tuple[tuple[str, float], ...] = setting(
        tuple(sorted(DEFAULT_PRICES_EUR_PER_HOUR.items())),
        _PRICES,
        "on demand, EMR's charge included; what is given is added to the default",
        unit="EUR an hour",
    )
    spot_price_share: float = setting(0.5, number(0, 1), "what a spot node costs of the price on demand")
    images_per_second_per_vcpu: float = setting(
        30.0,
        number(0, 1_000_000),
        "the speed to plan with until a run of 2,000 images or more has measured it (`runs/_measured_speed.json`)",
        unit="images/s",
    )
    cluster_start_minutes: float = setting(7.0, number(0, 240), "from the request to the first step", unit="minutes")
    fixed_work_minutes: float = setting(
        3.0, number(0, 240), "what a run takes however few images it has", unit="minutes"
    )

    late_after_hours: float = setting(
        36.0,
        number(0, 24 * 31),
        "people are told of a run that is running at the moment so long after it was first queued, not of one that is "
        "still queued then; unset, it is never less than the waits for batch and step together",
        unit="hours",
        part="news",
    )
    sns_topic_arn: str = setting(
        "", _TOPIC, "who is told, named `fruits-…` ([Airflow's policy](../bootstrap/stacks/airflow.yaml))"
    )
    notification_file: str = setting("", ABSOLUTE_PATH, "where what people are told is written, too, as lines of JSON")

    def require_place(self) -> None:
        """Raises RegionNotAllowedError for a region outside the EU, and LakeElsewhereError if the lake is not named."""
        require_eu_region(self.region)
        if not self.lake_bucket:
            raise LakeElsewhereError(
                "FRUITS_LAKE_BUCKET is not set, so there is no lake. Set it for all of Airflow's processes."
            )

    @property
    def day_boundary(self) -> DayBoundary:
        return DayBoundary(self.timezone, self.day_offset_hours)

    def pca_rules(self, asked: RefreshPolicy | None = None) -> PolicySettings:
        """Returns what decides whether the PCA is fitted anew. The policy is `asked`, or the settings' own if that is
        None.
        """
        return PolicySettings(
            asked or self.pca_policy, self.target_variance, self.pca_margin, self.pca_growth, self.pca_always_below
        )

    @property
    def prices(self) -> dict[str, float]:
        return dict(self.prices_eur_per_hour)


VARIABLES: Final[Mapping[str, str]] = {
    field.name: declaration_of(field).variable or f"FRUITS_{field.name.upper()}" for field in fields(Settings)
}
"""The environment variable of every field."""


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Returns the settings of `environment` (default: the process's own). An unset or empty variable takes the default.

    Raises SettingsError, whose message names every bad variable at once.
    """
    settings, problems = read_settings(environment)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def read_settings(environment: Mapping[str, str] | None = None) -> tuple[Settings, list[str]]:
    """Returns the settings and a sentence for each bad variable, which takes its default. It is for callers that must
    work whatever the variables hold.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(Settings):
        text = environment.get(VARIABLES[field.name], "").strip()
        if not text:
            continue
        kind = declaration_of(field).kind
        try:
            values[field.name] = kind.read(text)
        except ValueError:
            problems.append(f"{VARIABLES[field.name]} is '{text}': it must be {kind.allowed}.")
    return _with_what_follows(Settings(**values), values.keys()), problems


def _with_what_follows(settings: Settings, given: Collection[str]) -> Settings:
    """Returns the settings with the two defaults that follow from other settings, if those are given."""
    if "batch_poll_seconds" not in given and "poll_seconds" in given:
        settings = replace(settings, batch_poll_seconds=settings.poll_seconds)
    if "late_after_hours" not in given:
        # A run that only waits for its batch is not late yet.
        hours = max(settings.late_after_hours, settings.batch_timeout_hours + settings.step_timeout_hours)
        settings = replace(settings, late_after_hours=hours)
    return settings
