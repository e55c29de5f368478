from __future__ import annotations

from dataclasses import fields

import pytest

from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.errors import LakeElsewhereError, SettingsError
from fruit_pipeline.settings import VARIABLES, Settings, load_settings, read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({"FRUITS_LAKE_BUCKET": "", "FRUITS_POLL_SECONDS": "  "}) == Settings()


def test_every_field_has_a_variable_of_its_own() -> None:
    assert sorted(VARIABLES) == sorted(field.name for field in fields(Settings))
    assert len(set(VARIABLES.values())) == len(VARIABLES)


def test_reads_every_variable_into_the_type_of_its_field() -> None:
    environment = {
        "FRUITS_LAKE_BUCKET": "my-lake",
        "FRUITS_LAKE_OWNER": "123456789012",
        "FRUITS_AWS_REGION": "eu-north-1",
        "FRUITS_AWS_CONN_ID": "aws_other",
        "FRUITS_RELEASE": "0123abcd",
        "FRUITS_ENGINE": "tensorflow",
        "FRUITS_TARGET_VARIANCE": "0.9",
        "FRUITS_PCA_POLICY": "always",
        "FRUITS_PCA_MARGIN": "0.01",
        "FRUITS_PCA_GROWTH": "2",
        "FRUITS_PCA_ALWAYS_BELOW": "100",
        "FRUITS_PCA_KEEP_VERSIONS": "9",
        "FRUITS_LOOKBACK_DAYS": "14",
        "FRUITS_BATCH_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/fruit-image-batches",
        "FRUITS_SCHEDULE": "30 4 * * 1-5",
        "FRUITS_TIMEZONE": "Europe/Berlin",
        "FRUITS_DAY_OFFSET_HOURS": "-1.5",
        "FRUITS_BATCH_TIMEOUT_HOURS": "1.5",
        "FRUITS_BATCH_POLL_SECONDS": "7",
        "FRUITS_POLL_SECONDS": "2",
        "FRUITS_STEP_TIMEOUT_HOURS": "12",
        "FRUITS_LOG_WAIT_MINUTES": "3.5",
        "FRUITS_RETRY_DELAY_SECONDS": "5",
        "FRUITS_LATE_AFTER_HOURS": "30",
        "FRUITS_SWEEP_SCHEDULE": "15 * * * *",
        "FRUITS_SWEEP_GRACE_MINUTES": "0",
        "FRUITS_SNS_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:fruits-alerts",
        "FRUITS_NOTIFICATION_FILE": "/var/log/fruits/notifications.jsonl",
        "FRUITS_EMR_RELEASE_LABEL": "emr-7.13.0",
        "FRUITS_PRIMARY_INSTANCE_TYPE": "m6g.xlarge",
        "FRUITS_CORE_INSTANCE_TYPE": "r5.2xlarge",
        "FRUITS_CORE_INSTANCE_COUNT": "5",
        "FRUITS_TASK_INSTANCE_MAX": "0",
        "FRUITS_TASK_MARKET": "on-demand",
        "FRUITS_SPOT_TIMEOUT_MINUTES": "5",
        "FRUITS_TARGET_MINUTES": "45.5",
        "FRUITS_SUBNET_ID": "subnet-0abc1234,subnet-0def5678",
        "FRUITS_SERVICE_ROLE": "service",
        "FRUITS_INSTANCE_PROFILE": "profile",
        "FRUITS_SECURITY_CONFIGURATION": "secure",
        "FRUITS_LOG_KEY": "arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd",
        "FRUITS_IDLE_TIMEOUT_SECONDS": "600",
        "FRUITS_ROOT_VOLUME_GIB": "40",
        "FRUITS_IMAGES_PER_SECOND_PER_VCPU": "55.5",
        "FRUITS_CLUSTER_START_MINUTES": "5",
        "FRUITS_FIXED_WORK_MINUTES": "2",
        "FRUITS_BUDGET_EUR": "0.5",
        "FRUITS_SPOT_PRICE_SHARE": "1",
        "FRUITS_PRICES_EUR_PER_HOUR": '{"r5.2xlarge": 0.61}',
    }
    assert sorted(environment) == sorted(VARIABLES.values())
    settings = load_settings(environment)
    unchanged = [field.name for field in fields(Settings) if getattr(settings, field.name) == field.default]
    assert unchanged == []
    for field in fields(Settings):
        assert type(getattr(settings, field.name)) is type(field.default), field.name
    assert settings.prices["r5.2xlarge"] == 0.61
    assert settings.prices["m5.xlarge"] == Settings().prices["m5.xlarge"]


def test_there_is_no_lake_that_is_not_named() -> None:
    with pytest.raises(LakeElsewhereError, match="FRUITS_LAKE_BUCKET is not set"):
        load_settings({}).require_place()
    with pytest.raises(RegionNotAllowedError):
        load_settings({"FRUITS_LAKE_BUCKET": "my-lake", "FRUITS_AWS_REGION": "us-east-1"}).require_place()
    load_settings({"FRUITS_LAKE_BUCKET": "my-lake"}).require_place()


@pytest.mark.parametrize(
    "queue",
    [
        "https://sqs.eu-central-1.amazonaws.com/123456789012/q",
        "https://vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q",
        "http://127.0.0.1:9324/000000000000/q",
    ],
)
def test_a_queue_in_the_eu_or_of_no_aws_is_taken(queue: str) -> None:
    assert load_settings({"FRUITS_BATCH_QUEUE_URL": queue}).batch_queue_url == queue


def test_waits_for_batches_as_often_as_for_clusters_when_only_that_is_set() -> None:
    assert load_settings({"FRUITS_POLL_SECONDS": "2"}).batch_poll_seconds == 2
    assert load_settings({"FRUITS_POLL_SECONDS": "2", "FRUITS_BATCH_POLL_SECONDS": "9"}).batch_poll_seconds == 9


def test_a_batch_that_comes_after_midnight_is_still_waited_for() -> None:
    assert Settings().batch_timeout_hours > 24


def test_a_run_that_only_waits_for_its_batch_is_not_called_late() -> None:
    assert load_settings({"FRUITS_BATCH_TIMEOUT_HOURS": "48"}).late_after_hours == 54
    assert load_settings({"FRUITS_BATCH_TIMEOUT_HOURS": "0.01"}).late_after_hours == Settings().late_after_hours
    assert load_settings({"FRUITS_BATCH_TIMEOUT_HOURS": "48", "FRUITS_LATE_AFTER_HOURS": "20"}).late_after_hours == 20


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("FRUITS_LAKE_BUCKET", "My_Bucket", "lower-case letters"),
        ("FRUITS_ENGINE", "pytorch", "litert, tensorflow"),
        ("FRUITS_TARGET_VARIANCE", "1.1", "above 0, at most 1"),
        ("FRUITS_TARGET_VARIANCE", "nan", "above 0, at most 1"),
        ("FRUITS_PCA_POLICY", "sometimes", "auto, always, never"),
        ("FRUITS_PCA_GROWTH", "1", "above 1"),
        ("FRUITS_LOOKBACK_DAYS", "400", "from 0 to 366"),
        ("FRUITS_LOOKBACK_DAYS", "-1", "from 0 to 366"),
        ("FRUITS_PCA_MARGIN", "0", "above 0, at most 1"),
        ("FRUITS_PCA_GROWTH", "nan", "above 1"),
        ("FRUITS_PCA_ALWAYS_BELOW", "-1", "from 0 to 999999999"),
        ("FRUITS_PCA_KEEP_VERSIONS", "0", "from 1 to 1000"),
        (
            "FRUITS_BATCH_QUEUE_URL",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/batches.fifo",
            "standard SQS queue",
        ),
        (
            "FRUITS_BATCH_QUEUE_URL",
            "https://sqs.us-east-1.amazonaws.com/123456789012/batches",
            "in a region inside the EU",
        ),
        (
            "FRUITS_BATCH_QUEUE_URL",
            "https://eu-west-2.queue.amazonaws.com/123456789012/batches",
            "in a region inside the EU",
        ),
        ("FRUITS_LAKE_OWNER", "1234", "twelve digits"),
        ("FRUITS_LOG_KEY", "arn:aws:kms:us-east-1:123456789012:key/1234abcd", "a KMS key in a region inside the EU"),
        ("FRUITS_LOG_KEY", "alias/fruits", "the ARN of a KMS key"),
        ("FRUITS_BATCH_QUEUE_URL", "arn:aws:sqs:eu-west-1:123456789012:q", "SQS queue"),
        ("FRUITS_SCHEDULE", "daily", "five fields"),
        ("FRUITS_TIMEZONE", "Europe", "Europe/Berlin"),
        ("FRUITS_TIMEZONE", "Mars/Olympus", "Europe/Berlin"),
        ("FRUITS_TIMEZONE", "../etc/passwd", "Europe/Berlin"),
        ("FRUITS_DAY_OFFSET_HOURS", "25", "at most 24"),
        ("FRUITS_POLL_SECONDS", "0", "from 1 to 3600"),
        ("FRUITS_POLL_SECONDS", "2.5", "whole number"),
        ("FRUITS_IDLE_TIMEOUT_SECONDS", "10", "from 60 to 604800"),
        ("FRUITS_EMR_RELEASE_LABEL", "7.14.0", "emr-7.14.0"),
        ("FRUITS_CORE_INSTANCE_TYPE", "xlarge", "m5.xlarge"),
        ("FRUITS_CORE_INSTANCE_COUNT", "-1", "from 1 to 1000"),
        ("FRUITS_SUBNET_ID", "vpc-1", "subnet-0abc1234"),
        ("FRUITS_SUBNET_ID", "subnet-1, subnet-2", "several with commas in between"),
        ("FRUITS_SUBNET_ID", "subnet-1,", "several with commas in between"),
        ("FRUITS_TASK_INSTANCE_MAX", "1001", "from 0 to 1000"),
        ("FRUITS_TASK_MARKET", "SPOT", "spot, on-demand"),
        ("FRUITS_SPOT_TIMEOUT_MINUTES", "4", "from 5 to 1440"),
        ("FRUITS_TARGET_MINUTES", "0", "above 0"),
        ("FRUITS_BUDGET_EUR", "0", "above 0"),
        ("FRUITS_BUDGET_EUR", "25 EUR", "a number"),
        ("FRUITS_SPOT_PRICE_SHARE", "1.01", "at most 1"),
        ("FRUITS_LOG_WAIT_MINUTES", "61", "at most 60"),
        ("FRUITS_RETRY_DELAY_SECONDS", "0", "from 1 to 3600"),
        ("FRUITS_LATE_AFTER_HOURS", "-1", "above 0"),
        ("FRUITS_SWEEP_SCHEDULE", "@hourly", "five fields"),
        ("FRUITS_SWEEP_SCHEDULE", "every half hour or so", "five fields"),
        ("FRUITS_SWEEP_SCHEDULE", "*/30 * * * 8", "five fields"),
        ("FRUITS_SCHEDULE", "0 0 30 2 *", "five fields"),
        ("FRUITS_SCHEDULE", "R 0 * * *", "five fields"),
        ("FRUITS_SCHEDULE", "0 r(1-3) * * *", "five fields"),
        ("FRUITS_SWEEP_GRACE_MINUTES", "1441", "from 0 to 1440"),
        ("FRUITS_SNS_TOPIC_ARN", "fruits-alerts", "ARN of an SNS topic"),
        ("FRUITS_SNS_TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:alerts.fifo", "a standard one"),
        ("FRUITS_NOTIFICATION_FILE", "notifications.jsonl", "absolute path"),
        ("FRUITS_PRICES_EUR_PER_HOUR", "0.25", "JSON"),
        ("FRUITS_PRICES_EUR_PER_HOUR", '{"m5.xlarge": "cheap"}', "JSON"),
        ("FRUITS_RELEASE", "../other", "make publish"),
    ],
)
def test_refuses_a_bad_value_by_name_and_says_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value})
    assert variable in str(caught.value)
    assert f"'{value}'" in str(caught.value)
    assert allowed in str(caught.value)


def test_looking_back_and_always_fitting_can_be_switched_off() -> None:
    settings = load_settings({"FRUITS_LOOKBACK_DAYS": "0", "FRUITS_PCA_ALWAYS_BELOW": "0"})
    assert (settings.lookback_days, settings.pca_always_below) == (0, 0)


def test_a_queue_may_be_one_of_this_machine() -> None:
    address = "http://127.0.0.1:5000/123456789012/fruit-image-batches"
    assert load_settings({"FRUITS_BATCH_QUEUE_URL": address}).batch_queue_url == address


def test_names_all_bad_values_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"FRUITS_ENGINE": "x", "FRUITS_POLL_SECONDS": "x"})
    assert len(str(caught.value).splitlines()) == 2


def test_who_must_work_on_gets_defaults_for_bad_values_and_is_told_of_them() -> None:
    settings, problems = read_settings(
        {"FRUITS_ENGINE": "x", "FRUITS_POLL_SECONDS": "x", "FRUITS_LAKE_BUCKET": "my-lake"}
    )
    assert settings == Settings(lake_bucket="my-lake")
    assert [problem.split()[0] for problem in problems] == ["FRUITS_ENGINE", "FRUITS_POLL_SECONDS"]
    assert read_settings({}) == (Settings(), [])


def test_a_region_outside_the_eu_does_not_keep_the_dag_from_loading() -> None:
    assert load_settings({"FRUITS_AWS_REGION": "us-east-1"}).region == "us-east-1"
