"""Checks that the jobs take what Airflow's side asks for, and that Airflow's side checks what the jobs write."""

from __future__ import annotations

import importlib
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import release
from fruit_contract.lake import LakeNameError, check_category
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_pipeline.emr.steps import extract_features_step, refresh_pca_step
from fruit_pipeline.settings import load_settings


def job_arguments(step: dict) -> list[str]:
    """Returns what the job's script sees: everything after its address."""
    words = step["HadoopJarStep"]["Args"]
    (script,) = (index for index, word in enumerate(words) if word.endswith(".py"))
    return words[script + 1 :]


def is_category(text: str) -> bool:
    try:
        check_category(text)
    except LakeNameError:
        return False
    return True


@given(
    categories=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(is_category),
        max_size=4,
        unique=True,
    )
)
def test_the_features_job_takes_the_step_that_is_planned(categories: list[str]) -> None:
    step = extract_features_step(
        load_settings({"FRUITS_LAKE_BUCKET": "my-lake"}),
        "release",
        "manual__2026-11-22T00:00:00+00:00",
        ["2026-11-19", "2026-11-21", "2026-11-22"],
        categories,
        retry_rejected=bool(categories),
    )

    request = importlib.import_module("extract_features").parse_request(job_arguments(step))

    assert request.ingest_dates == ("2026-11-19", "2026-11-21", "2026-11-22")
    assert request.retry_rejected is bool(categories)
    assert request.categories == tuple(categories)
    assert (request.bucket, request.release_id, request.engine) == ("my-lake", "release", "litert")
    assert request.run_id == "manual__2026-11-22T00:00:00+00:00"


@given(days=st.sets(st.integers(0, 60), min_size=1, max_size=20))
def test_both_jobs_take_exactly_the_dates_that_are_planned(days: set[int]) -> None:
    dates = [(date(2026, 1, 20) + timedelta(days=number)).isoformat() for number in days]
    steps = {
        "extract_features": extract_features_step(load_settings({}), "release", "run", dates, []),
        "refresh_pca": refresh_pca_step(load_settings({}), "release", "run", dates),
    }

    for job, step in steps.items():
        assert importlib.import_module(job).parse_request(job_arguments(step)).ingest_dates == tuple(sorted(dates))


def test_a_policy_that_was_asked_for_reaches_the_pca_job() -> None:
    never = load_settings({"FRUITS_PCA_POLICY": "never"}).pca_policy
    step = refresh_pca_step(load_settings({}), "release", "run", ["2026-11-22"], never)

    assert importlib.import_module("refresh_pca").parse_request(job_arguments(step)).policy == PolicySettings(
        RefreshPolicy.NEVER
    )


@pytest.mark.parametrize("policy", RefreshPolicy)
def test_the_pca_job_takes_the_step_that_is_planned(policy: RefreshPolicy) -> None:
    chosen = {"POLICY": policy, "MARGIN": "0.01", "GROWTH": "2", "ALWAYS_BELOW": "7", "KEEP_VERSIONS": "5"}
    settings = load_settings(
        {"FRUITS_TARGET_VARIANCE": "0.9"} | {f"FRUITS_PCA_{name}": value for name, value in chosen.items()}
    )

    step = refresh_pca_step(settings, "release", "run", ["2026-11-20", "2026-11-22"])
    request = importlib.import_module("refresh_pca").parse_request(job_arguments(step))

    assert request.policy == PolicySettings(policy, 0.9, margin=0.01, growth=2.0, always_below=7)
    assert (request.ingest_dates, request.keep_versions) == (("2026-11-20", "2026-11-22"), 5)


@pytest.mark.parametrize("engine", release.ENGINES)
def test_the_engine_that_is_set_is_the_one_that_runs(engine: str) -> None:
    step = extract_features_step(load_settings({"FRUITS_ENGINE": engine}), "release", "run", ["2026-11-22"], [])

    assert importlib.import_module("extract_features").parse_request(job_arguments(step)).engine == engine


def test_airflow_and_a_release_of_before_the_default_engine_changed_go_together() -> None:
    step = extract_features_step(load_settings({}), "release", "run", ["2026-11-22"], [])
    assert "--engine" not in job_arguments(step), "that release knows its own default alone"

    asked = importlib.import_module("extract_features").parse_request([*job_arguments(step), "--engine", "onnxruntime"])
    assert asked.engine == release.DEFAULT_ENGINE, "that Airflow names the default of its time"


@pytest.mark.parametrize(
    "bad", [["--ingest-date", "2026-02-30"], ["--ingest-date", "2026-11-22", "--category=a/b"], ["--engine", "pytorch"]]
)
def test_a_bad_argument_ends_the_job_before_spark_starts(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("extract_features").parse_request(
            ["--lake-bucket", "b", "--release", "r", "--run-id", "x", *bad]
        )

    assert caught.value.code == 2
    assert "error: argument" in capsys.readouterr().err
